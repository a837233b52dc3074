//! GGUF vocabularies that attack their reader: each class gets the error that names it.

mod gguf_files;
mod tokenizer_files;
#[path = "gguf_files/vocabulary.rs"]
mod vocabulary;

use gguf_files::Writer;
use mistral_infer::tokenizer::TokenizerVersion;
use tokenizer_files::{BYTE, CONTROL_PIECE, NORMAL};
use vocabulary::{Vocabulary, open};

/// A change to a valid file, and the field or word that the error names.
type Attack = (&'static str, fn(&mut Vocabulary, &mut Writer), &'static str);

#[test]
fn broken_vocabularies_get_named_errors() {
    let sentencepiece: &[Attack] = &[
        (
            "byte piece <0x-1>",
            |v, w| {
                v.tokens[30].0 = "<0x-1>".into();
                *w = v.write()
            },
            "<0x00> to <0xFF>",
        ),
        (
            "byte piece <0xZZ>",
            |v, w| {
                v.tokens[30].0 = "<0xZZ>".into();
                *w = v.write()
            },
            "<0x00> to <0xFF>",
        ),
        (
            "byte piece twice",
            |v, w| {
                v.tokens[30].0 = v.tokens[31].0.clone();
                *w = v.write()
            },
            "control pieces that differ",
        ),
        (
            "a byte less",
            |v, w| {
                v.tokens[30].2 = NORMAL as i32;
                *w = v.write()
            },
            "256 byte pieces",
        ),
        (
            "NaN score",
            |v, w| {
                v.tokens[300].1 = f32::NAN;
                *w = v.write()
            },
            "a finite score",
        ),
        (
            "type 9",
            |v, w| {
                v.tokens[300].2 = 9;
                *w = v.write()
            },
            "a piece type",
        ),
        (
            "type -1",
            |v, w| {
                v.tokens[300].2 = -1;
                *w = v.write()
            },
            "token_type",
        ),
        (
            "empty piece",
            |v, w| {
                v.tokens[300].0.clear();
                *w = v.write()
            },
            "1 to 1024 bytes",
        ),
        (
            "long piece",
            |v, w| {
                v.tokens[300].0 = "x".repeat(2000);
                *w = v.write()
            },
            "1 to 1024 bytes",
        ),
        (
            "same piece",
            |v, w| {
                v.tokens[300].0 = v.tokens[301].0.clone();
                *w = v.write()
            },
            "a token of its own",
        ),
        (
            "no unknown",
            |v, w| {
                v.tokens[0].2 = NORMAL as i32;
                *w = v.write()
            },
            "type unknown",
        ),
        (
            "bos outside",
            |_, w| {
                w.u32("tokenizer.ggml.bos_token_id", 1 << 20);
            },
            "bos_token_id",
        ),
        (
            "eos outside",
            |_, w| {
                w.u32("tokenizer.ggml.eos_token_id", u32::MAX);
            },
            "eos_token_id",
        ),
        (
            "scores as bytes",
            |v, w| {
                let bytes = vec![1; v.tokens.len()];
                w.put(
                    "tokenizer.ggml.scores",
                    gguf_files::ARRAY,
                    &gguf_files::array(gguf_files::U8, bytes.len() as u64, &bytes),
                );
            },
            "scores",
        ),
        (
            "few scores",
            |_, w| {
                w.f32s("tokenizer.ggml.scores", &[0.0; 3]);
            },
            "scores",
        ),
        (
            "no scores",
            |_, w| {
                w.remove("tokenizer.ggml.scores");
            },
            "scores",
        ),
        (
            "few types",
            |_, w| {
                w.i32s("tokenizer.ggml.token_type", &[1; 3]);
            },
            "token_type",
        ),
        (
            "types as texts",
            |_, w| {
                w.texts("tokenizer.ggml.token_type", &["1"]);
            },
            "token_type",
        ),
        (
            "tokens as numbers",
            |_, w| {
                w.f32s("tokenizer.ggml.tokens", &[1.0]);
            },
            "tokens",
        ),
        (
            "tokens as one text",
            |_, w| {
                w.text("tokenizer.ggml.tokens", "a");
            },
            "tokens",
        ),
        (
            "no tokens",
            |_, w| {
                w.remove("tokenizer.ggml.tokens");
            },
            "tokens",
        ),
        (
            "another model",
            |_, w| {
                w.text("tokenizer.ggml.model", "bert");
            },
            "tokenizer.ggml.model",
        ),
        (
            "a flag as text",
            |_, w| {
                w.text("tokenizer.ggml.add_space_prefix", "yes");
            },
            "add_space_prefix",
        ),
        (
            "replacements",
            |_, w| {
                w.put(
                    "tokenizer.ggml.precompiled_charsmap",
                    gguf_files::ARRAY,
                    &gguf_files::array(gguf_files::U8, 4, &[1; 4]),
                );
            },
            "precompiled_charsmap",
        ),
        (
            "template as number",
            |_, w| {
                w.u32("tokenizer.chat_template", 1);
            },
            "chat_template",
        ),
        (
            "long template",
            |_, w| {
                w.text("tokenizer.chat_template", &"x".repeat((1 << 20) + 1));
            },
            "chat_template",
        ),
    ];
    check_attacks(
        &Vocabulary::of_sentencepiece(&tokenizer_files::sentencepiece()),
        sentencepiece,
    );
    let tekken: &[Attack] = &[
        (
            "another pattern",
            |_, w| {
                w.text("tokenizer.ggml.pre", "llama-bpe");
            },
            "tokenizer.ggml.pre",
        ),
        (
            "no pattern",
            |_, w| {
                w.remove("tokenizer.ggml.pre");
            },
            "tokenizer.ggml.pre",
        ),
        (
            "unknown merge",
            |_, w| {
                w.texts("tokenizer.ggml.merges", &["xq zq"]);
            },
            "parts and result",
        ),
        (
            "merge of one",
            |_, w| {
                w.texts("tokenizer.ggml.merges", &["x"]);
            },
            "two tokens",
        ),
        (
            "merge of letters outside",
            |_, w| {
                w.texts("tokenizer.ggml.merges", &["文 字"]);
            },
            "two tokens",
        ),
        (
            "merges backwards",
            |v, w| {
                v.merges.reverse();
                *w = v.write()
            },
            "order of the tokens",
        ),
        (
            "merges as numbers",
            |_, w| {
                w.f32s("tokenizer.ggml.merges", &[1.0]);
            },
            "merges",
        ),
        (
            "token outside the alphabet",
            |v, w| {
                v.tokens.last_mut().unwrap().0 = "文".into();
                *w = v.write()
            },
            "byte-level alphabet",
        ),
        (
            "bytes in another order",
            |v, w| {
                v.tokens.swap(60, 61);
                *w = v.write()
            },
            "256 single bytes",
        ),
        (
            "same token",
            |v, w| {
                let n = v.tokens.len();
                v.tokens[n - 1] = v.tokens[n - 2].clone();
                *w = v.write()
            },
            "a token of its own",
        ),
        (
            "control in between",
            |v, w| {
                v.tokens[100].2 = CONTROL_PIECE as i32;
                *w = v.write()
            },
            "control tokens first",
        ),
        (
            "byte type",
            |v, w| {
                v.tokens[100].2 = BYTE as i32;
                *w = v.write()
            },
            "control tokens first",
        ),
        (
            "few tokens",
            |v, w| {
                v.tokens.truncate(100);
                v.merges.clear();
                *w = v.write()
            },
            "256 bytes",
        ),
        (
            "nothing but control",
            |v, w| {
                v.tokens.truncate(40);
                v.merges.clear();
                *w = v.write()
            },
            "256 bytes",
        ),
        (
            "same control",
            |v, w| {
                v.tokens[7].0 = v.tokens[6].0.clone();
                *w = v.write()
            },
            "control tokens that differ",
        ),
    ];
    let json = tokenizer_files::tekken(TokenizerVersion::V3);
    check_attacks(&Vocabulary::of_tekken(&json), tekken);
}

fn check_attacks(vocabulary: &Vocabulary, attacks: &[Attack]) {
    let mut wrong = Vec::new();
    for (name, change, expected) in attacks {
        let mut vocabulary = vocabulary.clone();
        let mut writer = vocabulary.write();
        change(&mut vocabulary, &mut writer);
        let message = match open(&writer) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => format!("{error}: {:?}", std::error::Error::source(&error)),
        };
        if !message.contains(expected) {
            wrong.push(format!("{name}: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
