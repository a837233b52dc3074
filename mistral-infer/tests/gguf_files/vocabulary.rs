//! Writes the token lists of other tokenizer files as GGUF metadata.

#![allow(dead_code, reason = "each test file uses its part")]

use mistral_infer::gguf::Gguf;
use mistral_infer::tokenizer::{Tokenizer, TokenizerError};
use serde_json::Value;

use crate::gguf_files::Writer;
use crate::tokenizer_files::{self, CONTROL_PIECE, NORMAL};

/// Tokens with score and type, as a GGUF file lists them.
#[derive(Debug, Clone)]
pub(crate) struct Vocabulary {
    pub(crate) tokens: Vec<(String, f32, i32)>,
    pub(crate) merges: Vec<String>,
    model: &'static str,
}

impl Vocabulary {
    /// Reads the pieces of a SentencePiece model: field 1 of the message, in order.
    pub(crate) fn of_sentencepiece(file: &[u8]) -> Vocabulary {
        let mut tokens = Vec::new();
        for (number, value) in fields(file) {
            if let (1, Field::Bytes(piece)) = (number, value) {
                let (mut text, mut score, mut kind) = (String::new(), 0.0, 1);
                for (number, value) in fields(piece) {
                    match (number, value) {
                        (1, Field::Bytes(b)) => text = String::from_utf8(b.to_vec()).expect("text"),
                        (2, Field::Word(w)) => score = f32::from_bits(w),
                        (3, Field::Number(n)) => kind = n as i32,
                        _ => {}
                    }
                }
                tokens.push((text, score, kind));
            }
        }
        Vocabulary {
            tokens,
            merges: Vec::new(),
            model: "llama",
        }
    }

    /// Reads a `tekken.json`: names of control tokens, then the ranks in GPT-2's characters.
    pub(crate) fn of_tekken(json: &str) -> Vocabulary {
        let file: Value = serde_json::from_str(json).expect("JSON");
        let count = |key: &str| file["config"][key].as_u64().expect("a count") as usize;
        let special = count("default_num_special_tokens");
        let ranks = count("default_vocab_size") - special;
        let mut tokens: Vec<(String, f32, i32)> = (0..special)
            .map(|i| {
                let listed = file["special_tokens"][i]["token_str"].as_str();
                let usual = tokenizer_files::CONTROL[..20].get(i).copied();
                let known = if file["special_tokens"].is_null() {
                    usual
                } else {
                    listed
                };
                let name = known.map_or_else(|| format!("<SPECIAL_{i}>"), str::to_owned);
                (name, 0.0, CONTROL_PIECE as i32)
            })
            .collect();
        let vocab = file["vocab"].as_array().expect("a list");
        let bytes: Vec<Vec<u8>> = vocab[..ranks]
            .iter()
            .map(|entry| unbase64(entry["token_bytes"].as_str().expect("bytes")))
            .collect();
        tokens.extend(bytes.iter().map(|b| (letters(b), 0.0, NORMAL as i32)));
        // Every way to put a token together, in order of rank, as converters list them.
        let known: std::collections::HashSet<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let merges = bytes
            .iter()
            .flat_map(|token| (1..token.len()).map(move |cut| token.split_at(cut)))
            .filter(|(left, right)| known.contains(left) && known.contains(right))
            .map(|(left, right)| format!("{} {}", letters(left), letters(right)))
            .collect();
        Vocabulary {
            tokens,
            merges,
            model: "gpt2",
        }
    }

    pub(crate) fn write(&self) -> Writer {
        let mut w = Writer::default();
        let texts: Vec<&str> = self.tokens.iter().map(|(t, ..)| t.as_str()).collect();
        let scores: Vec<f32> = self.tokens.iter().map(|(_, s, _)| *s).collect();
        let types: Vec<i32> = self.tokens.iter().map(|(.., k)| *k).collect();
        w.text("tokenizer.ggml.model", self.model)
            .texts("tokenizer.ggml.tokens", &texts)
            .i32s("tokenizer.ggml.token_type", &types)
            .u32("tokenizer.ggml.bos_token_id", 1)
            .u32("tokenizer.ggml.eos_token_id", 2);
        match self.model {
            "llama" => w.f32s("tokenizer.ggml.scores", &scores),
            _ => w
                .text("tokenizer.ggml.pre", "tekken")
                .texts("tokenizer.ggml.merges", &self.merges),
        };
        w
    }
}

enum Field<'a> {
    Number(u64),
    Word(u32),
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message.
fn fields(mut rest: &[u8]) -> Vec<(u64, Field<'_>)> {
    let varint = |rest: &mut &[u8]| {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, tail) = rest.split_first().expect("a whole number");
            *rest = tail;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    };
    let mut out = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut rest)),
            5 => {
                let (word, tail) = rest.split_at(4);
                rest = tail;
                Field::Word(u32::from_le_bytes(word.try_into().expect("four bytes")))
            }
            2 => {
                let len = varint(&mut rest) as usize;
                let (bytes, tail) = rest.split_at(len);
                rest = tail;
                Field::Bytes(bytes)
            }
            other => panic!("wire type {other}"),
        };
        out.push((tag >> 3, field));
    }
    out
}

fn unbase64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut out = Vec::new();
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let word = group
            .iter()
            .fold(0u32, |w, c| w << 6 | u32::from(value(*c)));
        let word = word << (6 * (4 - group.len()));
        out.extend(&word.to_be_bytes()[1..group.len()]);
    }
    out
}

fn letters(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|b| tokenizer_files::byte_character(*b))
        .collect()
}

/// The tokenizer of a written file.
pub(crate) fn open(writer: &Writer) -> Result<Tokenizer, TokenizerError> {
    let file = Gguf::from_bytes(writer.finish()).expect("the container is valid");
    Ok(Tokenizer::from_gguf(&file)?.expect("the file has a tokenizer"))
}
