//! What generated programs are held to: the tokens that `mistral-infer` finds likeliest.

use std::path::Path;

use mistral_infer::{GenerateOptions, LoadOptions, Model, Sampling, SessionLimits};
use serde_json::{Value, json};

const PROMPTS: &[&str] = &["JULIET:", "The king"];
const TOKENS: usize = 40;

/// The file that the tests and the verifier of `mistral-codegen` compare with is what this model
/// says today. `UPDATE_GOLDEN=1` writes it.
#[test]
fn the_known_continuations_are_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let golden = root.join("mistral-codegen/tests/data/tiny-mixtral-greedy.json");
    let model = Model::load(root.join("assets/tiny-mixtral"), &LoadOptions::default());
    let model = model.expect("the model loads");
    let tokenizer = model.need_tokenizer().expect("it has a tokenizer");
    let mut found = Vec::new();
    for prompt in PROMPTS {
        let ids = tokenizer
            .encode_with(prompt, tokenizer.affixes())
            .expect("encodes");
        let options = GenerateOptions {
            max_tokens: TOKENS,
            sampling: Sampling {
                temperature: 0.0,
                ..Sampling::default()
            },
            ..GenerateOptions::default()
        };
        let mut session = model.session(SessionLimits::default()).expect("a session");
        let pieces = session.generate(&ids, &options).expect("generates");
        let (mut token_ids, mut text) = (Vec::new(), String::new());
        for piece in pieces {
            let piece = piece.expect("a token");
            token_ids.push(piece.token);
            text.push_str(&piece.text);
        }
        found.push(json!({"prompt": prompt, "token_ids": token_ids, "text": text}));
    }
    let found = Value::Array(found);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&found).expect("JSON");
        std::fs::write(&golden, text + "\n").expect("written");
    }
    let text = std::fs::read_to_string(&golden).expect("the file of known continuations");
    let known: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(known, found);
}
