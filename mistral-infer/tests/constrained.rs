//! Answers of random models keep to their grammar, whichever tokenizer and format of calls they have.

#![cfg(feature = "constrain")]

mod support;

use mistral_core::model::ModelSpec;
use mistral_infer::constrain::{Callable, Calls, Grammar, Grammars};
use mistral_infer::tokenizer::TokenizerVersion;
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{
    Batch, Finish, GenerateOptions, InferError, Model, Sampling, SessionLimits, Tokenizer,
};
use serde_json::{Value, json};

/// A random model with as many tokens as `tokenizer` has.
fn model(tokenizer: Tokenizer) -> Model {
    let vocabulary = json!(tokenizer.vocab_size());
    let params = support::with(support::dense(), "vocab_size", vocabulary);
    let params: Value = serde_json::from_str(&params).expect("JSON");
    let params = support::with(params, "max_seq_len", json!(1024));
    let spec = ModelSpec::from_params(&params).expect("a valid description");
    let dir = tempfile::tempdir().expect("a folder for a moment");
    support::write_weights(dir.path(), &spec, 58);
    let weights = Checkpoint::open(dir.path(), WeightStorage::Copied).expect("what was written");
    Model::from_parts(spec, &weights, Some(tokenizer), 1).expect("weights that fit")
}

fn file(name: &str) -> Tokenizer {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tokenizer/");
    Tokenizer::from_file(format!("{folder}{name}")).expect("a valid tokenizer")
}

/// A model of each way of writing tokens and calls; the flag says that calls have ids of their own.
fn models() -> Vec<(&'static str, Model, bool)> {
    let old = |version| file("tokenizer.model.v7").with_version(version);
    [
        ("sentencepiece v2", old(TokenizerVersion::V2), false),
        ("sentencepiece v3", old(TokenizerVersion::V3), true),
        ("sentencepiece v7", file("tokenizer.model.v7"), true),
        ("tekken v11", file("tekken_v11.json"), true),
        ("tekken v15", file("tekken_v15.json"), false),
    ]
    .map(|(name, tokenizer, ids)| (name, model(tokenizer), ids))
    .into()
}

/// The tokens of an answer that ends by itself.
fn answer(name: &str, model: &Model, grammar: Grammar, seed: u64) -> Vec<u32> {
    let limits = SessionLimits {
        max_sequences: 1,
        ..SessionLimits::default()
    };
    let mut session = model.session(limits).expect("a session");
    let mut batch = Batch::new(&mut session);
    let options = GenerateOptions {
        max_tokens: 900,
        sampling: Sampling {
            temperature: 1.0,
            ..Sampling::default()
        },
        seed,
        ..GenerateOptions::default()
    };
    let constraint = Some(Box::new(grammar) as _);
    (batch.admit_constrained(&[20], &options, constraint)).expect("admitted");
    let mut tokens = Vec::new();
    let mut finish = None;
    while !batch.is_empty() {
        for piece in batch.step().unwrap_or_else(|e| panic!("{name}: {e:?}")) {
            tokens.push(piece.token);
            finish = piece.finish;
        }
    }
    assert_eq!(finish, Some(Finish::EndOfSequence), "{name}, seed {seed}");
    tokens
}

fn day() -> Value {
    json!({"type": "object", "properties": {"day": {"enum": ["Monday", "Été", "日"]}},
        "required": ["day"], "additionalProperties": false})
}

fn is_day(value: &Value) -> bool {
    ["Monday", "Été", "日"]
        .iter()
        .any(|day| value["day"] == *day)
}

#[test]
fn json_keeps_to_its_schema() {
    for (name, model, _) in models() {
        let grammars = Grammars::new(&model).expect("grammars");
        for seed in 0..4 {
            let grammar = grammars.json(&day()).expect("a grammar");
            let tokens = answer(name, &model, grammar, seed);
            let text = model.need_tokenizer().unwrap().decode(&tokens).unwrap();
            let value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {text}: {e}"));
            assert!(is_day(&value), "{name}: {text}");
        }
    }
}

/// What was called is read by the parser of replies.
#[test]
fn calls_are_in_the_format_of_their_version() {
    let none = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let parameters = day();
    let tools = [
        Callable {
            name: "opening_hours",
            parameters: &parameters,
        },
        Callable {
            name: "now",
            parameters: &none,
        },
    ];
    for (name, model, ids) in models() {
        let grammars = Grammars::new(&model).expect("grammars");
        let tokenizer = model.need_tokenizer().unwrap();
        let mut called = Vec::new();
        for seed in 0..8 {
            let calls = [Calls::One, Calls::Some][seed as usize % 2];
            let grammar = grammars.calls(&tools, calls).expect("a grammar");
            let tokens = answer(name, &model, grammar, seed);
            let read = |id_seed| tokenizer.parse_reply(&tokens, id_seed).expect("a reply");
            let reply = read(1);
            assert_eq!(
                (reply.text.trim(), reply.thinking.as_str()),
                ("", ""),
                "{name}"
            );
            let count = reply.tool_calls.len();
            let most = if calls == Calls::One { 1 } else { 16 };
            assert!((1..=most).contains(&count), "{name}: {reply:?}");
            // Only ids that the parser made up depend on its seed.
            assert_eq!(reply == read(2), ids, "{name}: {reply:?}");
            for call in reply.tool_calls {
                let arguments: Value =
                    serde_json::from_str(&call.function.arguments).expect("JSON");
                let fits = match call.function.name.as_str() {
                    "now" => arguments == json!({}),
                    other => other == "opening_hours" && is_day(&arguments),
                };
                assert!(fits, "{name}: {} {arguments}", call.function.name);
                called.push(call.function.name);
            }
        }
        called.sort_unstable();
        called.dedup();
        assert_eq!(called, ["now", "opening_hours"], "{name}");
    }
}

#[test]
fn what_can_not_be_kept_is_refused() {
    let model = model(file("tekken_v11.json"));
    let grammars = Grammars::new(&model).expect("grammars");
    for schema in [
        json!(true),
        json!({"type": "array", "uniqueItems": true}),
        json!({"type": "string", "pattern": "("}),
        json!({"type": "object", "required": ["a"], "properties": {"a": false}}),
    ] {
        let refused = grammars.json(&schema).err();
        assert!(
            matches!(refused, Some(InferError::Grammar(_))),
            "{schema}: {refused:?}"
        );
    }
    let fine = day();
    let number = json!({"type": "number"});
    for (name, parameters) in [("", &fine), ("a b", &fine), ("\"", &fine), ("f", &number)] {
        let refused = grammars
            .calls(&[Callable { name, parameters }], Calls::One)
            .err();
        assert!(
            matches!(refused, Some(InferError::Grammar(_))),
            "{name}: {refused:?}"
        );
    }
    assert!(grammars.calls(&[], Calls::Some).is_err());
    let old = file("tokenizer.model.v7").with_version(TokenizerVersion::V1);
    let old = self::model(old);
    let tool = Callable {
        name: "f",
        parameters: &fine,
    };
    let refused = Grammars::new(&old)
        .expect("grammars")
        .calls(&[tool], Calls::One);
    assert!(refused.is_err(), "version 1 has no calls");
}
