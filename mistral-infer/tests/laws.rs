//! What must hold for any weights and any tokens, whatever the architecture: a cache changes
//! nothing, nor do pieces, nor neighbours; one expert is a dense layer.

mod support;

use mistral_core::model::ModelSpec;
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{LogitRows, Model, Run, Session, SessionLimits};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

/// Sums in another order: a few units in the last place of logits of magnitude 1 to 10, through
/// two layers.
const TOLERANCE: f32 = 2e-4;

/// Descriptions with caches of every shape: full, ring, experts, latents, chosen positions.
fn descriptions() -> Vec<(&'static str, ModelSpec)> {
    let moe = json!({"num_experts": 4, "num_experts_per_tok": 2, "expert_hidden_dim": 16,
        "num_shared_experts": 1});
    let mut latent = support::dense();
    for (key, value) in [
        ("q_lora_rank", 12),
        ("kv_lora_rank", 16),
        ("qk_nope_head_dim", 4),
        ("qk_rope_head_dim", 4),
        ("v_head_dim", 6),
    ] {
        latent[key] = json!(value);
    }
    let dense = support::dense;
    let rows = [
        ("dense", dense().to_string()),
        ("window", support::with(dense(), "sliding_window", json!(5))),
        (
            "interleaved",
            support::with(dense(), "sliding_window", json!([null, 3])),
        ),
        (
            "tied",
            support::with(dense(), "tied_embeddings", json!(true)),
        ),
        (
            "experts",
            support::with(dense(), "moe", without(&moe, "num_shared_experts")),
        ),
        ("latent", support::with(latent, "moe", moe)),
    ];
    let mut all: Vec<_> = rows
        .into_iter()
        .map(|(name, params)| {
            (
                name,
                ModelSpec::from_params(&params).expect("a valid description"),
            )
        })
        .collect();
    let sparse = ModelSpec::from_hf_config(&support::sparse()).expect("a valid description");
    all.push(("sparse", sparse));
    all
}

fn without(value: &Value, key: &str) -> Value {
    let mut value = value.clone();
    if let Some(map) = value.as_object_mut() {
        map.remove(key);
    }
    value
}

fn session(model: &Model, max_sequences: usize, max_batch_tokens: usize) -> Session<'_> {
    let limits = SessionLimits {
        max_sequences,
        max_batch_tokens,
        max_logits: max_batch_tokens,
        ..SessionLimits::default()
    };
    model.session(limits).expect("small buffers")
}

fn run(sequence: usize, tokens: &[u32]) -> Run<'_> {
    Run {
        sequence,
        tokens,
        logits: LogitRows::All,
    }
}

/// Logits of every token, in one pass.
fn whole(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let mut session = session(model, 1, tokens.len());
    session
        .forward(&[run(0, tokens)])
        .expect("valid tokens")
        .to_vec()
}

/// The largest difference; infinite where a side isn't a number.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "rows of logits");
    let far = |(x, y): (&f32, &f32)| {
        let d = (x - y).abs();
        if d.is_finite() { d } else { f32::INFINITY }
    };
    a.iter().zip(b).map(far).fold(0.0, f32::max)
}

fn close(name: &str, a: &[f32], b: &[f32]) -> Result<(), TestCaseError> {
    let distance = distance(a, b);
    prop_assert!(distance <= TOLERANCE, "{name}: logits differ by {distance}");
    Ok(())
}

fn tokens(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0..support::VOCAB as u32, length)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16,
        failure_persistence: None,
        // A router's or an indexer's near tie may fall either way; the same cases never surprise.
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn prefill_and_decode_give_what_a_longer_prefill_gives(
        seed in any::<u64>(),
        ids in tokens(2..24),
        cut in any::<prop::sample::Index>(),
    ) {
        for (name, spec) in descriptions() {
            let model = support::described(spec, seed);
            let expected = whole(&model, &ids);
            let vocab = model.spec().vocab_size;
            let prefix = 1 + cut.index(ids.len() - 1);
            let mut session = session(&model, 1, ids.len());
            session.prefill(0, &ids[..prefix]).expect("valid tokens");
            for (i, id) in ids.iter().enumerate().skip(prefix) {
                let row = session.forward(&[run(0, &[*id])]).expect("valid tokens");
                close(name, row, &expected[i * vocab..(i + 1) * vocab])?;
            }
        }
    }

    #[test]
    fn a_prompt_in_pieces_gives_what_it_gives_whole(
        seed in any::<u64>(),
        ids in tokens(1..32),
        piece in 1usize..9,
    ) {
        for (name, spec) in descriptions() {
            let model = support::described(spec, seed);
            let mut session = session(&model, 1, piece);
            let mut found = Vec::new();
            for part in ids.chunks(piece) {
                found.extend_from_slice(session.forward(&[run(0, part)]).expect("valid tokens"));
            }
            close(name, &found, &whole(&model, &ids))?;
        }
    }

    #[test]
    fn neighbours_in_a_batch_change_nothing(
        seed in any::<u64>(),
        first in tokens(1..16),
        second in tokens(1..16),
        next in (0..support::VOCAB as u32, 0..support::VOCAB as u32),
    ) {
        for (name, spec) in descriptions() {
            let model = support::described(spec, seed);
            let mut session = session(&model, 2, first.len() + second.len());
            let both = session.forward(&[run(1, &second), run(0, &first)]).expect("valid tokens");
            let alone = [whole(&model, &second), whole(&model, &first)].concat();
            close(name, both, &alone)?;
            let step = session.forward(&[run(0, &[next.0]), run(1, &[next.1])]).expect("valid tokens");
            let last = |ids: &[u32], next: u32| {
                let ids = [ids, &[next]].concat();
                let logits = whole(&model, &ids);
                logits[logits.len() - model.spec().vocab_size..].to_vec()
            };
            close(name, step, &[last(&first, next.0), last(&second, next.1)].concat())?;
        }
    }

    #[test]
    fn one_expert_is_a_dense_layer(seed in any::<u64>(), ids in tokens(1..16)) {
        let moe = json!({"num_experts": 1, "num_experts_per_tok": 1, "expert_hidden_dim": 48});
        let params = support::with(support::dense(), "moe", moe);
        let dir = tempfile::tempdir().expect("a folder for a moment");
        support::write(dir.path(), &params, seed);
        let weights = Checkpoint::open(dir.path(), WeightStorage::Copied).expect("sound files");
        let spec = ModelSpec::from_params(&params).expect("a valid description");
        let routed = Model::from_parts(spec, &weights, None, 1).expect("weights that fit");
        let dense = as_dense(dir.path());
        close("one expert", &whole(&routed, &ids), &whole(&dense, &ids))?;
    }

    #[test]
    fn equal_experts_are_a_dense_layer(seed in any::<u64>(), ids in tokens(1..16)) {
        let moe = json!({"num_experts": 3, "num_experts_per_tok": 2, "expert_hidden_dim": 48});
        let params = support::with(support::dense(), "moe", moe);
        let dir = tempfile::tempdir().expect("a folder for a moment");
        support::write(dir.path(), &params, seed);
        rename(dir.path(), &|name| match name.split_once(".experts.") {
            Some((layer, expert)) if !expert.starts_with("0.") => {
                vec![(name.to_owned(), format!("{layer}.experts.0.{}", &expert[2..]))]
            }
            _ => vec![(name.to_owned(), name.to_owned())],
        });
        let weights = Checkpoint::open(dir.path(), WeightStorage::Copied).expect("sound files");
        let spec = ModelSpec::from_params(&params).expect("a valid description");
        let routed = Model::from_parts(spec, &weights, None, 1).expect("weights that fit");
        let dense = as_dense(dir.path());
        close("equal experts", &whole(&routed, &ids), &whole(&dense, &ids))?;
    }
}

/// The model in `dir` with its first experts as dense layers.
fn as_dense(dir: &std::path::Path) -> Model {
    rename(dir, &|name| match name.split_once(".experts.0.") {
        Some((layer, matrix)) => vec![(format!("{layer}.feed_forward.{matrix}"), name.to_owned())],
        None if name.contains(".experts.") || name.contains(".gate.") => Vec::new(),
        None => vec![(name.to_owned(), name.to_owned())],
    });
    let weights = Checkpoint::open(dir, WeightStorage::Copied).expect("sound files");
    let params = support::dense().to_string();
    let spec = ModelSpec::from_params(&params).expect("a valid description");
    Model::from_parts(spec, &weights, None, 1).expect("weights that fit")
}

/// Rewrites the weights: for each tensor, the names to write and the tensors they are copied from.
fn rename(dir: &std::path::Path, names: &dyn Fn(&str) -> Vec<(String, String)>) {
    let path = dir.join("consolidated.safetensors");
    let bytes = std::fs::read(&path).expect("what was written");
    let file = SafeTensors::deserialize(&bytes).expect("a sound file");
    let new: Vec<(String, String)> = file.names().into_iter().flat_map(names).collect();
    let views = new.iter().map(|(name, source)| {
        let tensor = file.tensor(source).expect("a tensor of the model");
        let view = TensorView::new(Dtype::F32, tensor.shape().to_vec(), tensor.data());
        (name, view.expect("data fits the shape"))
    });
    let bytes = safetensors::serialize(views, None).expect("names and views");
    std::fs::write(path, bytes).expect("the folder is writable");
}
