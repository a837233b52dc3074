//! Tokenizers from the metadata of GGUF files.
//!
//! Two of ggml's models are Mistral's: `llama`, which is SentencePiece BPE, and `gpt2` with the
//! pre-tokenizer `tekken`. Small models have `gpt2` with GPT-2's own. Key names: `constants.py` of gguf-py 0.19.0; token types:
//! `llama_token_type` of llama.cpp.

use serde_json::json;

use super::bytes_map::BytesMap;
use super::error::TokenizerError;
use super::hf::{Hf, byte_alphabet};
use super::limits::{MAX_TOKEN_BYTES, MAX_VOCABULARY};
use super::sentencepiece::{Normalization, SentencePiece, Specials};
use super::tekken::Tekken;
use super::{Affixes, Kind, Tokenizer};
use crate::chat::{settings_of, version_of};
use crate::gguf::{Array, Gguf, Value};

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const PRE: &str = "tokenizer.ggml.pre";
const MERGES: &str = "tokenizer.ggml.merges";
const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";

/// Token types by ggml's numbers, which are SentencePiece's.
const NORMAL: u64 = 1;
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const UNUSED: u64 = 5;

/// The token lists of a file.
struct Vocabulary<'a> {
    file: &'a Gguf,
    tokens: Vec<&'a str>,
    types: Vec<u64>,
}

impl Tokenizer {
    /// The tokenizer in a GGUF file's metadata; `None` when it has none.
    ///
    /// Its version, which chats need, is told by the chat template's markers and the control
    /// tokens; without either it is unknown, see [`Tokenizer::with_version`].
    ///
    /// # Errors
    /// [`TokenizerError`] for a kind of tokenizer that isn't Mistral's, and for lists that
    /// contradict each other.
    pub fn from_gguf(file: &Gguf) -> Result<Option<Tokenizer>, TokenizerError> {
        let vocabulary = match text(file, "tokenizer.ggml.model")? {
            None | Some("none" | "no_vocab") => return Ok(None),
            Some("llama" | "gpt2") => Vocabulary::read(file)?,
            Some(other) => return Err(unsupported("tokenizer.ggml.model", other)),
        };
        let mut tokenizer = match text(file, "tokenizer.ggml.model")? {
            Some("llama") => vocabulary.sentencepiece()?,
            _ => match text(file, PRE)? {
                Some("tekken") => vocabulary.tekken()?,
                Some("gpt-2") => vocabulary.gpt2()?,
                other => return Err(unsupported(PRE, other.unwrap_or("nothing"))),
            },
        };
        let template = file.chat_template()?;
        tokenizer.version = template.and_then(|text| {
            let has = |name: &str| tokenizer.control_token(name).is_ok();
            version_of(text, tokenizer.kind(), &has)
        });
        tokenizer.model_settings = template.and_then(settings_of);
        tokenizer.chat_template = template.map(str::to_owned);
        tokenizer.affixes = Affixes {
            bos: flag(file, "tokenizer.ggml.add_bos_token", true)?,
            eos: flag(file, "tokenizer.ggml.add_eos_token", false)?,
        };
        Ok(Some(tokenizer))
    }
}

impl<'a> Vocabulary<'a> {
    fn read(file: &'a Gguf) -> Result<Vocabulary<'a>, TokenizerError> {
        let list = list(file, TOKENS)?.ok_or_else(|| missing(TOKENS, "a list of texts"))?;
        if list.len() > MAX_VOCABULARY {
            return Err(TokenizerError::too_large(
                TOKENS,
                list.len(),
                MAX_VOCABULARY,
            ));
        }
        let texts = list.texts().ok_or_else(|| wrong(TOKENS, "texts", &list))?;
        let mut tokens = texts.collect::<Result<Vec<&str>, _>>()?;
        let mut types = types(file, tokens.len())?;
        // Embeddings are padded to a round number of rows; no text ever gives the names of those.
        let used = types.iter().rposition(|t| *t != UNUSED);
        tokens.truncate(used.map_or(0, |last| last + 1));
        types.truncate(tokens.len());
        Ok(Vocabulary {
            file,
            tokens,
            types,
        })
    }

    fn sentencepiece(&self) -> Result<Tokenizer, TokenizerError> {
        if let Some(table) = list(self.file, CHARSMAP)?.filter(|table| !table.is_empty()) {
            let found = format!("a table of {} bytes", table.len());
            return Err(TokenizerError::Unsupported {
                field: CHARSMAP,
                found,
            });
        }
        let scores = self.scores()?;
        let pieces = (self.tokens.iter())
            .zip(scores)
            .zip(&self.types)
            .map(|((text, score), kind)| (*text, score, *kind));
        let name = |key, usual| Ok::<_, TokenizerError>(self.name_of(key)?.unwrap_or(usual));
        let model = SentencePiece::from_pieces(
            pieces,
            &Specials {
                bos: name("tokenizer.ggml.bos_token_id", "<s>")?,
                eos: name("tokenizer.ggml.eos_token_id", "</s>")?,
                pad: name("tokenizer.ggml.padding_token_id", "<pad>")?,
            },
            &Normalization {
                add_dummy_prefix: flag(self.file, "tokenizer.ggml.add_space_prefix", true)?,
                remove_extra_whitespaces: flag(
                    self.file,
                    "tokenizer.ggml.remove_extra_whitespaces",
                    false,
                )?,
            },
        )?;
        let settings = model.settings();
        let [bos, eos, pad] = [settings.bos, settings.eos, settings.pad];
        let unk = Some(model.unk());
        let kind = Kind::SentencePiece(Box::new(model));
        Ok(Tokenizer::bare(kind, [bos, eos, pad, unk]))
    }

    fn tekken(&self) -> Result<Tokenizer, TokenizerError> {
        let special = |kind: &u64| matches!(*kind, UNKNOWN | CONTROL | USER_DEFINED);
        let count = self.types.iter().take_while(|kind| special(kind)).count();
        let mut ranks = BytesMap::with_capacity(self.tokens.len() - count);
        let alphabet = Alphabet::new();
        let mut bytes = Vec::new();
        for (id, (token, kind)) in self.tokens.iter().zip(&self.types).enumerate().skip(count) {
            if *kind != NORMAL {
                return Err(TokenizerError::Vocabulary {
                    id: id as u64,
                    expected: "control tokens first, then tokens of text",
                    found: format!("{token:?} of type {kind}"),
                });
            }
            if token.len() > 2 * MAX_TOKEN_BYTES || !alphabet.decode(token, &mut bytes) {
                return Err(TokenizerError::Vocabulary {
                    id: id as u64,
                    expected: "a short token in the byte-level alphabet",
                    found: format!("a token of {} bytes", token.len()),
                });
            }
            super::tekken::push(&mut ranks, &bytes)?;
        }
        check_merges(self.file, &alphabet, &ranks)?;
        let control = self.tokens[..count].iter().map(|t| (*t).to_owned());
        let tekken = Tekken::of_tokens(control.collect(), ranks)?;
        let id = |key, usual| {
            let name = self.name_of(key)?.unwrap_or(usual);
            Ok::<_, TokenizerError>(tekken.control_id(name))
        };
        let ids = [
            id("tokenizer.ggml.bos_token_id", "<s>")?,
            id("tokenizer.ggml.eos_token_id", "</s>")?,
            id("tokenizer.ggml.padding_token_id", "<pad>")?,
            id("tokenizer.ggml.unknown_token_id", "<unk>")?,
        ];
        Ok(Tokenizer::bare(Kind::Tekken(Box::new(tekken)), ids))
    }

    /// Byte-level tokens in any order, merged in the order of the file's list: a `tokenizer.json`
    /// with other words.
    fn gpt2(&self) -> Result<Tokenizer, TokenizerError> {
        let list = list(self.file, MERGES)?.ok_or_else(|| missing(MERGES, "a list of texts"))?;
        let texts = list.texts().ok_or_else(|| wrong(MERGES, "texts", &list))?;
        let mut merges = Vec::new();
        for (i, merge) in texts.enumerate() {
            let merge = merge?;
            let pair = merge
                .split_once(' ')
                .ok_or_else(|| TokenizerError::Vocabulary {
                    id: i as u64,
                    expected: "a merge of two tokens",
                    found: format!("{:?}", merge.chars().take(80).collect::<String>()),
                })?;
            merges.push([pair.0, pair.1]);
        }
        let (mut vocab, mut added) = (serde_json::Map::new(), Vec::new());
        for (id, (token, kind)) in self.tokens.iter().zip(&self.types).enumerate() {
            match *kind {
                NORMAL => drop(vocab.insert((*token).to_owned(), id.into())),
                UNUSED => {}
                kind => {
                    vocab.insert((*token).to_owned(), id.into());
                    added.push(json!({
                        "id": id, "content": token, "special": kind != USER_DEFINED,
                        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                    }));
                }
            }
        }
        let bytes = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
        });
        let file = json!({
            "version": "1.0", "added_tokens": added,
            "pre_tokenizer": bytes, "decoder": bytes,
            "model": { "type": "BPE", "vocab": vocab, "merges": merges },
        });
        let hf = Hf::from_json(&file.to_string())?;
        let id = |key, usual| {
            let name = self.name_of(key)?.unwrap_or(usual);
            Ok::<_, TokenizerError>(hf.control_id(name))
        };
        let ids = [
            id("tokenizer.ggml.bos_token_id", "<s>")?,
            id("tokenizer.ggml.eos_token_id", "</s>")?,
            id("tokenizer.ggml.padding_token_id", "<pad>")?,
            id("tokenizer.ggml.unknown_token_id", "<unk>")?,
        ];
        Ok(Tokenizer::bare(Kind::Hf(Box::new(hf)), ids))
    }

    fn scores(&self) -> Result<impl Iterator<Item = f32> + use<'a>, TokenizerError> {
        let list = list(self.file, SCORES)?.ok_or_else(|| missing(SCORES, "a list of f32"))?;
        // As long as the list of tokens before its padding was cut.
        match list.floats().filter(|_| list.len() >= self.tokens.len()) {
            Some(scores) => Ok(scores),
            None => Err(wrong(SCORES, "one f32 for each token", &list)),
        }
    }

    /// The token that an id in the metadata names.
    fn name_of(&self, key: &'static str) -> Result<Option<&'a str>, TokenizerError> {
        let Some(value) = self.file.value(key) else {
            return Ok(None);
        };
        let id = value.integer().and_then(|id| usize::try_from(id).ok());
        match id.and_then(|id| self.tokens.get(id)) {
            Some(token) => Ok(Some(token)),
            None => Err(TokenizerError::Field {
                field: key,
                expected: "an id of the vocabulary",
                found: value.describe(),
            }),
        }
    }
}

/// GPT-2's characters for bytes, read backwards.
struct Alphabet(Vec<Option<u8>>);

impl Alphabet {
    fn new() -> Alphabet {
        let mut table = vec![None; 0x200];
        for (c, byte) in byte_alphabet() {
            table[c as usize] = Some(byte);
        }
        Alphabet(table)
    }

    /// The bytes of a token; false when a character stands for none.
    fn decode(&self, token: &str, out: &mut Vec<u8>) -> bool {
        out.clear();
        token.chars().all(|c| {
            let byte = self.0.get(c as usize).copied().flatten();
            out.extend(byte);
            byte.is_some()
        })
    }
}

/// Merging goes by rank, as tekken does it. A list of merges must say the same: known tokens that
/// join to known tokens, in order of their ranks.
fn check_merges(file: &Gguf, alphabet: &Alphabet, ranks: &BytesMap) -> Result<(), TokenizerError> {
    let Some(list) = list(file, MERGES)? else {
        return Ok(());
    };
    let merges = list.texts().ok_or_else(|| wrong(MERGES, "texts", &list))?;
    let (mut left_bytes, mut joined, mut last) = (Vec::new(), Vec::new(), 0);
    for (i, merge) in merges.enumerate() {
        let merge = merge?;
        let refuse = |expected| TokenizerError::Vocabulary {
            id: i as u64,
            expected,
            found: format!("{:?}", merge.chars().take(80).collect::<String>()),
        };
        let pair = merge.split_once(' ').filter(|(left, right)| {
            left.len().max(right.len()) <= 2 * MAX_TOKEN_BYTES
                && alphabet.decode(left, &mut left_bytes)
                && alphabet.decode(right, &mut joined)
        });
        if pair.is_none() {
            return Err(refuse("a merge of two tokens in the byte-level alphabet"));
        }
        let known = ranks.get(&left_bytes).is_some() && ranks.get(&joined).is_some();
        joined.splice(0..0, left_bytes.iter().copied());
        let Some(rank) = ranks.get(&joined).filter(|_| known) else {
            return Err(refuse("a merge whose parts and result are tokens"));
        };
        if rank < last {
            return Err(refuse("merges in the order of the tokens that they make"));
        }
        last = rank;
    }
    Ok(())
}

fn types(file: &Gguf, tokens: usize) -> Result<Vec<u64>, TokenizerError> {
    let list = list(file, TYPES)?.ok_or_else(|| missing(TYPES, "a list of numbers"))?;
    let values = list.scalars().filter(|_| list.len() == tokens);
    let types: Option<Vec<u64>> = values.and_then(|v| v.map(Value::integer).collect());
    types.ok_or_else(|| wrong(TYPES, "one number for each token", &list))
}

fn text<'a>(file: &'a Gguf, key: &'static str) -> Result<Option<&'a str>, TokenizerError> {
    match file.value(key) {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(other) => Err(TokenizerError::Field {
            field: key,
            expected: "a text",
            found: other.describe(),
        }),
    }
}

fn flag(file: &Gguf, key: &'static str, usual: bool) -> Result<bool, TokenizerError> {
    match file.value(key) {
        None => Ok(usual),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(other) => Err(TokenizerError::Field {
            field: key,
            expected: "a flag",
            found: other.describe(),
        }),
    }
}

fn list<'a>(file: &'a Gguf, key: &'static str) -> Result<Option<Array<'a>>, TokenizerError> {
    match file.value(key) {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => Err(TokenizerError::Field {
            field: key,
            expected: "a list",
            found: other.describe(),
        }),
    }
}

fn missing(field: &'static str, expected: &'static str) -> TokenizerError {
    TokenizerError::Field {
        field,
        expected,
        found: "none".to_owned(),
    }
}

fn wrong(field: &'static str, expected: &'static str, found: &Array<'_>) -> TokenizerError {
    TokenizerError::Field {
        field,
        expected,
        found: Value::Array(*found).describe(),
    }
}

fn unsupported(field: &'static str, found: &str) -> TokenizerError {
    TokenizerError::Unsupported {
        field,
        found: found.chars().take(60).collect(),
    }
}
