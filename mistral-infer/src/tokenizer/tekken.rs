//! Mistral's tekken tokenizers: `tekken.json`, byte-level BPE by rank.
//!
//! A file has a regular expression that cuts the text, a vocabulary of byte strings in order of
//! rank (the first 256 are the single bytes), and a table of control tokens. Token id = rank +
//! number of control tokens. Source of the format and of the rules: mistral-common 1.13,
//! `tokens/tokenizers/tekken.py`.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use super::base64;
use super::bpe::Merger;
use super::bytes_map::{BytesMap, refused};
use super::cache::PieceCache;
use super::error::TokenizerError;
use super::limits::{MAX_CONTROL_BYTES, MAX_TOKEN_BYTES, MAX_VOCABULARY};
use super::split::{Splitter, TEKKEN_PATTERN};
use super::version::TokenizerVersion;
use crate::chat::ModelSettingsBuilder;

/// Control tokens of files that do not list theirs (versions up to v7).
const UNLISTED_CONTROL_TOKENS: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

/// A tekken tokenizer's settings without its vocabulary.
#[derive(Debug, Clone)]
pub struct TekkenParts {
    /// The pattern that cuts texts into pieces.
    pub pattern: String,
    /// The version, which decides how chats are encoded.
    pub version: TokenizerVersion,
    /// Number of ids, control tokens included.
    pub vocab_size: usize,
    /// Number of ids set aside for control tokens; those beyond `control_tokens` get names of the
    /// form `<SPECIAL_n>`.
    pub num_control_tokens: usize,
    /// Names of the first control tokens, in order of id.
    pub control_tokens: Vec<String>,
    /// Which settings a request may carry (v15).
    pub model_settings: Option<ModelSettingsBuilder>,
}

/// The vocabulary and pattern of a tekken tokenizer.
pub(super) struct Tekken {
    /// Token bytes by rank.
    vocab: BytesMap,
    /// Control tokens by id.
    control: Vec<String>,
    control_ids: HashMap<String, u32>,
    splitter: Splitter,
    mistrals_pattern: bool,
}

#[derive(Deserialize)]
struct File<'a> {
    config: Config,
    #[serde(borrow)]
    vocab: Vec<Entry<'a>>,
    special_tokens: Option<Vec<ControlEntry>>,
    model_settings_builder: Option<ModelSettingsBuilder>,
}

#[derive(Deserialize)]
struct Config {
    pattern: String,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
    version: String,
}

#[derive(Deserialize)]
struct Entry<'a> {
    rank: u64,
    #[serde(borrow)]
    token_bytes: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ControlEntry {
    rank: u64,
    token_str: String,
}

/// Reads a `tekken.json`.
pub(super) fn from_json(json: &str) -> Result<(Tekken, TekkenParts), TokenizerError> {
    let file: File<'_> = serde_json::from_str(json)?;
    let version: TokenizerVersion = file.config.version.parse()?;
    let control_tokens = match file.special_tokens {
        Some(listed) => in_order(listed)?,
        None if version <= TokenizerVersion::V7 => {
            UNLISTED_CONTROL_TOKENS.map(str::to_owned).to_vec()
        }
        None => {
            return Err(TokenizerError::Field {
                field: "special_tokens",
                expected: "the table of control tokens, which versions above v7 carry",
                found: "none".to_owned(),
            });
        }
    };
    if let Some(effort) = file
        .model_settings_builder
        .as_ref()
        .and_then(|builder| builder.reasoning_effort.as_ref())
        && !effort.values.contains(&effort.default)
    {
        return Err(TokenizerError::Field {
            field: "model_settings_builder.reasoning_effort.default",
            expected: "one of the allowed values",
            found: format!("{:?}", effort.default),
        });
    }
    let parts = TekkenParts {
        pattern: file.config.pattern,
        version,
        vocab_size: file.config.default_vocab_size,
        num_control_tokens: file.config.default_num_special_tokens,
        control_tokens,
        model_settings: file.model_settings_builder,
    };
    let ranks = parts.check_sizes(file.vocab.len())?;
    let mut vocab = BytesMap::with_capacity(ranks);
    let mut bytes = Vec::new();
    for (i, entry) in file.vocab.iter().take(ranks).enumerate() {
        if entry.rank != i as u64 {
            return Err(TokenizerError::Vocabulary {
                id: i as u64,
                expected: "ranks that count up from 0",
                found: format!("rank {}", entry.rank),
            });
        }
        bytes.clear();
        base64::decode(&entry.token_bytes, &mut bytes).ok_or_else(|| {
            TokenizerError::Vocabulary {
                id: i as u64,
                expected: "token_bytes in base64",
                found: format!("{:?}", entry.token_bytes),
            }
        })?;
        push(&mut vocab, &bytes)?;
    }
    Ok((Tekken::new(&parts, vocab)?, parts))
}

/// Reads ranks stored as (length in one byte, bytes) in rank order.
pub(super) fn from_ranks(parts: &TekkenParts, ranks: &[u8]) -> Result<Tekken, TokenizerError> {
    let mut rest = ranks;
    let mut available = 0;
    while let Some((&length, tail)) = rest.split_first() {
        rest = tail
            .get(usize::from(length)..)
            .ok_or_else(|| TokenizerError::Vocabulary {
                id: available,
                expected: "as many bytes as its length says",
                found: format!("{} of {length}", tail.len()),
            })?;
        available += 1;
    }
    let count = parts.check_sizes(available as usize)?;
    let mut vocab = BytesMap::with_capacity(count);
    rest = ranks;
    for _ in 0..count {
        let length = usize::from(rest[0]);
        push(&mut vocab, &rest[1..=length])?;
        rest = &rest[1 + length..];
    }
    Tekken::new(parts, vocab)
}

fn in_order(listed: Vec<ControlEntry>) -> Result<Vec<String>, TokenizerError> {
    listed
        .into_iter()
        .enumerate()
        .map(|(i, entry)| {
            if entry.rank == i as u64 {
                return Ok(entry.token_str);
            }
            Err(TokenizerError::Vocabulary {
                id: i as u64,
                expected: "control tokens whose ranks count up from 0",
                found: format!("rank {} for {:?}", entry.rank, entry.token_str),
            })
        })
        .collect()
}

/// Adds the token of the next rank.
pub(super) fn push(vocab: &mut BytesMap, bytes: &[u8]) -> Result<(), TokenizerError> {
    let rank = vocab.len();
    if bytes.len() > MAX_TOKEN_BYTES {
        return Err(TokenizerError::too_large(
            "token in bytes",
            bytes.len(),
            MAX_TOKEN_BYTES,
        ));
    }
    let expected_byte = u8::try_from(rank).ok();
    if bytes.is_empty() || expected_byte.is_some_and(|byte| bytes != [byte]) {
        return Err(TokenizerError::Vocabulary {
            id: rank as u64,
            expected: "the 256 single bytes first, and no empty token",
            found: format!("{:?}", String::from_utf8_lossy(bytes)),
        });
    }
    vocab
        .push(bytes)
        .map(drop)
        .map_err(|why| refused(rank, bytes, why))
}

impl TekkenParts {
    /// Checks the sizes against each other and returns the number of ranks that are used.
    fn check_sizes(&self, available: usize) -> Result<usize, TokenizerError> {
        if self.vocab_size > MAX_VOCABULARY {
            return Err(TokenizerError::too_large(
                "default_vocab_size",
                self.vocab_size,
                MAX_VOCABULARY,
            ));
        }
        let ranks = self.vocab_size.checked_sub(self.num_control_tokens);
        match ranks {
            Some(ranks) if ranks >= 256 && ranks <= available => Ok(ranks),
            _ => Err(TokenizerError::Field {
                field: "default_vocab_size",
                expected: "the control tokens, the 256 bytes and at most the listed vocabulary",
                found: format!(
                    "{} with {} control tokens and {available} listed ranks",
                    self.vocab_size, self.num_control_tokens
                ),
            }),
        }
    }
}

impl Tekken {
    fn new(parts: &TekkenParts, vocab: BytesMap) -> Result<Self, TokenizerError> {
        let listed = parts.control_tokens.len();
        if listed > parts.num_control_tokens {
            return Err(TokenizerError::Field {
                field: "special_tokens",
                expected: "at most default_num_special_tokens entries",
                found: format!("{listed} of {}", parts.num_control_tokens),
            });
        }
        let fillers = (listed..parts.num_control_tokens).map(|i| format!("<SPECIAL_{i}>"));
        let listed = parts.control_tokens.iter().cloned();
        Self::with_control(listed.chain(fillers).collect(), vocab, &parts.pattern)
    }

    /// A vocabulary of Mistral's pattern, whose control tokens have the first ids.
    pub(super) fn of_tokens(control: Vec<String>, vocab: BytesMap) -> Result<Self, TokenizerError> {
        if vocab.len() < 256 {
            return Err(TokenizerError::Field {
                field: "tokens",
                expected: "at least the 256 bytes",
                found: vocab.len().to_string(),
            });
        }
        Self::with_control(control, vocab, TEKKEN_PATTERN)
    }

    fn with_control(
        control: Vec<String>,
        vocab: BytesMap,
        pattern: &str,
    ) -> Result<Self, TokenizerError> {
        let mut control_ids = HashMap::with_capacity(control.len());
        for (i, name) in control.iter().enumerate() {
            if name.is_empty() || name.len() > MAX_CONTROL_BYTES {
                return Err(TokenizerError::Vocabulary {
                    id: i as u64,
                    expected: "a control token with a name of 1 to 256 bytes",
                    found: format!("a name of {} bytes", name.len()),
                });
            }
            if let Some(first) = control_ids.insert(name.clone(), i as u32) {
                return Err(TokenizerError::Vocabulary {
                    id: i as u64,
                    expected: "control tokens that differ",
                    found: format!("{name:?}, which is entry {first} too"),
                });
            }
        }
        Ok(Self {
            vocab,
            control,
            control_ids,
            splitter: Splitter::new(pattern)?,
            mistrals_pattern: pattern == TEKKEN_PATTERN,
        })
    }

    /// Appends the ids of a text; control strings in it are plain text.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let offset = self.control.len() as u32;
        let mut merger = Merger::default();
        let mut cache = PieceCache::for_text(text.len());
        // The cache counts ids from the start of this text.
        let mut found = Vec::with_capacity(text.len() / 3 + 1);
        self.splitter.split(text, |piece| {
            let bytes = &text.as_bytes()[piece.clone()];
            if let Some(rank) = self.vocab.get(bytes) {
                found.push(rank + offset);
                return;
            }
            cache.extend(text.as_bytes(), piece, &mut found, |bytes, ids| {
                self.merge(bytes, &mut merger, ids);
            });
        })?;
        ids.append(&mut found);
        Ok(())
    }

    fn merge(&self, piece: &[u8], merger: &mut Merger, ids: &mut Vec<u32>) {
        merger.starts.clear();
        merger.starts.extend(0..=piece.len() as u32);
        merger.merge(piece, |joined| self.vocab.get(joined), |_, _, _| ());
        let offset = self.control.len() as u32;
        ids.extend(merger.starts.windows(2).map(|w| {
            let symbol = &piece[w[0] as usize..w[1] as usize];
            let rank = self.vocab.get(symbol);
            rank.expect("all bytes are tokens and only tokens are joined") + offset
        }));
    }

    /// The bytes of all tokens of text, by rank.
    pub(super) fn ranks(&self) -> &BytesMap {
        &self.vocab
    }

    /// Whether texts are cut by the pattern of Mistral's own files.
    pub(super) fn has_mistrals_pattern(&self) -> bool {
        self.mistrals_pattern
    }

    /// The name of a control token.
    pub(super) fn control(&self, id: u32) -> Option<&str> {
        self.control.get(id as usize).map(String::as_str)
    }

    /// The bytes of a token that is no control token.
    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let rank = id.checked_sub(self.control.len() as u32)?;
        ((rank as usize) < self.vocab.len()).then(|| self.vocab.bytes(rank))
    }

    pub(super) fn control_id(&self, name: &str) -> Option<u32> {
        self.control_ids.get(name).copied()
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.control.len() + self.vocab.len()
    }
}
