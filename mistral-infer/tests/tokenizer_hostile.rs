//! Files and texts that mean harm: each is refused by name, in bounded time and memory.

mod tokenizer_files;

use std::time::{Duration, Instant};

use mistral_infer::tokenizer::limits::{MAX_FILE_BYTES, MAX_VOCABULARY};
use mistral_infer::tokenizer::{
    TEKKEN_PATTERN, TekkenParts, Tokenizer, TokenizerError, TokenizerVersion,
};
use serde_json::{Value, json};
use tokenizer_files::{
    BYTE, CONTROL_PIECE, NORMAL, Piece, Spec, UNKNOWN, byte_pieces, bytes_field, pieces_field,
    sentencepiece, sentencepiece_of, tekken, tokenizer_json, varint, varint_field,
};

/// The error's variant, for tables.
fn name(error: &TokenizerError) -> &'static str {
    match error {
        TokenizerError::Read { .. } => "Read",
        TokenizerError::NotFound { .. } => "NotFound",
        TokenizerError::UnknownFormat { .. } => "UnknownFormat",
        TokenizerError::TooLarge { .. } => "TooLarge",
        TokenizerError::Json(_) => "Json",
        TokenizerError::Protobuf { .. } => "Protobuf",
        TokenizerError::Vocabulary { .. } => "Vocabulary",
        TokenizerError::Field { .. } => "Field",
        TokenizerError::Unsupported { .. } => "Unsupported",
        TokenizerError::Pattern { .. } => "Pattern",
        TokenizerError::PatternSteps { .. } => "PatternSteps",
        TokenizerError::Library(_) => "Library",
        TokenizerError::UnknownId { .. } => "UnknownId",
        TokenizerError::UnknownVersion { .. } => "UnknownVersion",
        TokenizerError::VersionKind { .. } => "VersionKind",
        _ => "another",
    }
}

/// Checks that every file is refused with the error of its row.
fn check(file: &str, rows: Vec<(&str, Vec<u8>, &str)>) {
    let mut wrong = Vec::new();
    for (attack, data, expected) in rows {
        let started = Instant::now();
        let found = Tokenizer::from_bytes(file, &data);
        let found = found.as_ref().map_or_else(name, |_| "accepted");
        if found != expected {
            wrong.push(format!("{attack}: {found}, expected {expected}"));
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{attack} takes too long"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn model(extra: &[Piece<'_>]) -> Vec<u8> {
    let bytes = byte_pieces();
    let mut pieces: Vec<Piece<'_>> = vec![("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL_PIECE)];
    pieces.extend(bytes.iter().map(|text| (text.as_str(), 0.0, BYTE)));
    pieces.extend_from_slice(extra);
    sentencepiece_of(&pieces, &Spec::default())
}

/// A model with one more field of raw bytes.
fn model_with(number: u64, field: &[u8]) -> Vec<u8> {
    let mut data = model(&[]);
    bytes_field(number, field, &mut data);
    data
}

#[test]
fn sentencepiece_models() {
    let unknown: Piece<'_> = ("<unk>", 0.0, UNKNOWN);
    let raw_piece = |piece: &[u8]| model_with(1, piece);
    let mut length_of_2_63 = model(&[]);
    varint(1 << 3 | 2, &mut length_of_2_63);
    varint(1 << 63, &mut length_of_2_63);
    let mut not_utf8 = Vec::new();
    bytes_field(1, &[0xff, 0xfe], &mut not_utf8);
    let mut as_varint = Vec::new();
    varint_field(2, 5, &mut as_varint);
    let mut unigram = Vec::new();
    varint_field(3, 1, &mut unigram);
    let mut charsmap = Vec::new();
    bytes_field(2, &[1, 2, 3], &mut charsmap);
    let mut no_fallback = Vec::new();
    varint_field(35, 0, &mut no_fallback);
    let many = pieces_field(&[("a", 0.0, NORMAL)]).repeat(MAX_VOCABULARY + 1);
    let long = "a".repeat(1025);
    check(
        "tokenizer.model.v3",
        vec![
            ("empty", vec![], "Protobuf"),
            ("text", b"not a model at all".to_vec(), "Protobuf"),
            ("length of 2^63", length_of_2_63, "Protobuf"),
            (
                "piece that is no message",
                model_with(1, &[0xff; 12]),
                "Protobuf",
            ),
            ("piece that is not UTF-8", raw_piece(&not_utf8), "Protobuf"),
            ("score of another type", raw_piece(&as_varint), "Protobuf"),
            ("piece without text", raw_piece(&[]), "Vocabulary"),
            ("too many pieces", many, "TooLarge"),
            (
                "too long a piece",
                model(&[(&long, 0.0, NORMAL)]),
                "Vocabulary",
            ),
            ("byte <0xZZ>", model(&[("<0xZZ>", 0.0, BYTE)]), "Vocabulary"),
            ("byte <0x-1>", model(&[("<0x-1>", 0.0, BYTE)]), "Vocabulary"),
            ("byte <0x+1>", model(&[("<0x+1>", 0.0, BYTE)]), "Vocabulary"),
            ("byte twice", model(&[("<0x41>", 0.0, BYTE)]), "Vocabulary"),
            ("score NaN", model(&[("a", f32::NAN, NORMAL)]), "Vocabulary"),
            (
                "score infinite",
                model(&[("a", f32::INFINITY, NORMAL)]),
                "Vocabulary",
            ),
            ("type 9", model(&[("a", 0.0, 9)]), "Vocabulary"),
            ("type 2^63", model(&[("a", 0.0, 1 << 63)]), "Vocabulary"),
            (
                "piece twice",
                model(&[("a", 0.0, NORMAL), ("a", 1.0, NORMAL)]),
                "Vocabulary",
            ),
            (
                "two unknown pieces",
                model(&[("<u>", 0.0, UNKNOWN)]),
                "Vocabulary",
            ),
            (
                "no unknown piece",
                sentencepiece_of(
                    &[("a", 0.0, NORMAL)],
                    &Spec {
                        byte_fallback: false,
                        ..Spec::default()
                    },
                ),
                "Field",
            ),
            (
                "byte fallback without bytes",
                sentencepiece_of(&[unknown], &Spec::default()),
                "Field",
            ),
            (
                "bytes without byte fallback",
                model_with(2, &no_fallback),
                "Field",
            ),
            ("unigram", model_with(2, &unigram), "Unsupported"),
            (
                "table of replacements",
                model_with(3, &charsmap),
                "Unsupported",
            ),
            (
                "table for decoding",
                model_with(5, &charsmap),
                "Unsupported",
            ),
        ],
    );
}

#[test]
fn names_of_sentencepiece_models() {
    let cases = [
        ("tokenizer.model", "accepted"),
        ("tokenizer.model.v7", "accepted"),
        ("tokenizer.model.v7m1", "accepted"),
        ("tokenizer.model.v11", "VersionKind"),
        ("tokenizer.model.v4", "UnknownFormat"),
        ("weights.bin", "UnknownFormat"),
    ];
    for (file, expected) in cases {
        let found = Tokenizer::from_bytes(file, &sentencepiece());
        assert_eq!(
            found.as_ref().map_or_else(name, |_| "accepted"),
            expected,
            "{file}"
        );
    }
}

/// A good file with one change.
fn changed(good: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut file: Value = serde_json::from_str(good).expect("the file is JSON");
    change(&mut file);
    file.to_string().into_bytes()
}

#[test]
fn tekken_files() {
    let good = tekken(TokenizerVersion::V11);
    let v15 = tekken(TokenizerVersion::V15);
    let with = |change: fn(&mut Value)| changed(&good, change);
    let twice = good
        .replacen("\"vocab\":", "\"vocab\":[],\"vocab\":", 1)
        .into_bytes();
    let deep = format!("{{\"config\":{}", "[".repeat(100_000)).into_bytes();
    check(
        "tekken.json",
        vec![
            ("cut", good.as_bytes()[..good.len() / 2].to_vec(), "Json"),
            ("deep nesting", deep, "Json"),
            ("field twice", twice, "Json"),
            ("neither kind", b"{\"a\": 1}".to_vec(), "UnknownFormat"),
            (
                "not UTF-8",
                [b"{\"config\": \"", &[0xff][..], b"\"}"].concat(),
                "UnknownFormat",
            ),
            (
                "version v4",
                with(|f| f["config"]["version"] = json!("v4")),
                "UnknownVersion",
            ),
            (
                "no control tokens",
                with(|f| f["special_tokens"] = Value::Null),
                "Field",
            ),
            (
                "ranks out of order",
                with(|f| f["vocab"][300]["rank"] = json!(7)),
                "Vocabulary",
            ),
            (
                "rank of 2^64",
                with(|f| f["vocab"][9]["rank"] = json!(1e20)),
                "Json",
            ),
            (
                "no base64",
                with(|f| f["vocab"][300]["token_bytes"] = json!("%%%%")),
                "Vocabulary",
            ),
            (
                "empty token",
                with(|f| f["vocab"][300]["token_bytes"] = json!("")),
                "Vocabulary",
            ),
            (
                "first token not byte 0",
                with(|f| f["vocab"][0]["token_bytes"] = json!("YQ==")),
                "Vocabulary",
            ),
            (
                "token twice",
                with(|f| {
                    f["vocab"][300] = {
                        let bytes = f["vocab"][299]["token_bytes"].clone();
                        json!({"rank": 300, "token_bytes": bytes, "token_str": null})
                    }
                }),
                "Vocabulary",
            ),
            (
                "vocabulary of 2^60",
                with(|f| f["config"]["default_vocab_size"] = json!(1u64 << 60)),
                "TooLarge",
            ),
            (
                "more ids than tokens",
                with(|f| f["config"]["default_vocab_size"] = json!(5000)),
                "Field",
            ),
            (
                "more control ids than ids",
                with(|f| f["config"]["default_num_special_tokens"] = json!(5000)),
                "Field",
            ),
            (
                "negative size",
                with(|f| f["config"]["default_vocab_size"] = json!(-1)),
                "Json",
            ),
            (
                "more control tokens than ids for them",
                with(|f| f["config"]["default_num_special_tokens"] = json!(33)),
                "Field",
            ),
            (
                "control token twice",
                with(|f| f["special_tokens"][5]["token_str"] = json!("<s>")),
                "Vocabulary",
            ),
            (
                "control token named as a filler",
                with(|f| f["special_tokens"][5]["token_str"] = json!("<SPECIAL_40>")),
                "Vocabulary",
            ),
            (
                "control ranks out of order",
                with(|f| f["special_tokens"][5]["rank"] = json!(2)),
                "Vocabulary",
            ),
            (
                "pattern that does not compile",
                with(|f| f["config"]["pattern"] = json!("(")),
                "Pattern",
            ),
            (
                "catastrophic pattern",
                with(|f| f["config"]["pattern"] = json!("(?=(a+)+$)(a+)+b")),
                "Pattern",
            ),
            (
                "counted bomb",
                with(|f| f["config"]["pattern"] = json!("((\\w{1000}){1000}){1000}")),
                "Pattern",
            ),
            (
                "long pattern",
                with(|f| f["config"]["pattern"] = json!("a".repeat(5000))),
                "TooLarge",
            ),
            (
                "effort that is not allowed by default",
                changed(&v15, |f| {
                    f["model_settings_builder"]["reasoning_effort"]["default"] = json!("max");
                }),
                "Field",
            ),
        ],
    );
}

#[test]
fn tekken_ranks() {
    let parts = |vocab_size| TekkenParts {
        pattern: TEKKEN_PATTERN.to_owned(),
        version: TokenizerVersion::V3,
        vocab_size,
        num_control_tokens: 10,
        control_tokens: vec!["<unk>".into(), "<s>".into(), "</s>".into()],
        model_settings: None,
    };
    let bytes: Vec<u8> = (0..=255u8).flat_map(|byte| [1, byte]).collect();
    let cases = [
        ("whole", 266, bytes.clone(), "accepted"),
        ("cut", 266, bytes[..511].to_vec(), "Vocabulary"),
        ("too few", 300, bytes.clone(), "Field"),
        ("no bytes at all", 266, vec![], "Field"),
        (
            "empty token",
            267,
            [&bytes[..], &[0]].concat(),
            "Vocabulary",
        ),
        ("twice", 267, [&bytes[..], &[1, 65]].concat(), "Vocabulary"),
        ("giant", usize::MAX, bytes.clone(), "TooLarge"),
    ];
    for (attack, size, ranks, expected) in cases {
        let found = Tokenizer::from_tekken_parts(parts(size), &ranks);
        assert_eq!(
            found.as_ref().map_or_else(name, |_| "accepted"),
            expected,
            "{attack}"
        );
    }
}

#[test]
fn hugging_face_files() {
    let good = tokenizer_json();
    let with = |change: fn(&mut Value)| changed(&good, change);
    let id_twice = |f: &mut Value| {
        let vocab = f["model"]["vocab"].as_object_mut().expect("a map");
        let id = vocab.values().next().expect("an entry").clone();
        vocab.insert("new".to_owned(), id);
    };
    let giant_id = |f: &mut Value| f["model"]["vocab"]["new"] = json!(u32::MAX);
    check(
        "tokenizer.json",
        vec![
            ("cut", good.as_bytes()[..good.len() / 2].to_vec(), "Json"),
            ("no model", with(|f| f["model"] = json!({})), "Json"),
            (
                "unigram",
                with(|f| f["model"]["type"] = json!("Unigram")),
                "Unsupported",
            ),
            ("id twice", with(id_twice), "Json"),
            ("giant id", with(giant_id), "Json"),
            (
                "merge of unknown tokens",
                with(|f| f["model"]["merges"][0] = json!(["nowhere", "never"])),
                "Library",
            ),
            (
                "merge of one",
                with(|f| f["model"]["merges"][0] = json!(["a"])),
                "Library",
            ),
            (
                "dropout",
                with(|f| f["model"]["dropout"] = json!(0.5)),
                "Unsupported",
            ),
            (
                "prefix of parts",
                with(|f| f["model"]["continuing_subword_prefix"] = json!("\u{e9}\u{e9}")),
                "Unsupported",
            ),
            (
                "table of replacements",
                with(|f| {
                    f["normalizer"] =
                        json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"});
                }),
                "Unsupported",
            ),
            (
                "catastrophic pattern",
                with(|f| {
                    let pattern = json!({"Regex": "(?=(a+)+$)(a+)+b"});
                    f["pre_tokenizer"]["pretokenizers"][0]["pattern"] = pattern;
                }),
                "Pattern",
            ),
            (
                "catastrophic replacement",
                with(|f| {
                    let pattern = json!({"Regex": "(a*)*\\1"});
                    f["normalizer"] = json!({"type": "Replace", "pattern": pattern, "content": ""});
                }),
                "Pattern",
            ),
            (
                "replacements that double a text 40 times",
                with(|f| {
                    let double =
                        json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
                    let all = vec![double; 40];
                    f["normalizer"] = json!({"type": "Sequence", "normalizers": all});
                }),
                "TooLarge",
            ),
            (
                "a replacement between all characters",
                with(|f| {
                    f["normalizer"] = json!({"type": "Replace", "pattern": {"String": ""},
                        "content": "a".repeat(1 << 20)});
                }),
                "TooLarge",
            ),
            (
                "characters for bytes, 60 times",
                with(|f| {
                    let byte_level = f["decoder"].clone();
                    let all = vec![byte_level; 60];
                    f["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": all});
                }),
                "TooLarge",
            ),
            (
                "a decoder that doubles a token 40 times",
                with(|f| {
                    let double =
                        json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
                    f["decoder"] = json!({"type": "Sequence", "decoders": vec![double; 40]});
                }),
                "TooLarge",
            ),
            (
                "unknown component",
                with(|f| f["pre_tokenizer"] = json!({"type": "Exec"})),
                "Unsupported",
            ),
            (
                "decoder that strips the end",
                with(|f| {
                    let strip = json!({"type": "Strip", "content": " ", "start": 0, "stop": 9});
                    f["decoder"] = json!({"type": "Sequence", "decoders": [strip]});
                }),
                "Unsupported",
            ),
            (
                "no decoder",
                with(|f| f["decoder"] = Value::Null),
                "Unsupported",
            ),
            (
                "added token of another id",
                with(|f| f["added_tokens"][3]["id"] = json!(40)),
                "Vocabulary",
            ),
            (
                "added token of a giant id",
                with(|f| f["added_tokens"][3]["id"] = json!(u32::MAX)),
                "Vocabulary",
            ),
            (
                "deep components",
                {
                    let deep = "{\"a\":".repeat(1000) + "1" + &"}".repeat(1000);
                    good.replacen("\"normalizer\":null", &format!("\"normalizer\":{deep}"), 1)
                        .into_bytes()
                },
                "Json",
            ),
        ],
    );
}

#[test]
fn files_on_disk() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(
        path("tokenizer_config.json"),
        "{\"bos_token\": \"<nowhere>\"}",
    )
    .expect("writable");
    let large = std::fs::File::create(path("large.json")).expect("writable");
    large
        .set_len(MAX_FILE_BYTES + 1)
        .expect("a file with a hole");
    let cases = [
        ("missing", path("missing.json"), "Read"),
        (
            "folder without tokenizer",
            folder.path().to_path_buf(),
            "NotFound",
        ),
        ("too large", path("large.json"), "TooLarge"),
    ];
    for (attack, path, expected) in cases {
        let found = Tokenizer::from_file(path);
        assert_eq!(
            found.as_ref().map_or_else(name, |_| "accepted"),
            expected,
            "{attack}"
        );
    }
    std::fs::write(path("tokenizer.json"), tokenizer_json()).expect("writable");
    let found = Tokenizer::from_file(folder.path());
    assert!(
        matches!(found, Err(TokenizerError::NoControlToken { .. })),
        "{found:?}"
    );
}

#[test]
fn ids_outside_the_vocabulary() {
    let files = [
        ("tekken.json", tekken(TokenizerVersion::V3).into_bytes()),
        ("tokenizer.model.v7", sentencepiece()),
        ("tokenizer.json", tokenizer_json().into_bytes()),
    ];
    for (file, data) in files {
        let tokenizer = Tokenizer::from_bytes(file, &data).expect("our own file");
        let size = tokenizer.vocab_size() as u32;
        assert!(tokenizer.decode(&[size - 1]).is_ok(), "{file}");
        for id in [size, size + 1, i32::MAX as u32, u32::MAX] {
            let found = tokenizer.decode(&[id]);
            assert_eq!(
                found.as_ref().map_or_else(name, |_| "accepted"),
                "UnknownId",
                "{file} {id}"
            );
            assert_eq!(tokenizer.id_to_piece(id), None, "{file} {id}");
            assert!(!tokenizer.is_control(id), "{file} {id}");
        }
    }
}

/// A vocabulary that leaves ids out has rows for the highest one.
#[test]
fn the_highest_id_counts() {
    let file = changed(&tokenizer_json(), |f| {
        let vocab = f["model"]["vocab"].as_object_mut().expect("a vocabulary");
        let last = vocab.values_mut().max_by_key(|id| id.as_u64());
        *last.expect("it isn't empty") = json!(90_000);
    });
    let tokenizer = Tokenizer::from_bytes("tokenizer.json", &file).expect("a valid file");
    assert_eq!(tokenizer.vocab_size(), 90_001);
    assert!(tokenizer.decode(&[90_000]).is_ok());
    assert!(tokenizer.decode(&[89_999]).is_err());
}

/// Long runs of one character, of spaces, of one line: quadratic time would be minutes for each.
#[test]
fn long_texts_take_linear_time() {
    let files = [
        ("tekken.json", tekken(TokenizerVersion::V3).into_bytes()),
        ("tokenizer.model.v7", sentencepiece()),
        ("tokenizer.json", tokenizer_json().into_bytes()),
    ];
    let texts = [
        "a", " ", "\n", "te", "\u{e9}", "\u{6587}", "\u{301}", "A", "1", "[REF]", "[RE", "\u{2581}",
    ];
    for (file, data) in files {
        let tokenizer = Tokenizer::from_bytes(file, &data).expect("our own file");
        for text in texts {
            let text = text.repeat((1 << 18) / text.len());
            let started = Instant::now();
            let ids = tokenizer.encode(&text).expect("no limit is near");
            let decoded = tokenizer.decode(&ids).expect("own ids");
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "{file} {:?}",
                &text[..4]
            );
            if !text.contains('\u{2581}') {
                assert!(decoded == text, "{file} {:?}", &text[..4]);
            }
        }
    }
}

/// A pattern that passes the checks and still backtracks a lot gives up instead of hanging.
#[test]
fn foreign_patterns_give_up() {
    let pattern = r"x*x*x*x*x*(?!x)y|[^x]";
    let file = changed(&tekken(TokenizerVersion::V3), |f| {
        f["config"]["pattern"] = json!(pattern)
    });
    let tokenizer = Tokenizer::from_bytes("tekken.json", &file).expect("the pattern compiles");
    let started = Instant::now();
    let found = tokenizer.encode(&"x".repeat(10_000));
    assert!(
        matches!(found, Err(TokenizerError::PatternSteps { .. })),
        "{found:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(30));
}
