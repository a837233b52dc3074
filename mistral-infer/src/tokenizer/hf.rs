//! Hugging Face `tokenizer.json` files, through the `tokenizers` crate.
//!
//! The crate encodes; decoding is done here, so that a stream and a whole text decode alike. Before
//! the crate sees a file, the file is checked: it has to be a BPE model of bounded size, with
//! components whose behaviour on hostile settings is known. Special tokens are never found in a
//! text, and padding, truncation and post-processing, which would change what `encode` returns,
//! are dropped.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::TokenizerError;
use super::limits::{MAX_GROWTH, MAX_TOKEN_BYTES, MAX_VOCABULARY};
use super::sentencepiece::SPACE;
use super::split;

/// Components that neither panic nor take unbounded time, whatever their settings.
const COMPONENTS: [&str; 24] = [
    "Sequence",
    "Prepend",
    "Replace",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Lowercase",
    "StripAccents",
    "Nmt",
    "ByteLevel",
    "Split",
    "Metaspace",
    "Whitespace",
    "WhitespaceSplit",
    "Digits",
    "Punctuation",
    "UnicodeScripts",
    "ByteFallback",
    "Fuse",
    "Strip",
    "BertNormalizer",
    "BertPreTokenizer",
    "CharDelimiterSplit",
];

/// How tokens become text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum HfDecoder {
    /// Characters stand for bytes (GPT-2's table).
    ByteLevel,
    /// Tokens are text.
    Text {
        /// Replacements inside tokens, in order.
        replace: Vec<(String, String)>,
        /// Whether `<0x41>` is a byte.
        byte_fallback: bool,
        /// Spaces to drop at the start of the text, at most.
        strip: usize,
        /// Drop all leading spaces of the first token instead.
        strip_first_token: bool,
    },
}

/// A `tokenizer.json` ready to use.
pub(super) struct Hf {
    inner: tokenizers::Tokenizer,
    pub(super) decoder: HfDecoder,
    /// Special tokens by name.
    control_ids: HashMap<String, u32>,
    control: HashSet<u32>,
    vocab_size: usize,
    /// Byte of each character of the byte-level alphabet.
    byte_of: HashMap<char, u8>,
    /// Whether the model is byte level, as tekken is.
    pub(super) byte_level: bool,
}

#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Option<Value>,
    model: ModelOutline,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct ModelOutline {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f64>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    vocab: VocabOutline,
    merges: Count,
}

/// The ids of a vocabulary, checked to be unique and bounded while reading.
struct VocabOutline {
    tokens: usize,
    /// One above the highest id.
    end: usize,
}

impl<'de> Deserialize<'de> for VocabOutline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = VocabOutline;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tokens to ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VocabOutline, A::Error> {
                let mut names: HashSet<Cow<'de, str>> = HashSet::new();
                let mut ids = HashSet::new();
                let mut end = 0;
                while let Some((name, id)) = map.next_entry::<Cow<'de, str>, u32>()? {
                    if id as usize >= MAX_VOCABULARY || name.len() > MAX_TOKEN_BYTES {
                        return Err(serde::de::Error::custom(format_args!(
                            "token {id} of {} bytes is beyond the limits of {MAX_VOCABULARY} \
                             tokens of {MAX_TOKEN_BYTES} bytes",
                            name.len()
                        )));
                    }
                    end = end.max(id as usize + 1);
                    if !ids.insert(id) || !names.insert(name) {
                        return Err(serde::de::Error::custom(format_args!(
                            "token id {id} or its name stands twice in the vocabulary"
                        )));
                    }
                }
                Ok(VocabOutline {
                    tokens: names.len(),
                    end,
                })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// The length of a list whose items do not matter.
struct Count(usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }
        }
        deserializer.deserialize_seq(Items)
    }
}

impl Hf {
    /// Reads a file whose size the caller has bounded.
    pub(super) fn from_json(json: &str) -> Result<Self, TokenizerError> {
        let outline: Outline = serde_json::from_str(json)?;
        check(&outline)?;
        let mut inner: tokenizers::Tokenizer = json.parse().map_err(TokenizerError::Library)?;
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(TokenizerError::Library)?;
        inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        inner.set_encode_special_tokens(true);

        // The crate numbers added tokens itself when the model's vocabulary lacks them.
        for token in &outline.added_tokens {
            let found = inner.token_to_id(&token.content);
            if found != Some(token.id)
                || inner.id_to_token(token.id).as_ref() != Some(&token.content)
            {
                return Err(TokenizerError::Vocabulary {
                    id: token.id.into(),
                    expected: "an added token with an id of its own",
                    found: format!("{:?}, which has the id {found:?}", token.content),
                });
            }
        }
        let special = outline.added_tokens.iter().filter(|token| token.special);
        let control_ids: HashMap<String, u32> = special
            .map(|token| (token.content.clone(), token.id))
            .collect();
        let decoder = decoder(outline.decoder.as_ref())?;
        let added = outline.added_tokens.iter().map(|t| t.id as usize + 1);
        let vocab_size = added.fold(outline.model.vocab.end, usize::max);
        Ok(Self {
            control: control_ids.values().copied().collect(),
            byte_of: byte_alphabet(),
            byte_level: decoder == HfDecoder::ByteLevel,
            vocab_size,
            inner,
            decoder,
            control_ids,
        })
    }

    /// Appends the ids of a text; control strings in it are plain text.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(TokenizerError::Library)?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }

    /// The file's content again, without padding, truncation and post-processing.
    pub(super) fn to_json(&self) -> Result<String, TokenizerError> {
        self.inner.to_string(false).map_err(TokenizerError::Library)
    }

    pub(super) fn piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    pub(super) fn is_control(&self, id: u32) -> bool {
        self.control.contains(&id)
    }

    pub(super) fn control_id(&self, name: &str) -> Option<u32> {
        self.control_ids.get(name).copied()
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The bytes of a byte-level token; a token with a character outside the alphabet is text.
    pub(super) fn push_byte_level(&self, piece: &str, out: &mut Vec<u8>) {
        let start = out.len();
        for c in piece.chars() {
            let Some(&byte) = self.byte_of.get(&c) else {
                out.truncate(start);
                out.extend_from_slice(piece.as_bytes());
                return;
            };
            out.push(byte);
        }
    }
}

fn check(outline: &Outline) -> Result<(), TokenizerError> {
    let model = &outline.model;
    let unsupported = |field, found: &str| {
        Err(TokenizerError::Unsupported {
            field,
            found: found.chars().take(80).collect(),
        })
    };
    match model.kind.as_deref() {
        Some("BPE") | None => {}
        Some(other) => return unsupported("model.type", other),
    }
    if model.dropout.is_some_and(|p| p != 0.0) {
        return unsupported("model.dropout", "a probability: the same text would vary");
    }
    for (field, affix) in [
        (
            "model.continuing_subword_prefix",
            &model.continuing_subword_prefix,
        ),
        ("model.end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if let Some(affix) = affix.as_deref().filter(|affix| !affix.is_empty()) {
            return unsupported(field, affix);
        }
    }
    check_counts(outline)?;
    for (field, component) in [
        ("normalizer", &outline.normalizer),
        ("pre_tokenizer", &outline.pre_tokenizer),
        ("decoder", &outline.decoder),
    ] {
        check_component(field, component.as_ref())?;
    }
    check_growth(outline)
}

fn check_counts(outline: &Outline) -> Result<(), TokenizerError> {
    let model = &outline.model;
    let tokens = model.vocab.tokens + outline.added_tokens.len();
    if tokens > MAX_VOCABULARY {
        return Err(TokenizerError::too_large(
            "number of tokens",
            tokens,
            MAX_VOCABULARY,
        ));
    }
    // Each merge makes a token, by at most as many cuts as the token has bytes.
    let merges = model.merges.0;
    if merges > 8 * MAX_VOCABULARY {
        return Err(TokenizerError::too_large(
            "number of merges",
            merges,
            8 * MAX_VOCABULARY,
        ));
    }
    for token in &outline.added_tokens {
        if token.id as usize >= MAX_VOCABULARY || token.content.len() > MAX_TOKEN_BYTES {
            return Err(TokenizerError::Vocabulary {
                id: token.id.into(),
                expected: "an added token within the limits",
                found: format!("a name of {} bytes", token.content.len()),
            });
        }
    }
    Ok(())
}

/// Refuses lists of components that would make a text as long as they like.
fn check_growth(outline: &Outline) -> Result<(), TokenizerError> {
    let grows = |component: &Option<Value>| component.as_ref().map_or(1, growth);
    let text = grows(&outline.normalizer).saturating_mul(grows(&outline.pre_tokenizer));
    for (what, found) in [
        ("growth of a text", text),
        ("growth of a decoded token", grows(&outline.decoder)),
    ] {
        if found > MAX_GROWTH {
            return Err(TokenizerError::too_large(what, found, MAX_GROWTH));
        }
    }
    Ok(())
}

/// How many times longer a component and those inside it may make a text, in bytes, at most.
fn growth(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(growth).fold(1, usize::saturating_mul),
        Value::Object(map) => {
            let inner = map.values().map(growth).fold(1, usize::saturating_mul);
            let own = match map.get("type").and_then(Value::as_str) {
                Some("Replace") => replacement_growth(value),
                // Unicode 16: no character becomes longer than 11 times its bytes.
                Some("NFKC" | "NFKD") => 11,
                Some("NFC" | "NFD" | "Lowercase" | "StripAccents" | "Nmt") => 3,
                // Accents apart, and spaces around Chinese characters.
                Some("BertNormalizer") => 6,
                Some("ByteLevel") => 2,
                // A space becomes a character, and one more stands in front of each part.
                Some("Metaspace") => 5,
                _ => 1,
            };
            own.saturating_mul(inner)
        }
        _ => 1,
    }
}

/// A match becomes the content; what matches nothing at all does so between all characters.
fn replacement_growth(value: &Value) -> usize {
    let content = value["content"].as_str().map_or(0, str::len);
    match value["pattern"]["String"].as_str() {
        Some(from) if !from.is_empty() => content.div_ceil(from.len()).max(1),
        _ => content.saturating_add(1),
    }
}

/// Walks a component: its types have to be known ones, its regular expressions safe.
fn check_component(field: &'static str, value: Option<&Value>) -> Result<(), TokenizerError> {
    match value {
        Some(Value::Object(map)) => {
            for (key, inner) in map {
                match (key.as_str(), inner) {
                    ("type", Value::String(kind)) if !COMPONENTS.contains(&kind.as_str()) => {
                        return Err(TokenizerError::Unsupported {
                            field,
                            found: kind.clone(),
                        });
                    }
                    ("Regex", Value::String(pattern)) => drop(split::compile(pattern)?),
                    _ => check_component(field, Some(inner))?,
                }
            }
            Ok(())
        }
        Some(Value::Array(items)) => items
            .iter()
            .try_for_each(|item| check_component(field, Some(item))),
        _ => Ok(()),
    }
}

fn decoder(value: Option<&Value>) -> Result<HfDecoder, TokenizerError> {
    let kind = |step: &Value| step["type"].as_str().unwrap_or("none").to_owned();
    let unsupported = |step: &Value| TokenizerError::Unsupported {
        field: "decoder",
        found: step.to_string().chars().take(120).collect(),
    };
    let none = Value::Null;
    let value = value.unwrap_or(&none);
    if kind(value) == "ByteLevel" {
        return Ok(HfDecoder::ByteLevel);
    }
    if kind(value) == "Metaspace" {
        let replacement = value["replacement"].as_str().unwrap_or(SPACE).to_owned();
        let never = value["prepend_scheme"].as_str() == Some("never")
            || value["add_prefix_space"].as_bool() == Some(false);
        return Ok(HfDecoder::Text {
            replace: vec![(replacement, " ".to_owned())],
            byte_fallback: false,
            strip: 0,
            strip_first_token: !never,
        });
    }
    let alone = [value.clone()];
    let steps = match &value["decoders"] {
        Value::Array(steps) if kind(value) == "Sequence" => steps.as_slice(),
        _ => &alone,
    };
    let (mut replace, mut byte_fallback, mut fused, mut strip) = (Vec::new(), false, false, 0);
    for step in steps {
        match kind(step).as_str() {
            "Replace" if !byte_fallback && !fused => {
                let from = step["pattern"]["String"]
                    .as_str()
                    .filter(|from| !from.is_empty());
                let to = step["content"].as_str();
                let (from, to) = from.zip(to).ok_or_else(|| unsupported(step))?;
                replace.push((from.to_owned(), to.to_owned()));
            }
            "ByteFallback" if !fused => byte_fallback = true,
            "ByteLevel" if steps.len() == 1 => return Ok(HfDecoder::ByteLevel),
            "Fuse" => fused = true,
            "Strip" if fused && step["content"] == " " && step["stop"] == 0 => {
                let start = step["start"].as_u64().and_then(|n| usize::try_from(n).ok());
                strip += start
                    .filter(|&n| n <= 16)
                    .ok_or_else(|| unsupported(step))?;
            }
            _ => return Err(unsupported(step)),
        }
    }
    Ok(HfDecoder::Text {
        replace,
        byte_fallback,
        strip,
        strip_first_token: false,
    })
}

/// GPT-2's table: printable bytes stand for themselves, the others for characters from U+0100 on.
pub(super) fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    (0..=255u8)
        .map(|byte| {
            let code = if printable(byte) {
                u32::from(byte)
            } else {
                next += 1;
                next - 1
            };
            (
                char::from_u32(code).expect("codes below 0x200 are characters"),
                byte,
            )
        })
        .collect()
}
