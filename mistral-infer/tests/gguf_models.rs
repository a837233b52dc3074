//! Models in GGUF files: against reference logits where the fixtures are at hand, and against the
//! same weights in other forms.

mod gguf_files;

use std::path::{Path, PathBuf};

use gguf_files::{DIM, GGML_F16, GGML_F32, HIDDEN, VOCAB, Writer, floats, noise};
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

/// The same numbers in a safetensors file with Mistral's names.
fn native(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    let data: Vec<Vec<u8>> = tensors.iter().map(|(.., v)| floats(v)).collect();
    let views = tensors.iter().zip(&data).map(|((name, shape, _), bytes)| {
        let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name.clone(), view.expect("the shape fits"))
    });
    std::fs::write(
        path,
        safetensors::serialize(views, None).expect("serialises"),
    )
    .expect("written");
}

const EXPERTS: usize = 4;
const HEADS: usize = 2;
const LORA: usize = 12;
const NOPE: usize = 6;
const ROPE: usize = 4;
const V: usize = 8;
const TOKENS: [u32; 7] = [1, 5, 3, 0, 2, 2, 4];

/// How a file stores what may be stored in more than one way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// Experts stacked, `wkv_b` whole.
    Usual,
    /// Gate and up of all experts in one tensor, `wkv_b` in two.
    Fused,
    /// A tensor for each expert.
    Apart,
}

/// A model with latent attention, a dense layer, routed and shared experts: as GGUF in a form, and
/// the same numbers under canonical names.
fn mistral4(form: Form) -> (Writer, Vec<(String, Vec<usize>, Vec<f32>)>) {
    let mut w = Writer::default();
    w.text("general.architecture", "mistral4");
    for (key, value) in [
        ("block_count", 2),
        ("context_length", 64),
        ("embedding_length", DIM),
        ("feed_forward_length", HIDDEN),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", 1),
        ("attention.q_lora_rank", 10),
        ("attention.kv_lora_rank", LORA),
        ("attention.key_length", LORA + ROPE),
        ("attention.value_length", LORA),
        ("attention.key_length_mla", NOPE + ROPE),
        ("attention.value_length_mla", V),
        ("rope.dimension_count", ROPE),
        ("leading_dense_block_count", 1),
        ("expert_count", EXPERTS),
        ("expert_used_count", 2),
        ("expert_shared_count", 1),
        ("expert_feed_forward_length", HIDDEN / 2),
        ("vocab_size", VOCAB),
    ] {
        w.u32(&format!("mistral4.{key}"), value as u32);
    }
    w.bool("mistral4.expert_weights_norm", true)
        .f32("mistral4.attention.layer_norm_rms_epsilon", 1e-5);
    let mut all = Vec::new();
    let mut put = |w: &mut Writer, ggml: &str, canonical: &str, shape: &[usize]| {
        let values = noise(shape.iter().product(), all.len() as u64 + 1);
        if !ggml.is_empty() {
            w.tensor(&format!("{ggml}.weight"), shape, GGML_F32, floats(&values));
        }
        all.push((
            format!("{canonical}.weight"),
            shape.to_vec(),
            values.clone(),
        ));
        values
    };
    put(&mut w, "token_embd", "tok_embeddings", &[VOCAB, DIM]);
    put(&mut w, "output_norm", "norm", &[DIM]);
    put(&mut w, "output", "output", &[VOCAB, DIM]);
    for layer in 0..2 {
        let g = |name: &str| format!("blk.{layer}.{name}");
        let c = |name: &str| format!("layers.{layer}.{name}");
        put(&mut w, &g("attn_norm"), &c("attention_norm"), &[DIM]);
        put(&mut w, &g("ffn_norm"), &c("ffn_norm"), &[DIM]);
        put(&mut w, &g("attn_q_a"), &c("attention.wq_a"), &[10, DIM]);
        put(&mut w, &g("attn_q_a_norm"), &c("attention.q_a_norm"), &[10]);
        let rows = HEADS * (NOPE + ROPE);
        put(&mut w, &g("attn_q_b"), &c("attention.wq_b"), &[rows, 10]);
        let rows = LORA + ROPE;
        put(
            &mut w,
            &g("attn_kv_a_mqa"),
            &c("attention.wkv_a_with_mqa"),
            &[rows, DIM],
        );
        put(
            &mut w,
            &g("attn_kv_a_norm"),
            &c("attention.kv_a_norm"),
            &[LORA],
        );
        let rows = HEADS * (NOPE + V);
        let whole = if form == Form::Fused {
            String::new()
        } else {
            g("attn_kv_b")
        };
        let kv_b = put(&mut w, &whole, &c("attention.wkv_b"), &[rows, LORA]);
        if form == Form::Fused {
            let (keys, values) = halves(&kv_b);
            let name = |n: &str| format!("blk.{layer}.{n}.weight");
            w.tensor(
                &name("attn_k_b"),
                &[HEADS, LORA, NOPE],
                GGML_F32,
                floats(&keys),
            );
            w.tensor(
                &name("attn_v_b"),
                &[HEADS, V, LORA],
                GGML_F32,
                floats(&values),
            );
        }
        put(
            &mut w,
            &g("attn_output"),
            &c("attention.wo"),
            &[DIM, HEADS * V],
        );
        let matrices = [("gate", "w1"), ("down", "w2"), ("up", "w3")];
        let shape = |matrix: &str, hidden| match matrix {
            "w2" => [DIM, hidden],
            _ => [hidden, DIM],
        };
        if layer == 0 {
            for (ggml, matrix) in matrices {
                let canonical = c(&format!("feed_forward.{matrix}"));
                put(
                    &mut w,
                    &g(&format!("ffn_{ggml}")),
                    &canonical,
                    &shape(matrix, HIDDEN),
                );
            }
            continue;
        }
        put(&mut w, &g("ffn_gate_inp"), &c("gate"), &[EXPERTS, DIM]);
        let mut stacked = [Vec::new(), Vec::new(), Vec::new()];
        let mut fused = Vec::new();
        for e in 0..EXPERTS {
            let mut own = Vec::new();
            for (i, (ggml, matrix)) in matrices.into_iter().enumerate() {
                let ggml = match form {
                    Form::Apart => g(&format!("ffn_{ggml}.{e}")),
                    Form::Usual | Form::Fused => String::new(),
                };
                let canonical = c(&format!("experts.{e}.{matrix}"));
                let values = put(&mut w, &ggml, &canonical, &shape(matrix, HIDDEN / 2));
                stacked[i].extend_from_slice(&values);
                own.push(values);
            }
            fused.extend([&own[0][..], &own[2]].concat());
        }
        let tensor = |w: &mut Writer, name: &str, [rows, cols]: [usize; 2], values: &[f32]| {
            let shape = [EXPERTS, rows, cols];
            w.tensor(
                &format!("blk.1.{name}.weight"),
                &shape,
                GGML_F32,
                floats(values),
            );
        };
        let half = HIDDEN / 2;
        match form {
            Form::Apart => {}
            Form::Fused => tensor(&mut w, "ffn_gate_up_exps", [HIDDEN, DIM], &fused),
            Form::Usual => {
                tensor(&mut w, "ffn_gate_exps", [half, DIM], &stacked[0]);
                tensor(&mut w, "ffn_up_exps", [half, DIM], &stacked[2]);
            }
        }
        if form != Form::Apart {
            tensor(&mut w, "ffn_down_exps", [DIM, half], &stacked[1]);
        }
        for (ggml, matrix) in matrices {
            let canonical = c(&format!("shared_experts.{matrix}"));
            put(
                &mut w,
                &g(&format!("ffn_{ggml}_shexp")),
                &canonical,
                &shape(matrix, half),
            );
        }
    }
    (w, all)
}

/// `wkv_b` as files for absorbed attention have it: keys transposed within a head, and values.
fn halves(kv_b: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for head in kv_b.chunks((NOPE + V) * LORA) {
        for j in 0..LORA {
            keys.extend((0..NOPE).map(|i| head[i * LORA + j]));
        }
        values.extend_from_slice(&head[NOPE * LORA..]);
    }
    (keys, values)
}

#[test]
fn every_form_of_a_model_gives_the_same_logits() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut first: Option<Vec<f32>> = None;
    for form in [Form::Usual, Form::Fused, Form::Apart] {
        let (writer, tensors) = mistral4(form);
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
    let (mut writer, _) = mistral4(Form::Fused);
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
