//! Sessions that are asked for what can't be: prompts that don't fit, limits of zero or without
//! bounds, weights that aren't numbers.

mod support;

use std::path::Path;

use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{GenerateOptions, InferError, LogitRows, Model, Run, Session, SessionLimits};
use mistral_kernels::KernelError;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::json;

const CONTEXT: usize = 256;

fn experts() -> String {
    let moe = json!({"num_experts": 4, "num_experts_per_tok": 2, "expert_hidden_dim": 16});
    support::with(support::dense(), "moe", moe)
}

/// A model of `params`, one of whose weights holds `value` in its first place.
fn spoiled(params: &str, tensor: &str, value: f32) -> Model {
    let dir = tempfile::tempdir().expect("a folder for a moment");
    support::write(dir.path(), params, 1);
    write_into(&dir.path().join("consolidated.safetensors"), tensor, value);
    let weights = Checkpoint::open(dir.path(), WeightStorage::Copied).expect("sound files");
    let spec = mistral_core::model::ModelSpec::from_params(params).expect("a valid description");
    Model::from_parts(spec, &weights, Some(support::tokenizer()), 1).expect("weights that fit")
}

fn write_into(path: &Path, tensor: &str, value: f32) {
    let bytes = std::fs::read(path).expect("what was written");
    let file = SafeTensors::deserialize(&bytes).expect("a sound file");
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = file
        .iter()
        .map(|(name, t)| {
            let mut data = t.data().to_vec();
            if name == tensor {
                data[..4].copy_from_slice(&value.to_le_bytes());
            }
            (name.to_owned(), t.shape().to_vec(), data)
        })
        .collect();
    assert!(
        tensors.iter().any(|(name, ..)| name == tensor),
        "{tensor} is a tensor of the model"
    );
    let views = tensors.iter().map(|(name, shape, data)| {
        let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), data);
        (name, view.expect("data fits the shape"))
    });
    let bytes = safetensors::serialize(views, None).expect("names and views");
    std::fs::write(path, bytes).expect("the folder is writable");
}

#[test]
fn a_router_that_meets_what_is_no_number_names_its_layer() {
    let rows = [
        ("layers.0.gate.weight", f32::NAN, 0),
        ("layers.1.gate.weight", f32::NAN, 1),
        ("layers.1.gate.weight", f32::INFINITY, 1),
        ("layers.0.experts.0.w2.weight", f32::NAN, 1),
        ("layers.1.attention.wo.weight", f32::NEG_INFINITY, 1),
        ("layers.0.attention.wv.weight", f32::NAN, 0),
    ];
    for (tensor, value, expected) in rows {
        let model = spoiled(&experts(), tensor, value);
        let mut session = model
            .session(SessionLimits::default())
            .expect("small buffers");
        let prompt: Vec<u32> = (20..60).collect();
        let error = session.prefill(0, &prompt).map(|_| ()).expect_err(tensor);
        assert!(
            matches!(&error, InferError::Layer { layer, source: KernelError::NonFiniteRouterLogit { .. } }
                if *layer == expected),
            "{tensor} = {value}: {error:?}"
        );
        assert!(
            session.tokens(0).is_empty(),
            "{tensor}: the half-written sequence is forgotten"
        );
    }
}

#[test]
fn logits_that_are_no_numbers_end_a_generation() {
    for tensor in [
        "output.weight",
        "norm.weight",
        "layers.1.feed_forward.w2.weight",
    ] {
        let model = spoiled(&support::dense().to_string(), tensor, f32::NAN);
        let mut session = model
            .session(SessionLimits::default())
            .expect("small buffers");
        let outcome = session
            .generate(&[20, 30, 40], &GenerateOptions::default())
            .and_then(|pieces| pieces.collect::<Result<Vec<_>, _>>());
        let error = outcome.map(|_| ()).expect_err(tensor);
        assert!(
            matches!(
                error,
                InferError::Kernel(KernelError::NonFiniteLogit { .. })
            ),
            "{tensor}: {error:?}"
        );
    }
}

fn limits(change: impl FnOnce(&mut SessionLimits)) -> SessionLimits {
    let mut limits = SessionLimits::default();
    change(&mut limits);
    limits
}

#[test]
fn limits_of_zero_or_beyond_the_model() {
    let model = support::model(&support::dense().to_string(), 1);
    let rows = [
        ("max_seq_len", limits(|l| l.max_seq_len = Some(0))),
        ("max_seq_len", limits(|l| l.max_seq_len = Some(CONTEXT + 1))),
        ("max_seq_len", limits(|l| l.max_seq_len = Some(usize::MAX))),
        ("max_sequences", limits(|l| l.max_sequences = 0)),
        ("max_sequences", limits(|l| l.max_sequences = usize::MAX)),
        ("max_batch_tokens", limits(|l| l.max_batch_tokens = 0)),
        (
            "max_batch_tokens",
            limits(|l| l.max_batch_tokens = usize::MAX),
        ),
        ("max_logits", limits(|l| l.max_logits = usize::MAX)),
    ];
    for (name, limits) in rows {
        let error = model.session(limits).map(|_| ()).expect_err(name);
        assert!(
            matches!(error, InferError::Limit { limit, .. } if limit == name),
            "{name}: {error}"
        );
    }
    let dir = written();
    let threads = Checkpoint::open(dir.path(), WeightStorage::Copied)
        .and_then(|weights| Model::from_parts(model.spec().clone(), &weights, None, 0));
    let error = threads.map(|_| ()).expect_err("no thread");
    assert!(
        matches!(
            error,
            InferError::Limit {
                limit: "threads",
                ..
            }
        ),
        "{error}"
    );
}

/// A folder of the dense model.
fn written() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder for a moment");
    support::write(dir.path(), &support::dense().to_string(), 1);
    dir
}

#[test]
fn caches_beyond_the_address_space_are_refused_before_anything_is_taken() {
    let params = support::with(support::dense(), "max_seq_len", json!(1u64 << 31));
    let model = support::model(&params, 1);
    let limits = SessionLimits {
        max_seq_len: Some(1 << 31),
        max_sequences: 1 << 16,
        ..SessionLimits::default()
    };
    let error = model.session(limits).map(|_| ()).expect_err("2^55 bytes");
    assert!(
        matches!(error, InferError::OutOfMemory { bytes } if bytes > 1 << 50),
        "{error}"
    );
}

/// Feeds `tokens` to a session of one sequence as one run.
fn feed(session: &mut Session<'_>, sequence: usize, tokens: &[u32]) -> Result<(), InferError> {
    session
        .forward(&[Run {
            sequence,
            tokens,
            logits: LogitRows::Last,
        }])
        .map(|_| ())
}

#[test]
fn prompts_that_do_not_fit() {
    type Attempt = fn(&mut Session<'_>) -> Result<(), InferError>;
    type Expected = fn(&InferError) -> bool;
    let rows: &[(&str, Attempt, Expected)] = &[
        (
            "nothing to feed",
            |s| feed(s, 0, &[]),
            |e| matches!(e, InferError::EmptyPrompt),
        ),
        (
            "nothing to prefill",
            |s| s.prefill(0, &[]).map(|_| ()),
            |e| matches!(e, InferError::EmptyPrompt),
        ),
        (
            "nothing to continue",
            |s| s.generate(&[], &GenerateOptions::default()).map(|_| ()),
            |e| matches!(e, InferError::EmptyPrompt),
        ),
        (
            "no prompt at all",
            |s| {
                s.generate_batch(&[], &GenerateOptions::default())
                    .map(|_| ())
            },
            |e| matches!(e, InferError::EmptyPrompt),
        ),
        (
            "a prompt longer than the context",
            |s| {
                s.generate(&[20; CONTEXT + 1], &GenerateOptions::default())
                    .map(|_| ())
            },
            |e| {
                matches!(
                    e,
                    InferError::ContextExceeded {
                        tokens: 257,
                        max_seq_len: 256
                    }
                )
            },
        ),
        (
            "more than the context is prefilled",
            |s| s.prefill(0, &[20; CONTEXT + 1]).map(|_| ()),
            |e| {
                matches!(
                    e,
                    InferError::ContextExceeded {
                        tokens: 257,
                        max_seq_len: 256
                    }
                )
            },
        ),
        (
            "the context is full",
            |s| {
                s.prefill(0, &[20; CONTEXT])?;
                feed(s, 0, &[20])
            },
            |e| {
                matches!(
                    e,
                    InferError::ContextExceeded {
                        tokens: 257,
                        max_seq_len: 256
                    }
                )
            },
        ),
        (
            "an id outside the vocabulary",
            |s| feed(s, 0, &[20, support::VOCAB as u32]),
            |e| {
                matches!(
                    e,
                    InferError::TokenOutOfRange {
                        id: 266,
                        position: 1,
                        vocab_size: 266
                    }
                )
            },
        ),
        (
            "the largest id there is",
            |s| s.prefill(0, &[u32::MAX]).map(|_| ()),
            |e| {
                matches!(
                    e,
                    InferError::TokenOutOfRange {
                        id: u32::MAX,
                        position: 0,
                        ..
                    }
                )
            },
        ),
        (
            "a sequence that is not there",
            |s| feed(s, 7, &[20]),
            |e| {
                matches!(
                    e,
                    InferError::Limit {
                        limit: "sequence",
                        found: 7,
                        ..
                    }
                )
            },
        ),
        (
            "the largest sequence there is",
            |s| s.prefill(usize::MAX, &[20]).map(|_| ()),
            |e| {
                matches!(
                    e,
                    InferError::Limit {
                        limit: "sequence",
                        ..
                    }
                )
            },
        ),
        (
            "a sequence twice in a pass",
            |s| {
                let run = Run {
                    sequence: 0,
                    tokens: &[20],
                    logits: LogitRows::Last,
                };
                s.forward(&[run, run]).map(|_| ())
            },
            |e| matches!(e, InferError::RepeatedSequence { sequence: 0 }),
        ),
        (
            "a pass of more tokens than stated",
            |s| feed(s, 0, &[20; 65]),
            |e| {
                matches!(
                    e,
                    InferError::Limit {
                        limit: "max_batch_tokens",
                        found: 65,
                        ..
                    }
                )
            },
        ),
        (
            "more rows of logits than stated",
            |s| {
                let run = Run {
                    sequence: 0,
                    tokens: &[20; 9],
                    logits: LogitRows::All,
                };
                s.forward(&[run]).map(|_| ())
            },
            |e| {
                matches!(
                    e,
                    InferError::Limit {
                        limit: "max_logits",
                        found: 9,
                        ..
                    }
                )
            },
        ),
        (
            "more prompts than sequences",
            |s| {
                s.generate_batch(&[&[20], &[20], &[20]], &GenerateOptions::default())
                    .map(|_| ())
            },
            |e| {
                matches!(
                    e,
                    InferError::Limit {
                        limit: "max_sequences",
                        found: 3,
                        ..
                    }
                )
            },
        ),
        (
            "a stop string of a megabyte",
            |s| {
                let stop = vec!["x".repeat(1 << 20)];
                s.generate(
                    &[20],
                    &GenerateOptions {
                        stop,
                        ..GenerateOptions::default()
                    },
                )
                .map(|_| ())
            },
            |e| matches!(e, InferError::Option { option: "stop", .. }),
        ),
        (
            "a thousand stop strings",
            |s| {
                let stop = vec!["x".to_owned(); 1000];
                s.generate(
                    &[20],
                    &GenerateOptions {
                        stop,
                        ..GenerateOptions::default()
                    },
                )
                .map(|_| ())
            },
            |e| matches!(e, InferError::Option { option: "stop", .. }),
        ),
    ];
    let model = support::model(&support::dense().to_string(), 1);
    let limits = SessionLimits {
        max_sequences: 2,
        max_batch_tokens: 64,
        max_logits: 8,
        ..SessionLimits::default()
    };
    for (name, attempt, expected) in rows {
        let mut session = model.session(limits).expect("small buffers");
        let error = attempt(&mut session).expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
        // What was refused leaves the session as it was.
        session.clear(0);
        feed(&mut session, 0, &[20, 30]).unwrap_or_else(|e| panic!("{name}: then {e}"));
        assert_eq!(session.tokens(0), [20, 30], "{name}");
    }
}

#[test]
fn a_stop_string_needs_a_tokenizer() {
    let dense = support::model(&support::dense().to_string(), 1);
    let dir = written();
    let weights = Checkpoint::open(dir.path(), WeightStorage::Copied).expect("sound files");
    let model = Model::from_parts(dense.spec().clone(), &weights, None, 1).expect("no tokenizer");
    let mut session = model
        .session(SessionLimits::default())
        .expect("small buffers");
    let options = GenerateOptions {
        stop: vec!["x".to_owned()],
        ..GenerateOptions::default()
    };
    let error = session
        .generate(&[20], &options)
        .map(|_| ())
        .expect_err("no tokenizer");
    assert!(matches!(error, InferError::NoTokenizer), "{error}");
}
