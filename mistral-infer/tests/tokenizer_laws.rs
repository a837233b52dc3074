//! Laws of tokenizers, on the small files of our own.

mod tokenizer_files;

use std::sync::OnceLock;

use mistral_infer::chat::Json;
use mistral_infer::tokenizer::{Tokenizer, TokenizerVersion};
use proptest::prelude::*;
use tokenizer_files::{sentencepiece, tekken, tokenizer_json};

fn files() -> &'static [(&'static str, Vec<u8>)] {
    static FILES: OnceLock<Vec<(&str, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        vec![
            ("tekken.json", tekken(TokenizerVersion::V13).into_bytes()),
            ("tokenizer.model.v7", sentencepiece()),
            ("tokenizer.json", tokenizer_json().into_bytes()),
        ]
    })
}

fn tokenizers() -> &'static [Tokenizer] {
    static TOKENIZERS: OnceLock<Vec<Tokenizer>> = OnceLock::new();
    TOKENIZERS.get_or_init(|| {
        let read = |(name, data): &(&str, Vec<u8>)| Tokenizer::from_bytes(name, data);
        files()
            .iter()
            .map(|file| read(file).expect("our own file"))
            .collect()
    })
}

/// Texts of any characters, of words that the vocabularies know, and of control strings.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        any::<String>(),
        "[ a-zA-Z0-9\n\t.,'\"/\u{e9}\u{301}\u{6587}\u{1f642}]{0,12}",
        prop::sample::select(vec![
            "the text", "[INST]", "</s>", "<0x0A>", "[REF]", "  ", "\u{fffd}"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The vocabularies have all bytes, so no text is lost. SentencePiece writes its own sign for
    /// the space, so that sign comes back as a space.
    #[test]
    fn decode_undoes_encode(text in text()) {
        for tokenizer in tokenizers() {
            let ids = tokenizer.encode(&text).expect("no limit is near");
            let decoded = tokenizer.decode(&ids).expect("own ids");
            let is_sentencepiece = tokenizer.control_token("[REF]").is_err()
                && tokenizer.id_to_piece(20).as_deref() == Some("[REF]");
            let expected =
                if is_sentencepiece { text.replace('\u{2581}', " ") } else { text.clone() };
            prop_assert_eq!(&decoded, &expected);
            prop_assert!(ids.iter().all(|&id| !tokenizer.is_control(id)));
        }
    }

    /// A stream gives the text of the whole, and no half characters on the way.
    #[test]
    fn streams_never_split_a_character(text in text()) {
        for tokenizer in tokenizers() {
            let ids = tokenizer.encode(&text).expect("no limit is near");
            let mut stream = tokenizer.decode_stream();
            let mut streamed = String::new();
            for &id in &ids {
                let piece = stream.push(id).expect("own ids");
                let broken = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
                prop_assert!(broken(&text) || !broken(piece));
                streamed.push_str(piece);
            }
            let rest = stream.finish();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(streamed, tokenizer.decode(&ids).expect("own ids"));
        }
    }

    /// For any ids, broken characters and control tokens among them, too.
    #[test]
    fn streams_equal_the_whole(ids in prop::collection::vec(0u32..400, 0..40)) {
        for tokenizer in tokenizers() {
            let mut stream = tokenizer.decode_stream();
            let mut streamed = String::new();
            for &id in &ids {
                streamed.push_str(stream.push(id % tokenizer.vocab_size() as u32).expect("in range"));
            }
            streamed.push_str(&stream.finish());
            let ids: Vec<u32> =
                ids.iter().map(|id| id % tokenizer.vocab_size() as u32).collect();
            prop_assert_eq!(streamed, tokenizer.decode(&ids).expect("in range"));
        }
    }

    /// A damaged file is refused or read, never a panic.
    #[test]
    fn damaged_files_do_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        for (name, data) in files() {
            let mut data = data.clone();
            for (place, byte) in &changes {
                let place = place.index(data.len());
                data[place] = *byte;
            }
            if let Some(cut) = cut {
                data.truncate(cut.index(data.len()));
            }
            if let Ok(tokenizer) = Tokenizer::from_bytes(name, &data) {
                let ids = tokenizer.encode("the text [REF] \u{6587}\n");
                if let Ok(ids) = ids {
                    tokenizer.decode(&ids).expect("own ids");
                }
            }
        }
    }

    /// Reading what was written gives the value; text that is no JSON does no harm.
    #[test]
    fn json_reads_back(text in text(), number in any::<f64>(), whole in any::<i64>()) {
        let value = Json::object([
            ("text", Json::string(text.as_str())),
            ("list", Json::Array(vec![Json::Int(whole.to_string()), Json::Null, Json::Bool(true)])),
        ]);
        prop_assert_eq!(Json::parse(&value.dumps()), Some(value));
        if !number.is_nan() {
            prop_assert_eq!(Json::parse(&Json::Float(number).dumps()), Some(Json::Float(number)));
        }
        let _ = Json::parse(&text);
    }
}
