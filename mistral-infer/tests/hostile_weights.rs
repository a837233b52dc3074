//! Model folders that must not be trusted: broken weight files, tensors that don't fit, indices of
//! shards that point elsewhere, descriptions that ask for the absurd.
//!
//! Every row names the error that it expects; all of them are found in bounded time and memory.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use mistral_core::CoreError;
use mistral_infer::weights::WeightStorage;
use mistral_infer::{InferError, LoadOptions, Model};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

/// What is wrong, and how a folder is made so.
type Spoil = (&'static str, fn(&Path));

/// More than any row takes on a busy machine, less than work that a header's claims would cause.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is done to a sound folder, and the error that it leads to.
struct Row {
    name: &'static str,
    spoil: fn(&Path),
    expected: fn(&InferError) -> bool,
}

/// Loads a dense model's folder after `spoil`, mapped and copied.
fn check(rows: &[Row]) {
    let mut wrong = Vec::new();
    for row in rows {
        let dir = tempfile::tempdir().expect("a folder for a moment");
        support::write(dir.path(), &support::dense().to_string(), 1);
        (row.spoil)(dir.path());
        for storage in [WeightStorage::Mapped, WeightStorage::Copied] {
            let options = LoadOptions {
                threads: 1,
                storage: Some(storage),
                ..LoadOptions::default()
            };
            let start = Instant::now();
            match Model::load(dir.path(), &options) {
                Ok(_) => wrong.push(format!("{}: loaded", row.name)),
                Err(error) if (row.expected)(&error) => {}
                Err(error) => wrong.push(format!("{}: {error} ({error:?})", row.name)),
            }
            if start.elapsed() > PATIENCE {
                wrong.push(format!("{}: took {:?}", row.name, start.elapsed()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const WEIGHTS: &str = "consolidated.safetensors";

fn put(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    std::fs::write(dir.join(name), bytes).expect("the folder is writable");
}

/// A weight file with this header, after a length that may lie, and `data` zeros.
fn raw(dir: &Path, length: Option<u64>, header: impl AsRef<[u8]>, data: usize) {
    let header = header.as_ref();
    let length = length.unwrap_or(header.len() as u64);
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.resize(bytes.len() + data, 0);
    put(dir, WEIGHTS, bytes);
}

/// A header of f32 tensors of one dimension, from names and byte ranges.
fn header(tensors: &[(&str, usize, usize)]) -> String {
    let all: serde_json::Map<String, Value> = tensors
        .iter()
        .map(|&(name, from, to)| {
            let shape = to.saturating_sub(from) / 4;
            let entry = json!({"dtype": "F32", "shape": [shape], "data_offsets": [from, to]});
            (name.to_owned(), entry)
        })
        .collect();
    Value::from(all).to_string()
}

fn one(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(
        r#"{{"tok_embeddings.weight":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#
    )
}

#[test]
fn weight_files_that_break_their_format() {
    fn refused(error: &InferError) -> bool {
        matches!(error, InferError::Safetensors { path, .. } if path.ends_with(WEIGHTS))
    }
    let rows: &[Spoil] = &[
        ("empty file", |dir| put(dir, WEIGHTS, [])),
        ("shorter than a length", |dir| put(dir, WEIGHTS, [1, 0, 0])),
        ("length without a header", |dir| raw(dir, Some(64), "", 0)),
        ("length of 2^64 - 1", |dir| {
            raw(dir, Some(u64::MAX), "{}", 0)
        }),
        ("length of 200 MB", |dir| {
            raw(dir, Some(200_000_000), "{}", 0)
        }),
        ("length beyond the file", |dir| raw(dir, Some(3), "{}", 0)),
        ("header cut short", |dir| {
            raw(dir, Some(20), one("F32", "[1]", "[0,4]"), 4)
        }),
        ("header not JSON", |dir| raw(dir, None, "{oops", 0)),
        ("header not UTF-8", |dir| {
            raw(dir, None, [b'{', 0xff, 0xfe, b'}'], 0)
        }),
        ("header a list", |dir| raw(dir, None, "[]", 0)),
        ("deeply nested header", |dir| {
            raw(dir, None, "[".repeat(100_000), 0)
        }),
        ("offsets overlap", |dir| {
            raw(
                dir,
                None,
                header(&[("a", 0, 8), ("tok_embeddings.weight", 4, 12)]),
                12,
            );
        }),
        ("offsets leave a gap", |dir| {
            raw(
                dir,
                None,
                header(&[("a", 0, 8), ("tok_embeddings.weight", 12, 16)]),
                16,
            );
        }),
        ("offsets begin late", |dir| {
            raw(dir, None, one("F32", "[1]", "[4,8]"), 8)
        }),
        ("offsets run backwards", |dir| {
            raw(dir, None, one("F32", "[1]", "[4,0]"), 4)
        }),
        ("offsets past the end", |dir| {
            raw(dir, None, one("F32", "[4]", "[0,16]"), 8)
        }),
        ("offsets of 2^64 - 1", |dir| {
            raw(dir, None, one("F32", "[1]", "[0,18446744073709551615]"), 4);
        }),
        ("bytes after the last tensor", |dir| {
            raw(dir, None, one("F32", "[1]", "[0,4]"), 99)
        }),
        ("shape and range differ", |dir| {
            raw(dir, None, one("F32", "[3]", "[0,8]"), 8)
        }),
        ("shape whose product wraps", |dir| {
            raw(
                dir,
                None,
                one("F32", "[4398046511105,4194304]", "[0,4194304]"),
                4_194_304,
            );
        }),
        ("negative dimension", |dir| {
            raw(dir, None, one("F32", "[-1]", "[0,4]"), 4)
        }),
        ("unknown format", |dir| {
            raw(dir, None, one("F33", "[1]", "[0,4]"), 4)
        }),
        ("the same name twice", |dir| {
            let twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                "a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
            raw(dir, None, twice, 8);
        }),
    ];
    let rows: Vec<Row> = rows
        .iter()
        .map(|&(name, spoil)| Row {
            name,
            spoil,
            expected: refused,
        })
        .collect();
    check(&rows);
}

#[test]
fn every_cut_of_a_sound_file_is_refused() {
    let dir = tempfile::tempdir().expect("a folder for a moment");
    support::write(dir.path(), &support::dense().to_string(), 1);
    let whole = std::fs::read(dir.path().join(WEIGHTS)).expect("what was written");
    let options = LoadOptions {
        threads: 1,
        ..LoadOptions::default()
    };
    for step in 0..64 {
        let length = whole.len() * step / 64;
        put(dir.path(), WEIGHTS, &whole[..length]);
        let error = Model::load(dir.path(), &options)
            .map(|_| ())
            .expect_err("a cut file");
        assert!(
            matches!(error, InferError::Safetensors { .. }),
            "{length} bytes: {error}"
        );
    }
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Reads the weights, changes the list of tensors, and writes them again.
fn change(dir: &Path, change: impl FnOnce(&mut Tensors)) {
    let bytes = std::fs::read(dir.join(WEIGHTS)).expect("what was written");
    let file = SafeTensors::deserialize(&bytes).expect("a sound file");
    let mut tensors: Tensors = file
        .iter()
        .map(|(name, t)| {
            (
                name.to_owned(),
                (t.dtype(), t.shape().to_vec(), t.data().to_vec()),
            )
        })
        .collect();
    change(&mut tensors);
    store(dir, WEIGHTS, &tensors);
}

fn store(dir: &Path, name: &str, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        let view = TensorView::new(*dtype, shape.clone(), data);
        (name, view.expect("data fits the shape"))
    });
    let bytes = safetensors::serialize(views, None).expect("names and views");
    put(dir, name, bytes);
}

fn reshape(dir: &Path, name: &str, new: &[usize]) {
    change(dir, |tensors| {
        let (_, shape, data) = tensors.get_mut(name).expect("a tensor of the model");
        *shape = new.to_vec();
        data.resize(new.iter().product::<usize>() * 4, 0);
    });
}

fn add(dir: &Path, name: &str, shape: &[usize]) {
    change(dir, |tensors| {
        let bytes = vec![0; shape.iter().product::<usize>() * 4];
        tensors.insert(name.to_owned(), (Dtype::F32, shape.to_vec(), bytes));
    });
}

fn recode(dir: &Path, name: &str, dtype: Dtype, bytes: usize) {
    change(dir, |tensors| {
        let (old, shape, data) = tensors.get_mut(name).expect("a tensor of the model");
        *old = dtype;
        data.resize(shape.iter().product::<usize>() * bytes, 0);
    });
}

#[test]
fn tensors_that_do_not_fit_the_description() {
    const WQ: &str = "layers.1.attention.wq.weight";
    fn wrong_shape(error: &InferError, tensor: &str) -> bool {
        matches!(error, InferError::TensorShape { name, .. } if name == tensor)
    }
    fn wrong_type(error: &InferError) -> bool {
        matches!(error, InferError::TensorDtype { name, .. } if name == WQ)
    }
    check(&[
        Row {
            name: "missing tensor",
            spoil: |dir| change(dir, |all| drop(all.remove(WQ))),
            expected: |e| {
                matches!(e, InferError::MissingTensor { name, shape }
                if name == WQ && shape == &[32, 32])
            },
        },
        Row {
            name: "missing embedding",
            spoil: |dir| change(dir, |all| drop(all.remove("tok_embeddings.weight"))),
            expected: |e| {
                matches!(e, InferError::MissingTensor { name, .. }
                if name == "tok_embeddings.weight")
            },
        },
        Row {
            name: "no tensor at all",
            spoil: |dir| change(dir, Tensors::clear),
            expected: |e| matches!(e, InferError::MissingTensor { .. }),
        },
        Row {
            name: "transposed",
            spoil: |dir| reshape(dir, "layers.0.feed_forward.w2.weight", &[48, 32]),
            expected: |e| wrong_shape(e, "layers.0.feed_forward.w2.weight"),
        },
        Row {
            name: "one row short",
            spoil: |dir| reshape(dir, WQ, &[31, 32]),
            expected: |e| {
                matches!(e, InferError::TensorShape { name, expected, found }
                if name == WQ && expected == &[32, 32] && found == &[31, 32])
            },
        },
        Row {
            name: "flattened",
            spoil: |dir| reshape(dir, WQ, &[1024]),
            expected: |e| wrong_shape(e, WQ),
        },
        Row {
            name: "a scalar for a norm",
            spoil: |dir| reshape(dir, "norm.weight", &[]),
            expected: |e| wrong_shape(e, "norm.weight"),
        },
        Row {
            name: "no elements",
            spoil: |dir| reshape(dir, WQ, &[0, 32]),
            expected: |e| wrong_shape(e, WQ),
        },
        Row {
            name: "f64",
            spoil: |dir| recode(dir, WQ, Dtype::F64, 8),
            expected: wrong_type,
        },
        Row {
            name: "i8",
            spoil: |dir| recode(dir, WQ, Dtype::I8, 1),
            expected: wrong_type,
        },
        Row {
            name: "fp8",
            spoil: |dir| recode(dir, WQ, Dtype::F8_E4M3, 1),
            expected: wrong_type,
        },
        Row {
            name: "a bias that the description does not have",
            spoil: |dir| add(dir, "layers.0.attention.wq.bias", &[32]),
            expected: |e| {
                matches!(e, InferError::UnexpectedTensor { name }
                if name == "layers.0.attention.wq.bias")
            },
        },
        Row {
            name: "experts in a dense model",
            spoil: |dir| add(dir, "layers.0.experts.0.w1.weight", &[48, 32]),
            expected: |e| matches!(e, InferError::UnexpectedTensor { .. }),
        },
    ]);
}

/// A Hugging Face folder in two shards, and what its index then says.
fn sharded(dir: &Path, index: &str) {
    let bytes = std::fs::read(dir.join(WEIGHTS)).expect("what was written");
    std::fs::remove_file(dir.join(WEIGHTS)).expect("it is there");
    put(dir, "model-00001-of-00001.safetensors", bytes);
    put(dir, "model.safetensors.index.json", index);
    std::fs::rename(dir.join("params.json"), dir.join("old.json")).expect("it is there");
    put(dir, "config.json", config().to_string());
}

/// The dense model's description in Hugging Face form.
fn config() -> Value {
    json!({"model_type": "mistral", "architectures": ["MistralForCausalLM"],
        "hidden_size": 32, "num_hidden_layers": 2, "head_dim": 8, "intermediate_size": 48,
        "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
        "vocab_size": support::VOCAB, "rope_theta": 1e4, "max_position_embeddings": 256,
        "sliding_window": null, "hidden_act": "silu", "tie_word_embeddings": false})
}

#[test]
fn indices_of_shards() {
    fn outside(error: &InferError) -> bool {
        matches!(error, InferError::ShardName { .. })
    }
    fn broken(error: &InferError) -> bool {
        matches!(error, InferError::ShardIndex { .. })
    }
    check(&[
        Row {
            name: "a parent folder",
            spoil: |dir| sharded(dir, r#"{"weight_map":{"norm.weight":"../x.safetensors"}}"#),
            expected: outside,
        },
        Row {
            name: "an absolute path",
            spoil: |dir| sharded(dir, r#"{"weight_map":{"norm.weight":"/etc/passwd"}}"#),
            expected: outside,
        },
        Row {
            name: "a folder",
            spoil: |dir| sharded(dir, r#"{"weight_map":{"norm.weight":"sub/x.safetensors"}}"#),
            expected: outside,
        },
        Row {
            name: "no name",
            spoil: |dir| sharded(dir, r#"{"weight_map":{"norm.weight":""}}"#),
            expected: outside,
        },
        Row {
            name: "a shard that is not there",
            spoil: |dir| {
                sharded(
                    dir,
                    r#"{"weight_map":{"norm.weight":"model-00009.safetensors"}}"#,
                )
            },
            expected: |e| {
                matches!(e, InferError::Io { path, .. }
                if path.ends_with("model-00009.safetensors"))
            },
        },
        Row {
            name: "no shard",
            spoil: |dir| sharded(dir, r#"{"weight_map":{}}"#),
            expected: |e| matches!(e, InferError::NoModel { .. }),
        },
        Row {
            name: "a tensor in two shards",
            spoil: |dir| {
                let (first, second) = ("model-00001-of-00001.safetensors", "b.safetensors");
                sharded(
                    dir,
                    &json!({"weight_map": {"norm.weight": first, "x": second}}).to_string(),
                );
                std::fs::copy(dir.join(first), dir.join(second)).expect("it is there");
            },
            expected: |e| {
                matches!(e, InferError::DuplicateTensor { name, first, second }
                if name == "layers.0.attention.wk.weight"
                    && first.ends_with("b.safetensors")
                    && second.ends_with("model-00001-of-00001.safetensors"))
            },
        },
        Row {
            name: "a shard that is a folder",
            spoil: |dir| {
                sharded(dir, r#"{"weight_map":{"norm.weight":"sub"}}"#);
                std::fs::create_dir(dir.join("sub")).expect("the folder is writable");
            },
            expected: |e| matches!(e, InferError::Io { path, .. } if path.ends_with("sub")),
        },
        #[cfg(target_os = "linux")]
        Row {
            name: "a shard without an end",
            spoil: |dir| {
                sharded(dir, r#"{"weight_map":{"norm.weight":"endless"}}"#);
                std::os::unix::fs::symlink("/dev/zero", dir.join("endless")).expect("writable");
            },
            expected: |e| matches!(e, InferError::Io { path, .. } if path.ends_with("endless")),
        },
        Row {
            name: "not JSON",
            spoil: |dir| sharded(dir, "{"),
            expected: broken,
        },
        Row {
            name: "numbers for names",
            spoil: |dir| sharded(dir, r#"{"weight_map":{"norm.weight":3}}"#),
            expected: broken,
        },
        Row {
            name: "nested without end",
            spoil: |dir| sharded(dir, &r#"{"weight_map":"#.repeat(50_000)),
            expected: broken,
        },
    ]);
}

/// Replaces a field of the dense model's `params.json`.
fn param(dir: &Path, key: &str, value: Value) {
    put(
        dir,
        "params.json",
        support::with(support::dense(), key, value),
    );
}

/// Describes the weights by a `config.json` with one field replaced.
fn described(dir: &Path, key: &str, value: Value) {
    let mut config = config();
    config[key] = value;
    put(dir, "config.json", config.to_string());
}

#[test]
fn descriptions_that_are_not_supported() {
    fn spec(error: &InferError, is: fn(&CoreError) -> bool) -> bool {
        matches!(error, InferError::Spec { source, .. } if is(source))
    }
    fn unsupported(error: &InferError) -> bool {
        spec(error, |e| matches!(e, CoreError::UnsupportedField { .. }))
    }
    check(&[
        Row {
            name: "unknown architecture",
            spoil: |dir| {
                let mut config = config();
                config["model_type"] = json!("gpt2");
                config["architectures"] = json!(["GPT2LMHeadModel"]);
                put(dir, "config.json", config.to_string());
            },
            expected: |e| spec(e, |e| matches!(e, CoreError::UnknownArchitecture { .. })),
        },
        Row {
            name: "another activation",
            spoil: |dir| described(dir, "hidden_act", json!("gelu")),
            expected: unsupported,
        },
        Row {
            name: "biases",
            spoil: |dir| described(dir, "attention_bias", json!(true)),
            expected: unsupported,
        },
        Row {
            name: "a field that nobody knows",
            spoil: |dir| described(dir, "logit_scale", json!(0.5)),
            expected: unsupported,
        },
        Row {
            name: "a rope of another kind",
            spoil: |dir| {
                described(
                    dir,
                    "rope_scaling",
                    json!({"rope_type": "longrope", "factor": 2.0}),
                );
            },
            expected: unsupported,
        },
        Row {
            name: "a missing field",
            spoil: |dir| described(dir, "vocab_size", Value::Null),
            expected: |e| {
                spec(e, |e| {
                    matches!(
                        e,
                        CoreError::MissingField { .. } | CoreError::WrongType { .. }
                    )
                })
            },
        },
        Row {
            name: "text for a number",
            spoil: |dir| param(dir, "dim", json!("32")),
            expected: |e| spec(e, |e| matches!(e, CoreError::WrongType { .. })),
        },
        Row {
            name: "not JSON",
            spoil: |dir| put(dir, "params.json", "dim = 32"),
            expected: |e| spec(e, |e| matches!(e, CoreError::Json { .. })),
        },
        Row {
            name: "no description",
            spoil: |dir| std::fs::remove_file(dir.join("params.json")).expect("it is there"),
            expected: |e| matches!(e, InferError::NoModel { .. }),
        },
        Row {
            name: "no weights",
            spoil: |dir| std::fs::remove_file(dir.join(WEIGHTS)).expect("it is there"),
            expected: |e| matches!(e, InferError::NoModel { .. }),
        },
        Row {
            name: "a description of 20 MB",
            spoil: |dir| put(dir, "params.json", vec![b' '; 20 << 20]),
            expected: |e| matches!(e, InferError::Io { .. }),
        },
    ]);
}

#[test]
fn dimensions_beyond_reason_cost_nothing() {
    let huge = [
        1u64 << 20,
        1 << 31,
        1 << 42,
        (1 << 42) + 1,
        1 << 63,
        u64::MAX,
    ];
    let fields = [
        "dim",
        "n_layers",
        "n_heads",
        "n_kv_heads",
        "head_dim",
        "hidden_dim",
        "vocab_size",
        "sliding_window",
        "max_seq_len",
        "q_lora_rank",
        "kv_lora_rank",
    ];
    let options = LoadOptions {
        threads: 1,
        ..LoadOptions::default()
    };
    let dir = tempfile::tempdir().expect("a folder for a moment");
    support::write(dir.path(), &support::dense().to_string(), 1);
    let load = |params: String, what: &str| {
        put(dir.path(), "params.json", params);
        let start = Instant::now();
        let outcome = Model::load(dir.path(), &options).map(|_| ());
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: took {:?}",
            start.elapsed()
        );
        outcome
    };
    for field in fields {
        for value in huge
            .iter()
            .map(|&n| json!(n))
            .chain([json!(0), json!(-1), json!(1e300)])
        {
            let what = format!("{field} = {value}");
            let params = support::with(support::dense(), field, value.clone());
            // A wide window or a long context is no fault: sessions check what they take.
            let harmless = matches!(field, "sliding_window" | "max_seq_len")
                && value.as_u64().is_some_and(|n| (1..=1 << 31).contains(&n));
            match load(params, &what) {
                Ok(()) => assert!(harmless, "{what}: loaded"),
                Err(error) => assert!(
                    matches!(
                        error,
                        InferError::Spec { .. }
                            | InferError::MissingTensor { .. }
                            | InferError::TensorShape { .. }
                    ) && !harmless,
                    "{what}: {error}"
                ),
            }
        }
    }
    for (experts, active) in [(1u64 << 62, 2u64), (1 << 16, 2), (8, 9), (8, 0), (0, 0)] {
        let moe = json!({"num_experts": experts, "num_experts_per_tok": active});
        let what = format!("{active} of {experts} experts");
        let error = load(support::with(support::dense(), "moe", moe), &what).expect_err(&what);
        let named = matches!(
            error,
            InferError::Spec { .. } | InferError::MissingTensor { .. }
        );
        assert!(named, "{what}: {error}");
    }
}

#[test]
fn tokenizers_that_do_not_fit() {
    check(&[
        Row {
            name: "more ids than the embedding has rows",
            spoil: |dir| {
                let fewer =
                    support::with(support::dense(), "vocab_size", json!(support::VOCAB - 1));
                support::write(dir, &fewer, 1);
                put(dir, "tekken.json", support::tokenizer_file());
            },
            expected: |e| {
                matches!(e, InferError::VocabularyMismatch { tokenizer, model }
                if *tokenizer == support::VOCAB && *model == support::VOCAB - 1)
            },
        },
        Row {
            name: "a tokenizer that is none",
            spoil: |dir| put(dir, "tokenizer.json", "{}"),
            expected: |e| matches!(e, InferError::Tokenizer(_)),
        },
    ]);
}
