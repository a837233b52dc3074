//! Chats against vectors of `mistral-common`, where its files are at hand.

use std::path::PathBuf;

use mistral_infer::chat::{ChatError, FimRequest, Json};
use mistral_infer::tokenizer::{ControlTokens, Tokenizer};
use serde::Deserialize;

/// The folder of reference data beside the workspace, if it is there.
fn fixtures() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/fixtures"
    ));
    folder.is_dir().then_some(folder)
}

/// A row; the request stays as it is written, since the order of its keys counts.
#[derive(Deserialize)]
struct Row {
    name: String,
    request: Option<Json>,
    fim: Option<FimRequest>,
    #[serde(default)]
    ids: Vec<u32>,
    text: Option<String>,
    error: Option<String>,
}

fn encode(tokenizer: &Tokenizer, row: &Row) -> Result<Vec<u32>, ChatError> {
    match (&row.request, &row.fim) {
        (Some(request), _) => tokenizer.encode_chat(&serde_json::from_str(&request.dumps())?),
        (None, Some(fim)) => tokenizer.encode_fim_request(fim),
        (None, None) => panic!(
            "{} is neither a chat nor a fill-in-the-middle row",
            row.name
        ),
    }
}

/// What is wrong with a row, if anything.
fn check(tokenizer: &Tokenizer, row: &Row) -> Option<String> {
    match (encode(tokenizer, row), row.error.as_deref()) {
        (Err(error), Some(class)) if error.class() == class => None,
        (Err(error), expected) => Some(format!(
            "{} ({error}), expected {expected:?}",
            error.class()
        )),
        (Ok(_), Some(class)) => Some(format!("accepted, expected {class}")),
        (Ok(ids), None) => {
            let text = tokenizer
                .decode_with(&ids, ControlTokens::Keep)
                .expect("own ids");
            if ids == row.ids && row.text.as_ref() == Some(&text) {
                return None;
            }
            Some(format!("\n  found    {text:?}\n  expected {:?}", row.text))
        }
    }
}

#[test]
fn native_files_give_every_chat_vector() {
    let Some(root) = fixtures() else { return };
    let files = [
        ("v1", "v1/tokenizer.model.v1"),
        ("v2", "v2/mistral_instruct_tokenizer_240216.model.v2"),
        ("v3", "v3/mistral_instruct_tokenizer_240323.model.v3"),
        ("v7", "v7/mistral_instruct_tokenizer_241114.model.v7"),
        ("tekken_mini_v3", "tekken_mini_v3/tekken.json"),
        ("tekken_mini_v7", "tekken_mini_v7/tekken.json"),
        ("tekken_mini_v11", "tekken_mini_v11/tekken.json"),
        ("tekken_mini_v13", "tekken_mini_v13/tekken.json"),
        ("tekken_mini_v15", "tekken_mini_v15/tekken.json"),
    ];
    let mut wrong = Vec::new();
    for (name, file) in files {
        let tokenizer = Tokenizer::from_file(root.join("tokenizer_files").join(file))
            .unwrap_or_else(|e| panic!("{file}: {e}"));
        let vectors = root.join(format!("tokenizers/{name}.chat.jsonl"));
        for line in std::fs::read_to_string(vectors)
            .expect("the vectors are readable")
            .lines()
        {
            let row: Row = serde_json::from_str(line).expect("a row is JSON");
            if let Some(what) = check(&tokenizer, &row) {
                wrong.push(format!("{name} {}: {what}", row.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} rows differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
