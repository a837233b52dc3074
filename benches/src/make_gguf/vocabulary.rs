//! A made-up vocabulary: control tokens, one token a byte, and strings of letters.
//!
//! No token of it comes from anywhere. llama.cpp and we read it as a SentencePiece BPE model.

use mistral_infer::gguf::{Metadata, MetadataValue as Value};

/// Tokens, as many as the second and third versions of Mistral's SentencePiece vocabulary have.
pub(crate) const LEN: usize = 32768;

const FIRST_BYTE: usize = 3;
const FIRST_TEXT: usize = FIRST_BYTE + 256;

// `llama_token_type` of llama.cpp.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// The tokenizer's entries.
pub(crate) fn metadata() -> Metadata {
    let tokens: Vec<(String, f32, i32)> = (0..LEN).map(token).collect();
    let entries = [
        ("model", Value::Text("llama".into())),
        ("pre", Value::Text("default".into())),
        (
            "tokens",
            Value::Texts(tokens.iter().map(|t| t.0.clone()).collect()),
        ),
        ("scores", Value::F32s(tokens.iter().map(|t| t.1).collect())),
        (
            "token_type",
            Value::I32s(tokens.iter().map(|t| t.2).collect()),
        ),
        ("unknown_token_id", Value::U32(0)),
        ("bos_token_id", Value::U32(1)),
        ("eos_token_id", Value::U32(2)),
        ("add_bos_token", Value::Bool(true)),
        ("add_eos_token", Value::Bool(false)),
    ];
    entries
        .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value))
        .into()
}

/// Text, score and type of a token.
fn token(id: usize) -> (String, f32, i32) {
    match id {
        0 => ("<unk>".into(), 0.0, UNKNOWN),
        1 => ("<s>".into(), 0.0, CONTROL),
        2 => ("</s>".into(), 0.0, CONTROL),
        FIRST_BYTE..FIRST_TEXT => (format!("<0x{:02X}>", id - FIRST_BYTE), 0.0, BYTE),
        // The sign that stands for a space.
        FIRST_TEXT => ("\u{2581}".into(), -1.0, NORMAL),
        _ => {
            let number = id - FIRST_TEXT;
            (letters(number), -(number as f32) - 1.0, NORMAL)
        }
    }
}

/// The n-th string of a, b, …, z, aa, ab, …: shorter ones first, so that pieces of two tokens are tokens.
fn letters(number: usize) -> String {
    let mut rest = number;
    let mut text = Vec::new();
    while rest > 0 {
        rest -= 1;
        text.push(char::from(b'a' + (rest % 26) as u8));
        rest /= 26;
    }
    text.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn tokens_are_distinct() {
        let texts: BTreeSet<String> = (0..LEN).map(|id| token(id).0).collect();
        assert_eq!(texts.len(), LEN);
        assert_eq!(
            [1, 26, 27, 52, 53].map(letters),
            ["a", "z", "aa", "az", "ba"]
        );
        assert_eq!(token(258), ("<0xFF>".into(), 0.0, BYTE));
    }
}
