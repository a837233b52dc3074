//! Tokenizers as the lists that GGUF files hold: the other direction of `gguf`.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::bpe::Merger;
use super::error::TokenizerError;
use super::hf::{Hf, byte_alphabet};
use super::sentencepiece::SentencePiece;
use super::split::TEKKEN_PATTERN;
use super::tekken::Tekken;
use super::{Kind, Tokenizer};

/// Token types by ggml's numbers.
pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;

/// A tokenizer in ggml's terms.
#[derive(Debug)]
pub(crate) struct GgmlParts {
    /// `llama` or `gpt2`.
    pub(crate) model: &'static str,
    /// How texts are cut before merging.
    pub(crate) pre: &'static str,
    /// One text a row of the embedding.
    pub(crate) tokens: Vec<String>,
    pub(crate) types: Vec<i32>,
    /// Of SentencePiece pieces.
    pub(crate) scores: Option<Vec<f32>>,
    /// Of byte-level tokens: pairs, best first.
    pub(crate) merges: Option<Vec<String>>,
    /// By key.
    pub(crate) flags: Vec<(&'static str, bool)>,
}

impl Tokenizer {
    /// The lists of a GGUF file, filled up to `rows` with tokens that no text gives.
    ///
    /// # Errors
    /// [`TokenizerError::Unsupported`] for what ggml's two models of Mistral tokenizers don't do.
    pub(crate) fn ggml_parts(&self, rows: usize) -> Result<GgmlParts, TokenizerError> {
        let mut parts = match &self.kind {
            Kind::SentencePiece(model) => sentencepiece(model)?,
            Kind::Tekken(tekken) => of_tekken(tekken)?,
            Kind::Hf(hf) => byte_level(hf)?,
        };
        for id in parts.tokens.len()..rows {
            parts.tokens.push(format!("[PAD{id}]"));
            parts.types.push(UNUSED);
            if let Some(scores) = &mut parts.scores {
                scores.push(f32::MIN);
            }
        }
        parts.flags.push(("add_bos_token", self.affixes.bos));
        parts.flags.push(("add_eos_token", self.affixes.eos));
        Ok(parts)
    }
}

fn unsupported(field: &'static str, found: impl Into<String>) -> TokenizerError {
    TokenizerError::Unsupported {
        field,
        found: found.into(),
    }
}

/// Scores keep the order of the model's, which is all that merging looks at.
fn sentencepiece(model: &SentencePiece) -> Result<GgmlParts, TokenizerError> {
    let settings = model.settings();
    if let Some(field) = settings.beyond_ggml() {
        return Err(unsupported(field, "a setting that GGUF files don't hold"));
    }
    let ids = 0..model.vocab_size() as u32;
    let tokens = ids.clone().map(|id| model.piece(id).unwrap_or_default());
    Ok(GgmlParts {
        model: "llama",
        pre: "default",
        tokens: tokens.map(str::to_owned).collect(),
        types: ids.clone().map(|id| model.ggml_type(id)).collect(),
        scores: Some(ids.map(|id| 0.0 - model.priority(id) as f32).collect()),
        merges: None,
        flags: vec![
            ("add_space_prefix", settings.add_dummy_prefix),
            (
                "remove_extra_whitespaces",
                settings.remove_extra_whitespaces,
            ),
        ],
    })
}

/// Characters that stand for bytes.
struct Alphabet([char; 256]);

impl Alphabet {
    fn new() -> Alphabet {
        let mut table = ['\0'; 256];
        for (c, byte) in byte_alphabet() {
            table[usize::from(byte)] = c;
        }
        Alphabet(table)
    }

    fn spell(&self, bytes: &[u8]) -> String {
        bytes.iter().map(|b| self.0[usize::from(*b)]).collect()
    }
}

fn of_tekken(tekken: &Tekken) -> Result<GgmlParts, TokenizerError> {
    if !tekken.has_mistrals_pattern() {
        return Err(unsupported(
            "config.pattern",
            "another pattern than Mistral's",
        ));
    }
    let alphabet = Alphabet::new();
    let ids = 0..tekken.vocab_size() as u32;
    let mut tokens = Vec::with_capacity(ids.len());
    let mut types = Vec::with_capacity(ids.len());
    for id in ids {
        match (tekken.control(id), tekken.bytes(id)) {
            (Some(name), _) => {
                tokens.push(name.to_owned());
                types.push(CONTROL);
            }
            (None, bytes) => {
                tokens.push(alphabet.spell(bytes.unwrap_or_default()));
                types.push(NORMAL);
            }
        }
    }
    Ok(GgmlParts {
        model: "gpt2",
        pre: "tekken",
        tokens,
        types,
        scores: None,
        merges: Some(merges(tekken, &alphabet)),
        flags: Vec::new(),
    })
}

/// For each token of several bytes the two tokens of lower rank that it is merged from. Tokens
/// that merging never reaches have none: they are only found whole.
fn merges(tekken: &Tekken, alphabet: &Alphabet) -> Vec<String> {
    let vocab = tekken.ranks();
    let mut merger = Merger::default();
    let mut out = Vec::new();
    for rank in 0..vocab.len() as u32 {
        let bytes = vocab.bytes(rank);
        if bytes.len() < 2 {
            continue;
        }
        merger.starts.clear();
        merger.starts.extend(0..=bytes.len() as u32);
        let lower = |joined: &[u8]| vocab.get(joined).filter(|found| *found < rank);
        merger.merge(bytes, lower, |_, _, _| ());
        if let [_, middle, _] = merger.starts[..] {
            let (left, right) = bytes.split_at(middle as usize);
            let (left, right) = (alphabet.spell(left), alphabet.spell(right));
            out.push(format!("{left} {right}"));
        }
    }
    out
}

/// A `tokenizer.json`, as far as ggml's `gpt2` needs it.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Joined(String),
}

fn byte_level(hf: &Hf) -> Result<GgmlParts, TokenizerError> {
    if !hf.byte_level {
        let found = "tokens that aren't byte-level: SentencePiece's own file has what is needed";
        return Err(unsupported("tokenizer.json", found));
    }
    let file: File = serde_json::from_str(&hf.to_json()?)?;
    if let Some(normalizer) = &file.normalizer {
        return Err(unsupported("normalizer", normalizer["type"].to_string()));
    }
    let pre = pre_tokenizer(file.pre_tokenizer.as_ref())?;
    let mut tokens: Vec<Option<(String, i32)>> = vec![None; hf.vocab_size()];
    for (text, id) in file.model.vocab {
        tokens[id as usize] = Some((text, NORMAL));
    }
    for added in file.added_tokens {
        let kind = if added.special { CONTROL } else { USER_DEFINED };
        tokens[added.id as usize] = Some((added.content, kind));
    }
    let named = tokens.into_iter().enumerate();
    let (tokens, types) = named
        .map(|(id, token)| token.unwrap_or_else(|| (format!("[PAD{id}]"), UNUSED)))
        .unzip();
    let joined = |merge| match merge {
        Merge::Pair(left, right) => format!("{left} {right}"),
        Merge::Joined(pair) => pair,
    };
    Ok(GgmlParts {
        model: "gpt2",
        pre,
        tokens,
        types,
        scores: None,
        merges: Some(file.model.merges.into_iter().map(joined).collect()),
        flags: Vec::new(),
    })
}

/// ggml's name of what cuts texts: GPT-2's pattern or tekken's.
fn pre_tokenizer(value: Option<&Value>) -> Result<&'static str, TokenizerError> {
    let none = Value::Null;
    let value = value.unwrap_or(&none);
    let byte_level = |step: &Value, regex: bool| {
        step["type"] == "ByteLevel"
            && step["add_prefix_space"] == false
            && step["use_regex"].as_bool().unwrap_or(true) == regex
    };
    if byte_level(value, true) {
        return Ok("gpt-2");
    }
    if let Some([split, bytes]) = value["pretokenizers"].as_array().map(Vec::as_slice)
        && split["type"] == "Split"
        && split["pattern"]["Regex"] == TEKKEN_PATTERN
        && split["behavior"] == "Isolated"
        && split["invert"] == false
        && byte_level(bytes, false)
    {
        return Ok("tekken");
    }
    let found: String = value.to_string().chars().take(120).collect();
    Err(unsupported("pre_tokenizer", found))
}
