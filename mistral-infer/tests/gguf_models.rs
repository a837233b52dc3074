//! Models in GGUF files: against reference logits where the fixtures are at hand, and against the
//! same weights in other forms.

mod gguf_files;
#[path = "gguf_files/latent.rs"]
mod latent;

use std::path::{Path, PathBuf};

use gguf_files::{DIM, GGML_F16, GGML_F32, VOCAB, floats, noise};
use latent::{Canonical, Form, HEADS, LORA, Twofold, V, mistral4};
use mistral_core::precision::{Format, Precision};
use mistral_infer::gguf::Gguf;
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{CacheType, InferError, LoadOptions, LogitRows, Model, Run, SessionLimits};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

fn fixtures() -> Option<PathBuf> {
    let folder = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/fixtures/gguf"
    ));
    folder.is_dir().then(|| folder.to_owned())
}

fn load(path: &Path) -> Result<Model, InferError> {
    let options = LoadOptions {
        threads: 2,
        ..LoadOptions::default()
    };
    Model::load(path, &options)
}

/// Logits of all positions, fed in pieces of `piece` tokens, with a cache in f32.
fn logits(model: &Model, tokens: &[u32], piece: usize) -> Vec<f32> {
    let limits = SessionLimits {
        max_seq_len: Some(tokens.len()),
        max_batch_tokens: piece,
        max_logits: piece,
        cache: Some(CacheType::F32),
        ..SessionLimits::default()
    };
    let mut session = model.session(limits).expect("a session");
    let mut out = Vec::new();
    for tokens in tokens.chunks(piece) {
        let run = Run {
            sequence: 0,
            tokens,
            logits: LogitRows::All,
        };
        out.extend_from_slice(session.forward(&[run]).expect("finite logits"));
    }
    out
}

/// The largest difference of each row, ascending.
fn row_errors(a: &[f32], b: &[f32], width: usize) -> Vec<f32> {
    assert_eq!(a.len(), b.len());
    let rows = a.chunks(width).zip(b.chunks(width));
    let mut worst: Vec<f32> = rows
        .map(|(a, b)| {
            let differences = a.iter().zip(b).map(|(x, y)| (x - y).abs());
            differences.fold(0.0, |worst: f32, d| {
                worst.max(if d.is_nan() { f32::MAX } else { d })
            })
        })
        .collect();
    worst.sort_by(f32::total_cmp);
    worst
}

/// In f32 throughout, as the reference; the smallest structural mistake moves logits by 0.2.
const EXACT: f32 = 2e-3;

/// Beside blocks, kernels round activations to 8 bits with one scale for up to 256 of them. That
/// costs what rounding the weights to Q8_0 costs, which differs from model to model: up to twice
/// that is taken for rounding.
const ROUNDED: f32 = 2.0;

#[test]
fn fixtures_give_the_logits_of_their_dequantised_weights() {
    let Some(folder) = fixtures() else { return };
    for (name, precision) in [
        ("mistral_full.q4_0", Precision::Q4_0),
        ("mistral_full.q8_0", Precision::Q8_0),
        ("mixtral.q8_0", Precision::Q8_0),
    ] {
        let (ids, reference) = expected(&folder, name);
        let path = folder.join(format!("{name}.gguf"));
        let model = load(&path).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_eq!(model.precision(), Some(precision), "{name}");
        let vocab = model.spec().vocab_size;
        let rows = |model: &Model, reference: &[f32], piece| {
            row_errors(&logits(model, &ids, piece), reference, vocab)
        };
        let files = Checkpoint::open(&path, WeightStorage::Mapped).expect("tensors");
        let floats = Model::from_parts(model.spec().clone(), &files.widened(), None, 2);
        let errors = rows(&floats.expect("a model"), &reference, ids.len());
        assert!(errors[ids.len() - 1] < EXACT, "{name}: {errors:?}");

        let base = name.split('.').next().expect("a first part");
        let original = load(&folder.join("..").join(base)).expect("the original");
        let (ids_8, reference_8) = expected(&folder, &format!("{base}.q8_0"));
        assert_eq!(ids, ids_8);
        let weights = rows(&original, &reference_8, ids.len())[ids.len() / 2];
        for piece in [1, 7, ids.len()] {
            // The middle row: rounding may tip an undecided router, and with it a row.
            let found = rows(&model, &reference, piece)[ids.len() / 2];
            assert!(
                found < ROUNDED * weights,
                "{name} by {piece}: {found}, rounded weights {weights}"
            );
        }
    }
}

/// Token ids and logits of a reference.
fn expected(folder: &Path, name: &str) -> (Vec<u32>, Vec<f32>) {
    let bytes = std::fs::read(folder.join(format!("{name}.expected.safetensors")));
    let bytes = bytes.expect("readable");
    let file = SafeTensors::deserialize(&bytes).expect("a valid file");
    let words = |name: &str| {
        let tensor = file.tensor(name).expect("there");
        tensor.data().as_chunks::<4>().0.to_vec().into_iter()
    };
    (
        words("input_ids").map(u32::from_le_bytes).collect(),
        words("logits").map(f32::from_le_bytes).collect(),
    )
}

const TOKENS: [u32; 7] = [1, 5, 3, 0, 2, 2, 4];

/// The same numbers in a safetensors file with Mistral's names.
fn native(path: &Path, tensors: &[Canonical]) {
    let data: Vec<Vec<u8>> = tensors.iter().map(|t| floats(&t.values)).collect();
    let views = tensors
        .iter()
        .zip(&data)
        .map(|(Canonical { name, shape, .. }, bytes)| {
            let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
            (name.clone(), view.expect("the shape fits"))
        });
    std::fs::write(
        path,
        safetensors::serialize(views, None).expect("serialises"),
    )
    .expect("written");
}

#[test]
fn every_form_of_a_model_gives_the_same_logits() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut first: Option<Vec<f32>> = None;
    for form in [Form::Usual, Form::Fused, Form::Apart] {
        let Twofold { writer, tensors } = mistral4(form);
        let path = folder.path().join(format!("{form:?}.gguf"));
        std::fs::write(&path, writer.finish()).expect("written");
        let model = load(&path).unwrap_or_else(|e| panic!("{form:?}: {e:?}"));
        let found = logits(&model, &TOKENS, TOKENS.len());
        let reference = first.get_or_insert_with(|| {
            let path = folder.path().join("native.safetensors");
            native(&path, &tensors);
            let files = Checkpoint::open_files(&[path], WeightStorage::Copied).expect("tensors");
            let model = Model::from_parts(model.spec().clone(), &files, None, 2);
            logits(&model.expect("a model"), &TOKENS, TOKENS.len())
        });
        assert_eq!(found, *reference, "{form:?}");
        assert!(found.iter().all(|x| x.is_finite()) && found.iter().any(|x| *x != 0.0));
    }
}

#[test]
fn halves_of_other_shapes_are_refused() {
    let mut writer = mistral4(Form::Fused).writer;
    let name = "blk.0.attn_v_b.weight";
    writer.tensor(
        name,
        &[HEADS, LORA, V],
        GGML_F32,
        floats(&noise(HEADS * V * LORA, 1)),
    );
    let file = Gguf::from_bytes(writer.finish()).expect("the container is valid");
    let spec = file.spec().expect("a valid description");
    let found = Checkpoint::from_gguf(&file).expect("tensors").check(&spec);
    assert!(
        matches!(found, Err(InferError::TensorShape { .. })),
        "{found:?}"
    );
}

#[test]
fn rotary_divisors_pass_only_as_ones() {
    for (divisor, accepted) in [(1.0, true), (2.0, false)] {
        let mut writer = gguf_files::tiny();
        writer.tensor("rope_freqs.weight", &[2], GGML_F32, floats(&[1.0, divisor]));
        let file = Gguf::from_bytes(writer.finish()).expect("the container is valid");
        let spec = file.spec().expect("a valid description");
        let found = Checkpoint::from_gguf(&file).expect("tensors").check(&spec);
        assert_eq!(found.is_ok(), accepted, "{divisor}: {found:?}");
    }
}

#[test]
fn a_file_without_output_ties_it_to_the_embedding() {
    let mut writer = gguf_files::tiny();
    let half: Vec<u8> = noise(VOCAB * DIM, 9)
        .iter()
        .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
        .collect();
    writer.remove_tensor("output.weight").tensor(
        "token_embd.weight",
        &[VOCAB, DIM],
        GGML_F16,
        half,
    );
    let file = Gguf::from_bytes(writer.finish()).expect("the container is valid");
    let spec = file.spec().expect("a valid description");
    assert!(spec.tied_embeddings);
    let files = Checkpoint::from_gguf(&file).expect("tensors");
    let model = Model::from_parts(spec, &files, None, 1).expect("a model");
    assert_eq!(model.format(), Format::F16);
    assert!(logits(&model, &TOKENS, 3).iter().all(|x| x.is_finite()));
}
