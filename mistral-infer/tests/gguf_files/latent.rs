//! A model with latent attention, a dense layer, routed and shared experts: as GGUF in each form
//! that files have it in, and the same numbers under canonical names.

use crate::gguf_files::{DIM, GGML_F32, HIDDEN, VOCAB, Writer, floats, noise};

const EXPERTS: usize = 4;
pub(crate) const HEADS: usize = 2;
pub(crate) const LORA: usize = 12;
const NOPE: usize = 6;
const ROPE: usize = 4;
pub(crate) const V: usize = 8;
const Q_LORA: usize = 10;

/// ggml's and the canonical names of a feed-forward's matrices.
const MATRICES: [(&str, &str); 3] = [("gate", "w1"), ("down", "w2"), ("up", "w3")];

/// How a file stores what may be stored in more than one way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Form {
    /// Experts stacked, `wkv_b` whole.
    Usual,
    /// Gate and up of all experts in one tensor, `wkv_b` in two.
    Fused,
    /// A tensor for each expert.
    Apart,
}

/// A tensor under its canonical name.
#[derive(Debug, Clone)]
pub(crate) struct Canonical {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// A model as GGUF and under canonical names.
#[derive(Debug, Default)]
pub(crate) struct Twofold {
    pub(crate) writer: Writer,
    pub(crate) tensors: Vec<Canonical>,
}

impl Twofold {
    /// Numbers under both names.
    fn put(&mut self, ggml: &str, canonical: &str, shape: &[usize]) {
        let values = self.canonical(canonical, shape);
        self.ggml(ggml, shape, &values);
    }

    fn canonical(&mut self, name: &str, shape: &[usize]) -> Vec<f32> {
        let values = noise(shape.iter().product(), self.tensors.len() as u64 + 1);
        self.tensors.push(Canonical {
            name: format!("{name}.weight"),
            shape: shape.to_vec(),
            values: values.clone(),
        });
        values
    }

    fn ggml(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let name = format!("{name}.weight");
        self.writer.tensor(&name, shape, GGML_F32, floats(values));
    }

    fn attention(&mut self, layer: usize, form: Form) {
        let g = |name: &str| format!("blk.{layer}.{name}");
        let c = |name: &str| format!("layers.{layer}.attention.{name}");
        self.put(&g("attn_q_a"), &c("wq_a"), &[Q_LORA, DIM]);
        self.put(&g("attn_q_a_norm"), &c("q_a_norm"), &[Q_LORA]);
        let q_b = [HEADS * (NOPE + ROPE), Q_LORA];
        self.put(&g("attn_q_b"), &c("wq_b"), &q_b);
        let kv_a = [LORA + ROPE, DIM];
        self.put(&g("attn_kv_a_mqa"), &c("wkv_a_with_mqa"), &kv_a);
        self.put(&g("attn_kv_a_norm"), &c("kv_a_norm"), &[LORA]);
        let shape = [HEADS * (NOPE + V), LORA];
        let kv_b = self.canonical(&c("wkv_b"), &shape);
        if form == Form::Fused {
            let (keys, values) = halves(&kv_b);
            self.ggml(&g("attn_k_b"), &[HEADS, LORA, NOPE], &keys);
            self.ggml(&g("attn_v_b"), &[HEADS, V, LORA], &values);
        } else {
            self.ggml(&g("attn_kv_b"), &shape, &kv_b);
        }
        self.put(&g("attn_output"), &c("wo"), &[DIM, HEADS * V]);
    }

    fn swiglu(&mut self, ggml: impl Fn(&str) -> String, canonical: &str, hidden: usize) {
        for (name, matrix) in MATRICES {
            let canonical = format!("{canonical}.{matrix}");
            self.put(&ggml(name), &canonical, &shape_of(matrix, hidden));
        }
    }

    fn experts(&mut self, layer: usize, form: Form) {
        let hidden = HIDDEN / 2;
        let mut stacked = [Vec::new(), Vec::new(), Vec::new()];
        let mut fused = Vec::new();
        for e in 0..EXPERTS {
            let mut own = Vec::new();
            for (i, (name, matrix)) in MATRICES.into_iter().enumerate() {
                let shape = shape_of(matrix, hidden);
                let canonical = format!("layers.{layer}.experts.{e}.{matrix}");
                let values = self.canonical(&canonical, &shape);
                if form == Form::Apart {
                    self.ggml(&format!("blk.{layer}.ffn_{name}.{e}"), &shape, &values);
                }
                stacked[i].extend_from_slice(&values);
                own.push(values);
            }
            fused.extend([&own[0][..], &own[2]].concat());
        }
        let name = |name: &str| format!("blk.{layer}.ffn_{name}_exps");
        if form == Form::Fused {
            self.ggml(&name("gate_up"), &[EXPERTS, 2 * hidden, DIM], &fused);
        } else if form == Form::Usual {
            self.ggml(&name("gate"), &[EXPERTS, hidden, DIM], &stacked[0]);
            self.ggml(&name("up"), &[EXPERTS, hidden, DIM], &stacked[2]);
        }
        if form != Form::Apart {
            self.ggml(&name("down"), &[EXPERTS, DIM, hidden], &stacked[1]);
        }
    }
}

fn shape_of(matrix: &str, hidden: usize) -> [usize; 2] {
    match matrix {
        "w2" => [DIM, hidden],
        _ => [hidden, DIM],
    }
}

/// Writes the model in a form.
pub(crate) fn mistral4(form: Form) -> Twofold {
    let mut model = Twofold::default();
    metadata(&mut model.writer);
    model.put("token_embd", "tok_embeddings", &[VOCAB, DIM]);
    model.put("output_norm", "norm", &[DIM]);
    model.put("output", "output", &[VOCAB, DIM]);
    for layer in 0..2 {
        let g = |name: &str| format!("blk.{layer}.{name}");
        let c = |name: &str| format!("layers.{layer}.{name}");
        model.put(&g("attn_norm"), &c("attention_norm"), &[DIM]);
        model.put(&g("ffn_norm"), &c("ffn_norm"), &[DIM]);
        model.attention(layer, form);
        if layer == 0 {
            let name = |n: &str| g(&format!("ffn_{n}"));
            model.swiglu(name, &c("feed_forward"), HIDDEN);
            continue;
        }
        model.put(&g("ffn_gate_inp"), &c("gate"), &[EXPERTS, DIM]);
        model.experts(layer, form);
        let name = |n: &str| g(&format!("ffn_{n}_shexp"));
        model.swiglu(name, &c("shared_experts"), HIDDEN / 2);
    }
    model
}

fn metadata(w: &mut Writer) {
    w.text("general.architecture", "mistral4");
    for (key, value) in [
        ("block_count", 2),
        ("context_length", 64),
        ("embedding_length", DIM),
        ("feed_forward_length", HIDDEN),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", 1),
        ("attention.q_lora_rank", Q_LORA),
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
