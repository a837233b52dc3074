//! The small tokenizer files in `testdata/`, and what the reference implementations give for them.
//!
//! `UPDATE_GOLDEN=1` writes the tokenizer files anew. The rows beside them come from
//! `mistral-common` 1.13 reading these very files, so they change only with them.

mod tokenizer_files;

use std::path::PathBuf;

use mistral_infer::chat::{ChatRequest, FimRequest, Json};
use mistral_infer::tokenizer::{Tokenizer, TokenizerVersion};
use serde::Deserialize;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tokenizer"))
}

#[test]
fn the_files_are_what_the_generator_writes() {
    let files = [
        (
            "tekken_v11.json",
            tokenizer_files::tekken(TokenizerVersion::V11).into_bytes(),
        ),
        (
            "tekken_v15.json",
            tokenizer_files::tekken(TokenizerVersion::V15).into_bytes(),
        ),
        ("tokenizer.model.v7", tokenizer_files::sentencepiece()),
        (
            "tokenizer.json",
            tokenizer_files::tokenizer_json().into_bytes(),
        ),
    ];
    for (name, content) in files {
        let path = folder().join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &content).expect("testdata is writable");
        }
        let found = std::fs::read(&path).expect("the file is there");
        // The order of keys in JSON depends on features of serde_json.
        let same = match serde_json::from_slice::<Value>(&found) {
            Ok(value) => Some(value) == serde_json::from_slice(&content).ok(),
            Err(_) => found == content,
        };
        assert!(same, "{name} is not what the generator writes");
    }
}

/// A row: a text with ids and what they decode to, or a request with ids or the error's class.
#[derive(Deserialize)]
struct Row {
    file: String,
    text: Option<String>,
    request: Option<Json>,
    fim: Option<FimRequest>,
    #[serde(default)]
    ids: Vec<u32>,
    decoded: Option<String>,
    error: Option<String>,
}

impl Row {
    fn check(&self, tokenizer: &Tokenizer) -> Result<(), String> {
        let ids = match (&self.text, &self.request, &self.fim) {
            (Some(text), _, _) => tokenizer.encode(text).map_err(Into::into),
            (None, Some(request), _) => {
                let request: ChatRequest =
                    serde_json::from_str(&request.dumps()).map_err(|e| e.to_string())?;
                tokenizer.encode_chat(&request)
            }
            (None, None, Some(fim)) => tokenizer.encode_fim_request(fim),
            (None, None, None) => return Err("no text and no request".to_owned()),
        };
        match (ids, &self.error) {
            (Err(error), Some(class)) if error.class() == class => Ok(()),
            (Ok(ids), None) if ids != self.ids => Err(format!("{ids:?}, expected {:?}", self.ids)),
            (Ok(ids), None) => {
                let decoded = tokenizer.decode(&ids).map_err(|e| e.to_string())?;
                match &self.decoded {
                    Some(expected) if decoded != *expected => {
                        Err(format!("decoded {decoded:?}, expected {expected:?}"))
                    }
                    _ => Ok(()),
                }
            }
            (found, expected) => Err(format!("{found:?}, expected {expected:?}")),
        }
    }
}

#[test]
fn the_rows_hold() {
    let rows = std::fs::read_to_string(folder().join("rows.jsonl")).expect("the rows are there");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for line in rows.lines() {
        let row: Row = serde_json::from_str(line).expect("a row is JSON");
        let tokenizer = Tokenizer::from_file(folder().join(&row.file)).expect("our own file");
        seen += 1;
        if let Err(what) = row.check(&tokenizer) {
            wrong.push(format!("{}: {what}\n  {line}", row.file));
        }
    }
    assert!(seen > 50, "only {seen} rows");
    assert!(
        wrong.is_empty(),
        "{} rows differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
