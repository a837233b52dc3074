//! What is done with hostile bytes: a value or a named error comes back, in bounded time and memory. Each
//! function tells whether the bytes were accepted.

use mistral_core::model::ModelSpec;
use mistral_infer::chat::ChatRequest;
use mistral_infer::gguf::{Gguf, Value};
use mistral_infer::prefix::PrefixError;
use mistral_infer::tokenizer::TokenizerVersion;
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{GenerateOptions, Model, Prefix, SessionLimits, Tokenizer};
use mistral_recommend::{Context, answer, understand, understand_json};
use std::sync::OnceLock;

/// A tokenizer of the 256 bytes and the control tokens of version 7.
const BYTES_TOKENIZER: &[u8] = include_bytes!("../seeds/tokenizer/bytes.tekken.json");

/// The model that checkpoints are held against.
const TINY_CONFIG: &str = include_str!("../seeds/model_spec/tiny.json");
const TINY_WEIGHTS: &[u8] = include_bytes!("../seeds/checkpoint/tiny.safetensors");

/// Descriptions of models: `config.json` and `params.json`.
pub fn model_spec(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let mut accepted = false;
    for spec in [
        ModelSpec::from_hf_config(text),
        ModelSpec::from_params(text),
    ]
    .into_iter()
    .flatten()
    {
        accepted = true;
        // Accepted once, it is valid, and what is derived from it does not overflow.
        assert!(spec.validate().is_ok());
        let _ = (spec.n_kv_heads(), spec.head_dim(), spec.v_head_dim());
    }
    accepted
}

/// Weight files: the bytes as one safetensors file.
pub fn checkpoint(data: &[u8]) -> bool {
    let name = format!(
        "checkpoint-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, data).expect("the temporary folder can be written");
    let mut accepted = false;
    for storage in [WeightStorage::Mapped, WeightStorage::Copied] {
        if let Ok(checkpoint) = Checkpoint::open_files(std::slice::from_ref(&path), storage) {
            let spec = ModelSpec::from_hf_config(TINY_CONFIG).expect("the seed is valid");
            accepted |= checkpoint.check(&spec).is_ok();
            let _ = checkpoint
                .tensor("norm.weight", &[4])
                .map(|tensor| tensor.to_f32());
        }
    }
    std::fs::remove_file(&path).expect("the file was written above");
    accepted
}

/// GGUF files: container, description, weights, tokenizer, and a few tokens of a model that has it all.
pub fn gguf(data: &[u8]) -> bool {
    let Ok(file) = Gguf::from_bytes(data.to_vec()) else {
        return false;
    };
    for key in file.keys() {
        let list = file.value(key).and_then(Value::array);
        let texts = list.and_then(|list| list.texts());
        assert!(texts.is_none_or(|mut texts| texts.all(|text| text.is_ok())));
    }
    for tensor in file.tensors() {
        assert!(file.tensor(&tensor.name).is_some());
    }
    let tokenizer = Tokenizer::from_gguf(&file);
    if let Ok(Some(tokenizer)) = &tokenizer {
        let _ = tokenizer
            .encode("Où? [INST] \u{1f600}\n  a")
            .map(|ids| tokenizer.decode(&ids));
    }
    let has_tokenizer = matches!(tokenizer, Ok(Some(_)));
    let Ok(spec) = file.spec() else {
        // A vocabulary alone is a file of its own kind.
        return has_tokenizer && file.tensors().next().is_none();
    };
    let Ok(checkpoint) = Checkpoint::from_gguf(&file) else {
        return false;
    };
    let vocab_size = spec.vocab_size;
    let Ok(model) = Model::from_parts(spec, &checkpoint, tokenizer.ok().flatten(), 1) else {
        return false;
    };
    let limits = SessionLimits {
        max_seq_len: Some(4),
        max_batch_tokens: 2,
        ..SessionLimits::default()
    };
    if let Ok(mut session) = model.session(limits) {
        let options = GenerateOptions {
            max_tokens: 2,
            ..GenerateOptions::default()
        };
        // Weights may be NaN: then this ends in an error.
        if let Ok(pieces) = session.generate(&[(vocab_size - 1) as u32, 0], &options) {
            pieces.for_each(drop);
        }
    }
    true
}

/// Files of cached tokens, and a few tokens behind them. Fingerprint and hash are made to fit, since
/// hardly a mutation would come past them.
pub fn prefix(data: &[u8]) -> bool {
    static MODEL: OnceLock<Model> = OnceLock::new();
    let model = MODEL.get_or_init(tiny_model);
    let mut bytes = data.to_vec();
    let prefix = loop {
        match Prefix::from_bytes(&bytes, model) {
            Ok(prefix) => break prefix,
            Err(PrefixError::OtherModel { expected, .. }) => {
                let fitting = expected.0.map(u64::to_le_bytes);
                bytes[16..32].copy_from_slice(fitting.as_flattened());
            }
            Err(PrefixError::Corrupt { found, .. }) => {
                let end = bytes.len() - size_of::<u64>();
                bytes[end..].copy_from_slice(&found.to_le_bytes());
            }
            Err(_) => return false,
        }
    };
    assert_eq!(prefix.to_bytes(), bytes);
    let limits = SessionLimits {
        cache: Some(prefix.cache()),
        ..SessionLimits::default()
    };
    let mut session = model.session(limits).expect("small buffers");
    let prompt = [prefix.tokens(), &[1]].concat();
    let usable = prefix.usable(&prompt);
    session
        .restore(0, &prefix, usable)
        .expect("the model's own prefix");
    let options = GenerateOptions {
        max_tokens: 2,
        ..GenerateOptions::default()
    };
    // The context may be full, and rows may be NaN: then this ends in an error.
    if let Ok(pieces) = session.generate(&prompt, &options) {
        pieces.for_each(drop);
    }
    true
}

fn tiny_model() -> Model {
    let path = std::env::temp_dir().join(format!("prefix-{}", std::process::id()));
    std::fs::write(&path, TINY_WEIGHTS).expect("the temporary folder can be written");
    let files = std::slice::from_ref(&path);
    let checkpoint = Checkpoint::open_files(files, WeightStorage::Copied).expect("a sound seed");
    std::fs::remove_file(&path).expect("the file was written above");
    let spec = ModelSpec::from_hf_config(TINY_CONFIG).expect("the seed is valid");
    Model::from_parts(spec, &checkpoint, None, 1).expect("the seeds fit")
}

/// Tokenizer files of all three kinds.
pub fn tokenizer(data: &[u8]) -> bool {
    let mut accepted = false;
    for name in ["tokenizer.model", "tokenizer.model.v3"] {
        let Ok(tokenizer) = Tokenizer::from_bytes(name, data) else {
            continue;
        };
        accepted = true;
        let _ = tokenizer
            .encode("Où? [INST] \u{1f600}\n  a")
            .map(|ids| tokenizer.decode(&ids));
        let ids: Vec<u32> = (0..tokenizer.vocab_size().min(64) as u32).collect();
        let _ = tokenizer.decode(&ids);
    }
    accepted
}

/// Chat requests in JSON, encoded by every version.
pub fn chat(data: &[u8]) -> bool {
    static TOKENIZERS: OnceLock<Vec<Tokenizer>> = OnceLock::new();
    let tokenizers = TOKENIZERS.get_or_init(|| {
        let of_version = |version| {
            Tokenizer::from_bytes("tekken.json", BYTES_TOKENIZER)
                .expect("the seed is valid")
                .with_version(version)
        };
        TokenizerVersion::ALL.map(of_version).into()
    });
    let Ok(request) = serde_json::from_slice::<ChatRequest>(data) else {
        return false;
    };
    let mut accepted = false;
    for tokenizer in tokenizers {
        if let Ok(ids) = tokenizer.encode_chat(&request) {
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            accepted = true;
        }
    }
    accepted
}

/// Needs: as words, which are only understood, and as JSON, which is ranked too, since its amounts
/// may be anything.
pub fn need(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let context = Context::embedded("2026-01-01");
    let from_words = understand(text, &context).is_ok();
    let from_json = understand_json(text, &context).and_then(|read| answer(read, &context));
    from_json.is_ok() || from_words
}
