//! Tokenizers in GGUF metadata give the ids that the same vocabulary's own file gives.

mod gguf_files;
mod tokenizer_files;
#[path = "gguf_files/vocabulary.rs"]
mod vocabulary;

use std::path::{Path, PathBuf};

use mistral_infer::chat::{ChatRequest, Json};
use mistral_infer::tokenizer::{Tokenizer, TokenizerKind, TokenizerVersion};
use serde_json::Value;
use tokenizer_files::UNUSED;
use vocabulary::{Vocabulary, open};

const TEXTS: [&str; 12] = [
    "",
    " ",
    "The small model reads the text.",
    "  two  spaces  and\n\n\tlines ",
    "Été, Noël, œuvre",
    "文字と文章と単語 \u{1f600}",
    "[INST] plain text </s>[REF]x[REF]",
    "don't 12345 x==10",
    "\u{2581}under",
    "a\u{0}b",
    "<0x41> <unk>",
    "{\"name\": \"get_weather\"}",
];

#[track_caller]
fn same(found: &Tokenizer, expected: &Tokenizer, texts: &[&str], what: &str) {
    assert_eq!(found.vocab_size(), expected.vocab_size(), "{what}");
    assert_eq!(found.bos_id(), expected.bos_id(), "{what}");
    assert_eq!(found.eos_id(), expected.eos_id(), "{what}");
    assert_eq!(found.kind(), expected.kind(), "{what}");
    for text in texts {
        let ids = expected.encode(text).expect("a text");
        assert_eq!(found.encode(text).expect("a text"), ids, "{what}: {text:?}");
        let decoded = expected.decode(&ids).expect("ids");
        assert_eq!(
            found.decode(&ids).expect("ids"),
            decoded,
            "{what}: {text:?}"
        );
    }
}

#[test]
fn small_vocabularies_give_their_own_files_ids() {
    let model = tokenizer_files::sentencepiece();
    let expected = Tokenizer::from_bytes("tokenizer.model.v7", &model).expect("a model");
    let found = open(&Vocabulary::of_sentencepiece(&model).write()).expect("a vocabulary");
    same(&found, &expected, &TEXTS, "SentencePiece");
    for version in [TokenizerVersion::V3, TokenizerVersion::V15] {
        let json = tokenizer_files::tekken(version);
        let expected = Tokenizer::from_bytes("tekken.json", json.as_bytes()).expect("a file");
        let found = open(&Vocabulary::of_tekken(&json).write()).expect("a vocabulary");
        same(&found, &expected, &TEXTS, version.name());
    }
}

#[test]
fn padding_of_the_vocabulary_is_no_token() {
    let mut vocabulary = Vocabulary::of_sentencepiece(&tokenizer_files::sentencepiece());
    let size = vocabulary.tokens.len();
    for i in 0..7 {
        let name = format!("[PAD{i}]");
        vocabulary.tokens.push((name, -1e4, UNUSED as i32));
    }
    assert_eq!(open(&vocabulary.write()).expect("valid").vocab_size(), size);
}

#[test]
fn prefixes_follow_the_metadata() {
    let vocabulary = Vocabulary::of_sentencepiece(&tokenizer_files::sentencepiece());
    let mut w = vocabulary.write();
    let usual = open(&w).expect("valid");
    assert_eq!((usual.affixes().bos, usual.affixes().eos), (true, false));
    w.bool("tokenizer.ggml.add_space_prefix", false)
        .bool("tokenizer.ggml.add_bos_token", false)
        .bool("tokenizer.ggml.add_eos_token", true);
    let bare = open(&w).expect("valid");
    assert_eq!((bare.affixes().bos, bare.affixes().eos), (false, true));
    let ids = |tokenizer: &Tokenizer, text| tokenizer.encode(text).expect("a text");
    assert_eq!(ids(&bare, " text"), ids(&usual, "text"));
    assert_ne!(ids(&bare, "text"), ids(&usual, "text"));
}

#[test]
fn templates_tell_the_version_and_stay_text() {
    let json = tokenizer_files::tekken(TokenizerVersion::V15);
    let mut w = Vocabulary::of_tekken(&json).write();
    assert_eq!(open(&w).expect("valid").version(), None);
    let endless = "{% for i in range(999999999) %}[INST]{{ i }}[/INST][SYSTEM_PROMPT]{% endfor %}";
    w.text("tokenizer.chat_template", endless);
    let found = open(&w).expect("a template is never run");
    assert_eq!(found.version(), Some(TokenizerVersion::V7));
    assert_eq!(found.chat_template(), Some(endless));
    w.text("tokenizer.chat_template", "{{ messages }}");
    let found = open(&w).expect("valid");
    assert_eq!(found.version(), None);
    let request: ChatRequest =
        serde_json::from_str(r#"{"messages": [{"role": "user", "content": "hi"}]}"#).unwrap();
    assert!(found.encode_chat(&request).is_err());
    let named = found.with_version(TokenizerVersion::V7);
    named.encode_chat(&request).expect("the version was named");
}

/// The folder of reference data beside the workspace, if it is there.
fn fixtures() -> Option<PathBuf> {
    let folder = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/fixtures"
    ));
    folder.is_dir().then(|| folder.to_owned())
}

/// Writes a fixture's tokenizer with its template, and opens it from there.
fn converted(root: &Path, file: &str, template: &str) -> Tokenizer {
    let files = root.join("tokenizer_files");
    let bytes = std::fs::read(files.join(file)).expect("readable");
    let vocabulary = match file.ends_with(".json") {
        true => Vocabulary::of_tekken(std::str::from_utf8(&bytes).expect("JSON")),
        false => Vocabulary::of_sentencepiece(&bytes),
    };
    let template = std::fs::read_to_string(files.join("chat_templates").join(template));
    let mut w = vocabulary.write();
    w.text("tokenizer.chat_template", &template.expect("readable"));
    open(&w).unwrap_or_else(|e| panic!("{file}: {e}"))
}

const FILES: [(&str, &str, &str); 9] = [
    ("v1", "v1/tokenizer.model.v1", "v1.jinja"),
    (
        "v2",
        "v2/mistral_instruct_tokenizer_240216.model.v2",
        "v2.jinja",
    ),
    (
        "v3",
        "v3/mistral_instruct_tokenizer_240323.model.v3",
        "v3.jinja",
    ),
    (
        "v7",
        "v7/mistral_instruct_tokenizer_241114.model.v7",
        "v7.jinja",
    ),
    (
        "tekken_mini_v3",
        "tekken_mini_v3/tekken.json",
        "tekken_v3.jinja",
    ),
    (
        "tekken_mini_v7",
        "tekken_mini_v7/tekken.json",
        "tekken_v7.jinja",
    ),
    (
        "tekken_mini_v11",
        "tekken_mini_v11/tekken.json",
        "tekken_v11.jinja",
    ),
    (
        "tekken_mini_v13",
        "tekken_mini_v13/tekken.json",
        "tekken_v13.jinja",
    ),
    (
        "tekken_mini_v15",
        "tekken_mini_v15/tekken.json",
        "tekken_v15.jinja",
    ),
];

fn rows(root: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root.join("tokenizers").join(name)).expect("readable");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a row is JSON"))
        .collect()
}

/// A chat; the request stays as it is written, since the order of its keys counts.
#[derive(serde::Deserialize)]
struct ChatRow {
    name: String,
    request: Option<Json>,
    #[serde(default)]
    ids: Vec<u32>,
}

#[test]
fn converted_files_give_every_text_and_chat_vector() {
    let Some(root) = fixtures() else { return };
    let mut wrong = Vec::new();
    for (name, file, template) in FILES {
        let found = converted(&root, file, template);
        let version = name.rsplit('_').next().map(str::parse);
        assert_eq!(found.version(), version.and_then(Result::ok), "{name}");
        let kind = found.kind();
        assert_ne!(kind, TokenizerKind::HuggingFace);
        let texts = match kind {
            TokenizerKind::Tekken => "tekken_mini_v3",
            _ => name,
        };
        for row in rows(&root, &format!("{texts}.text.jsonl")) {
            let expected: Vec<u32> = serde_json::from_value(row["ids"].clone()).expect("ids");
            let text = row["text"].as_str().expect("a text");
            if found.encode(text).expect("a text") != expected
                || row["decoded"] != found.decode(&expected).expect("ids").as_str()
            {
                wrong.push(format!("{name}: {text:?}"));
            }
        }
        let vectors = root.join(format!("tokenizers/{name}.chat.jsonl"));
        for line in std::fs::read_to_string(vectors).expect("readable").lines() {
            let row: ChatRow = serde_json::from_str(line).expect("a row is JSON");
            let Some(request) = row.request.filter(|_| !row.ids.is_empty()) else {
                continue;
            };
            let request = serde_json::from_str(&request.dumps()).expect("a request");
            if found.encode_chat(&request).ok() != Some(row.ids) {
                wrong.push(format!("{name}: chat {}", row.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows differ: {wrong:#?}", wrong.len());
}
