//! Ids and texts against vectors of `mistral-common`, where its files are at hand.

use std::path::PathBuf;

use mistral_infer::tokenizer::Tokenizer;
use serde_json::Value;

/// The folder of reference data beside the workspace, if it is there.
fn fixtures() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/fixtures"
    ));
    folder.is_dir().then_some(folder)
}

fn rows(path: PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the vectors are readable");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a row is JSON"))
        .collect()
}

fn ids(row: &Value) -> Vec<u32> {
    serde_json::from_value(row["ids"].clone()).expect("ids are numbers")
}

/// Checks all text rows; returns those that differ.
fn check(vectors: &str, file: &str) -> Option<Vec<String>> {
    let root = fixtures()?;
    let tokenizer = Tokenizer::from_file(root.join("tokenizer_files").join(file))
        .unwrap_or_else(|e| panic!("{file}: {e}"));
    let mut wrong = Vec::new();
    for row in rows(root.join("tokenizers").join(vectors)) {
        let text = row["text"].as_str().expect("a row has a text");
        let expected = ids(&row);
        let found = tokenizer
            .encode(text)
            .unwrap_or_else(|e| panic!("{text:?}: {e}"));
        let decoded = tokenizer
            .decode(&expected)
            .expect("the ids are in the vocabulary");
        let mut stream = tokenizer.decode_stream();
        let mut streamed = String::new();
        for &id in &expected {
            streamed.push_str(stream.push(id).expect("the ids are in the vocabulary"));
        }
        streamed.push_str(&stream.finish());
        if found != expected || row["decoded"] != decoded.as_str() || streamed != decoded {
            wrong.push(text.to_owned());
        }
    }
    Some(wrong)
}

#[test]
fn native_files_give_every_text_vector() {
    let files = [
        ("v1", "v1/tokenizer.model.v1"),
        ("v2", "v2/mistral_instruct_tokenizer_240216.model.v2"),
        ("v3", "v3/mistral_instruct_tokenizer_240323.model.v3"),
        ("v7", "v7/mistral_instruct_tokenizer_241114.model.v7"),
        ("tekken_mini_v3", "tekken_mini_v3/tekken.json"),
        ("tekken_mini_v3", "tekken_mini_v7/tekken.json"),
        ("tekken_mini_v3", "tekken_mini_v11/tekken.json"),
        ("tekken_mini_v3", "tekken_mini_v13/tekken.json"),
        ("tekken_mini_v3", "tekken_mini_v15/tekken.json"),
    ];
    for (vectors, file) in files {
        let wrong = check(&format!("{vectors}.text.jsonl"), file).unwrap_or_default();
        assert!(
            wrong.is_empty(),
            "{file}: {} rows differ: {wrong:?}",
            wrong.len()
        );
    }
}

/// The conversions miss a few strings: `tokenizer_json_check.json` beside the files counts them.
#[test]
fn converted_files_give_the_text_vectors_that_the_conversion_keeps() {
    let Some(root) = fixtures() else { return };
    let report = std::fs::read(root.join("tokenizer_files/tokenizer_json_check.json"));
    let report: Value =
        serde_json::from_slice(&report.expect("the report is readable")).expect("it is JSON");
    for name in [
        "v1",
        "v2",
        "v3",
        "v7",
        "tekken_mini_v3",
        "tekken_mini_v11",
        "tekken_mini_v13",
    ] {
        let (vectors, entry) = match name.strip_prefix("tekken") {
            Some(_) => ("tekken_mini_v3", name.to_owned()),
            None => (name, format!("{name}.prepend")),
        };
        let kept_out = &report[&entry]["mismatch_no_special_parsing"];
        let allowed = kept_out.as_array().expect("the report has a list").len();
        let wrong = check(
            &format!("{vectors}.text.jsonl"),
            &format!("{name}/tokenizer.json"),
        );
        let wrong = wrong.unwrap_or_default();
        assert!(
            wrong.len() <= allowed,
            "{name}: {} rows differ: {wrong:?}",
            wrong.len()
        );
    }
}
