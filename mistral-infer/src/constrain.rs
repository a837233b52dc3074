//! Grammars that generated text keeps to: JSON of a schema, and tool calls in the model's format.
//!
//! llguidance decides which tokens may follow; here its trie is made of a [`Tokenizer`], and its
//! grammars of what a request wants.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Map, Value, json};

use crate::constraint::{Constraint, Progress};
use crate::error::InferError;
use crate::model::Model;
use crate::tokenizer::{Tokenizer, TokenizerVersion};

/// Most calls of one answer.
const MAX_CALLS: usize = 16;

/// Longest run of spaces and line ends between two parts of JSON: a model that repeats itself must
/// not fill its answer with them.
const SPACE: &str = r"[\x20\x0A\x0D\x09]{1,16}";

/// Makes [`Grammar`]s for one model. Making it takes some tenths of a second for a large
/// vocabulary; it may be shared between threads.
///
/// ```
/// use mistral_infer::constrain::Grammars;
/// use mistral_infer::{Batch, GenerateOptions, LoadOptions, Model, SessionLimits};
/// use serde_json::{Value, json};
///
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-mixtral");
/// let model = Model::load(path, &LoadOptions::default())?;
/// let grammars = Grammars::new(&model)?;
/// let kings = json!({"enum": ["HENRY", "RICHARD", "EDWARD"]});
/// let schema = json!({
///     "type": "object",
///     "properties": {"king": kings},
///     "required": ["king"],
///     "additionalProperties": false,
/// });
/// let grammar = grammars.json(&schema)?;
///
/// let mut session = model.session(SessionLimits::default())?;
/// let mut batch = Batch::new(&mut session);
/// let prompt = model.need_tokenizer()?.encode("The king's name:\n")?;
/// batch.admit_constrained(&prompt, &GenerateOptions::default(), Some(Box::new(grammar)))?;
/// let mut text = String::new();
/// while !batch.is_empty() {
///     text.extend(batch.step()?.into_iter().map(|piece| piece.text));
/// }
/// let answer: Value = serde_json::from_str(&text).expect("JSON");
/// assert!(answer["king"].is_string());
/// # Ok::<(), mistral_infer::InferError>(())
/// ```
pub struct Grammars {
    factory: ParserFactory,
    calls: Option<CallFormat>,
}

/// How a model writes calls of tools, with the ids of the tokens that divide them.
#[derive(Debug, Clone, Copy)]
enum CallFormat {
    /// A JSON list behind a token; `ids` when calls have them.
    List { begin: u32, ids: bool },
    /// A token before each name and before its arguments; one before an id, where calls have them.
    Marked {
        begin: u32,
        arguments: u32,
        id: Option<u32>,
    },
}

/// A tool that may be called.
#[derive(Debug, Clone, Copy)]
pub struct Callable<'a> {
    /// Its name.
    pub name: &'a str,
    /// The JSON schema of its arguments.
    pub parameters: &'a Value,
}

/// How many calls an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// One.
    One,
    /// One at least, 16 at most.
    Some,
}

/// A grammar and how far an answer has come in it.
pub struct Grammar(Matcher);

impl Grammars {
    /// Grammars over the vocabulary of a model.
    ///
    /// # Errors
    /// [`InferError::NoTokenizer`] without a tokenizer; [`InferError::Grammar`] when the vocabulary
    /// can't be used.
    pub fn new(model: &Model) -> Result<Self, InferError> {
        let tokenizer = model.need_tokenizer()?;
        let spec = model.spec();
        let words = words(tokenizer, spec.vocab_size);
        let ends: Vec<u32> = (spec.eos_token_ids.iter().copied())
            .filter(|id| (*id as usize) < words.len())
            .collect();
        let (Some(&end), Ok(size)) = (ends.first(), u32::try_from(words.len())) else {
            return Err(refused("a vocabulary without an end token"));
        };
        let environment = guarded(|| {
            let trie = TokTrie::from(&TokRxInfo::new(size, end), &words).with_eos_tokens(&ends);
            let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
            ParserFactory::new_simple(&environment).map_err(failed)
        });
        let mut factory = environment?;
        factory.quiet();
        // An error must not repeat the client's text.
        *factory.limits_mut() = ParserLimits {
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Self {
            factory,
            calls: call_format(tokenizer),
        })
    }

    /// JSON that `schema` accepts.
    ///
    /// # Errors
    /// [`InferError::Grammar`] for a schema that isn't an object, or has something that can't be
    /// kept to.
    pub fn json(&self, schema: &Value) -> Result<Grammar, InferError> {
        self.grammar(TopLevelGrammar::from_json_schema(own(schema)?))
    }

    /// Calls of some of `tools`, as the model's version writes them.
    ///
    /// # Errors
    /// [`InferError::Grammar`] as for [`Self::json`], without tools, and for a model without a
    /// format of calls.
    pub fn calls(&self, tools: &[Callable<'_>], calls: Calls) -> Result<Grammar, InferError> {
        if tools.is_empty() {
            return Err(refused("no tool to call"));
        }
        let text = match self.calls {
            None => return Err(refused("a model whose format has no calls of tools")),
            Some(CallFormat::List { begin, ids }) => list(tools, calls, begin, ids)?,
            Some(CallFormat::Marked {
                begin,
                arguments,
                id,
            }) => marked(tools, calls, (begin, arguments, id))?,
        };
        self.grammar(TopLevelGrammar::from_lark(text))
    }

    fn grammar(&self, grammar: TopLevelGrammar) -> Result<Grammar, InferError> {
        let mut matcher = guarded(|| {
            let parser = self.factory.create_parser(grammar).map_err(failed)?;
            Ok(Matcher::new(Ok(parser)))
        })?;
        // What was only warned of would not be kept.
        if let Some(warning) = matcher.grammar_warnings().into_iter().next() {
            return Err(refused(warning));
        }
        // A schema that nothing fits is found here, not after the prompt.
        matcher.compute_mask_or_eos().map_err(failed)?;
        Ok(Grammar(matcher))
    }
}

impl Constraint for Grammar {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), InferError> {
        let allowed = self.0.compute_mask_or_eos().map_err(failed)?;
        for (logits, bits) in logits.chunks_mut(32).zip(allowed.as_slice()) {
            for (i, logit) in logits.iter_mut().enumerate() {
                if bits >> i & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<Progress, InferError> {
        self.0.consume_token(token).map_err(failed)?;
        if !self.0.is_stopped() {
            return Ok(Progress::Open);
        }
        match self.0.stop_reason() {
            reason if reason.is_ok() => Ok(Progress::Complete),
            reason => Err(refused(format!("{reason:?}"))),
        }
    }
}

/// The bytes of each token. Tokens without text have their number behind a byte that no text has,
/// so that only a grammar that names them lets them through.
fn words(tokenizer: &Tokenizer, vocab_size: usize) -> Vec<Vec<u8>> {
    let count = u32::try_from(vocab_size).unwrap_or(u32::MAX);
    let word = |id: u32| match tokenizer.token_bytes(id) {
        Some(bytes) if !bytes.is_empty() => bytes,
        _ => {
            let mut bytes = vec![TokTrie::SPECIAL_TOKEN_MARKER];
            bytes.extend_from_slice(format!("<{id}>").as_bytes());
            bytes
        }
    };
    (0..count).map(word).collect()
}

fn call_format(tokenizer: &Tokenizer) -> Option<CallFormat> {
    use TokenizerVersion as V;
    let token = |name| tokenizer.control_token(name).ok();
    let begin = token("[TOOL_CALLS]")?;
    let version = tokenizer.version()?;
    match version {
        V::V1 => None,
        V::V2 | V::V3 | V::V7 => Some(CallFormat::List {
            begin,
            ids: version != V::V2,
        }),
        _ => Some(CallFormat::Marked {
            begin,
            arguments: token("[ARGS]")?,
            id: match version {
                V::V11 => Some(token("[CALL_ID]")?),
                _ => None,
            },
        }),
    }
}

/// A schema with our way of writing JSON instead of any that it brings.
fn own(schema: &Value) -> Result<Value, InferError> {
    let Value::Object(object) = schema else {
        return Err(refused("a schema that is not an object"));
    };
    let mut object: Map<String, Value> = object.clone();
    object.insert(
        "x-guidance".to_owned(),
        json!({"whitespace_pattern": SPACE}),
    );
    Ok(Value::Object(object))
}

/// The ids of calls that have them.
const ID: &str = "[a-zA-Z0-9]{9}";

fn list(tools: &[Callable<'_>], calls: Calls, begin: u32, ids: bool) -> Result<String, InferError> {
    let call = |tool: &Callable<'_>| {
        let mut call = json!({
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": arguments(tool)?},
            "required": ["name", "arguments"],
            "additionalProperties": false,
        });
        if ids {
            call["properties"]["id"] = json!({"type": "string", "pattern": format!("^{ID}$")});
            call["required"] = json!(["name", "arguments", "id"]);
        }
        Ok::<_, InferError>(call)
    };
    let choices = tools.iter().map(call).collect::<Result<Vec<_>, _>>()?;
    let schema = own(&json!({
        "type": "array",
        "items": {"anyOf": choices},
        "minItems": 1,
        "maxItems": most(calls),
    }))?;
    Ok(format!(
        "start: <[{begin}]> \" \"? list\nlist: %json {schema}\n"
    ))
}

fn marked(
    tools: &[Callable<'_>],
    calls: Calls,
    (begin, args, id): (u32, u32, Option<u32>),
) -> Result<String, InferError> {
    let id = id.map(|id| format!("<[{id}]> /{ID}/ ")).unwrap_or_default();
    let choices: Vec<String> = (0..tools.len()).map(|i| format!("call_{i}")).collect();
    let most = most(calls);
    let mut text = format!("start: call{{1,{most}}}\ncall: {}\n", choices.join(" | "));
    for (i, tool) in tools.iter().enumerate() {
        let name = json!(tool.name);
        let schema = own(&arguments(tool)?)?;
        writeln!(
            text,
            "call_{i}: <[{begin}]> {name} {id}<[{args}]> args_{i}\nargs_{i}: %json {schema}"
        )
        .expect("writing to a String doesn't fail");
    }
    Ok(text)
}

fn most(calls: Calls) -> usize {
    match calls {
        Calls::One => 1,
        Calls::Some => MAX_CALLS,
    }
}

/// The schema of a tool's arguments, which are an object in any case.
fn arguments(tool: &Callable<'_>) -> Result<Value, InferError> {
    // The name enters a grammar's text.
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if tool.name.is_empty() || !tool.name.chars().all(plain) {
        return Err(refused(
            "a tool's name with more than letters, digits, _ and -",
        ));
    }
    let Value::Object(schema) = tool.parameters else {
        return Err(refused("parameters that are not an object"));
    };
    let mut schema = schema.clone();
    schema.remove("x-guidance");
    schema.entry("type").or_insert_with(|| json!("object"));
    if schema["type"] != "object" {
        return Err(refused("parameters of another type than object"));
    }
    Ok(Value::Object(schema))
}

/// Runs the library on what a client sent: should it panic, that is an error of the request.
fn guarded<T>(work: impl FnOnce() -> Result<T, InferError>) -> Result<T, InferError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(refused("a grammar that the library fails on")))
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> InferError {
    InferError::Grammar(error.into())
}

fn refused(found: impl Into<String>) -> InferError {
    InferError::Grammar(found.into().into())
}
