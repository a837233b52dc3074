//! A model that answers as a test wants, written to a folder.
//!
//! Embedding and residual stream are one-hot, attention and feed-forward add nothing, and the
//! output projection is a table: each token is followed by the tokens that the table names. What
//! the server says is then known beforehand, through the real tokenizer, weights and kernels.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

/// The reply to any chat, in tokens: words, and a character whose two bytes come one by one.
pub(crate) const REPLY: &[&str] = &["Our", " chief", " café", " is", " op", "en", "."];

/// What is called when a chat's answer is to go on after `!`.
pub(crate) const CALL: &str =
    r#"[{"name": "opening_hours", "arguments": {"day": "Monday"}, "id": "abcDEF123"}]"#;

/// Tokens of the model's context.
pub(crate) const CONTEXT: usize = 2048;

/// Control tokens of a version 3 tokenizer, in order of their ids.
const CONTROL: usize = 20;
const EOS: usize = 2;
const INST_END: usize = 4;
const TOOL_CALLS: usize = 9;
/// Ids of single bytes come after the control tokens.
const BYTES: usize = 256;
/// All ids; the rest of them is never produced.
const VOCABULARY: usize = 320;

/// Writes `config.json`, `model.safetensors` and `tekken.json`.
pub(crate) fn write_model(folder: &Path) {
    std::fs::create_dir_all(folder).expect("makes the folder");
    let words: Vec<String> = REPLY
        .iter()
        .filter(|word| word.is_ascii() && word.len() > 1)
        .map(|word| (*word).to_owned())
        .chain([" caf".to_owned(), CALL.to_owned()])
        .collect();
    let config = json!({
        "architectures": ["MistralForCausalLM"], "model_type": "mistral",
        "vocab_size": VOCABULARY, "hidden_size": VOCABULARY, "intermediate_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "sliding_window": null, "hidden_act": "silu",
        "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": EOS,
        "torch_dtype": "float32",
    });
    std::fs::write(folder.join("config.json"), config.to_string()).expect("writes");
    std::fs::write(folder.join("tekken.json"), tekken(&words).to_string()).expect("writes");
    write_weights(&folder.join("model.safetensors"), &table(&words));
}

fn byte(byte: u8) -> usize {
    CONTROL + usize::from(byte)
}

/// Which tokens follow each token.
fn table(words: &[String]) -> Vec<(usize, usize)> {
    let word = |text: &str| {
        let at = words.iter().position(|word| word == text).expect("a word");
        CONTROL + BYTES + at
    };
    let mut chain = vec![INST_END];
    for text in REPLY {
        match text.strip_suffix('é') {
            Some(begin) => chain.extend([word(begin), byte(0xC3), byte(0xA9)]),
            None if text.len() > 1 => chain.push(word(text)),
            None => chain.push(byte(text.as_bytes()[0])),
        }
    }
    chain.push(EOS);
    let mut pairs: Vec<(usize, usize)> = chain.windows(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.extend([
        (byte(b'!'), TOOL_CALLS),
        (TOOL_CALLS, word(CALL)),
        (word(CALL), EOS),
    ]);
    // After R any digit, after any digit R: text that depends on the seed.
    for digit in b'0'..=b'9' {
        pairs.extend([(byte(b'R'), byte(digit)), (byte(digit), byte(b'R'))]);
    }
    // The letters of the alphabet, over and over.
    for letter in b'a'..=b'z' {
        let next = if letter == b'z' { b'a' } else { letter + 1 };
        pairs.push((byte(letter), byte(next)));
    }
    pairs
}

fn tekken(words: &[String]) -> Value {
    let bytes = (0..=255u8).map(|byte| vec![byte]);
    let words = words.iter().map(|word| word.as_bytes().to_vec());
    // Ids that no text has, so that the vocabulary has the size that the model wants.
    let used = BYTES + words.len();
    let rest = (used..VOCABULARY - CONTROL).map(|i| format!("\u{1}unused {i}").into_bytes());
    let vocab: Vec<Value> = bytes
        .chain(words)
        .chain(rest)
        .enumerate()
        .map(
            |(rank, bytes)| json!({"rank": rank, "token_bytes": base64(&bytes), "token_str": null}),
        )
        .collect();
    json!({
        "config": {
            "pattern": r"\S+|\s+",
            "num_vocab_tokens": vocab.len(),
            "default_vocab_size": VOCABULARY,
            "default_num_special_tokens": CONTROL,
            "version": "v3",
        },
        "vocab": vocab,
    })
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0, |n, &b| n << 8 | usize::from(b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[group >> (18 - 6 * i) & 63];
            out.push(if i <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
}

/// A safetensors file: the length of a JSON header, the header, the numbers.
fn write_weights(path: &Path, table: &[(usize, usize)]) {
    let v = VOCABULARY;
    let mut embedding = vec![0.0f32; v * v];
    (0..v).for_each(|i| embedding[i * v + i] = 1.0);
    let mut output = vec![0.0f32; v * v];
    table
        .iter()
        .for_each(|&(from, to)| output[to * v + from] = 1.0);
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let zeros = |rows: usize, cols: usize| (vec![rows, cols], vec![0.0; rows * cols]);
    let ones = || (vec![v], vec![1.0f32; v]);
    let tensors = [
        (
            "model.embed_tokens.weight".to_owned(),
            (vec![v, v], embedding),
        ),
        ("lm_head.weight".to_owned(), (vec![v, v], output)),
        ("model.norm.weight".to_owned(), ones()),
        (layer("input_layernorm"), ones()),
        (layer("post_attention_layernorm"), ones()),
        (layer("self_attn.q_proj"), zeros(64, v)),
        (layer("self_attn.k_proj"), zeros(32, v)),
        (layer("self_attn.v_proj"), zeros(32, v)),
        (layer("self_attn.o_proj"), zeros(v, 64)),
        (layer("mlp.gate_proj"), zeros(32, v)),
        (layer("mlp.up_proj"), zeros(32, v)),
        (layer("mlp.down_proj"), zeros(v, 32)),
    ];
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, (shape, values)) in &tensors {
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let offsets = [begin, data.len()];
        header.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": offsets}),
        );
    }
    let mut header = Value::Object(header).to_string();
    // The numbers begin at a multiple of eight.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut file = std::fs::File::create(path).expect("creates");
    file.write_all(&(header.len() as u64).to_le_bytes())
        .expect("writes");
    file.write_all(header.as_bytes()).expect("writes");
    file.write_all(&data).expect("writes");
}
