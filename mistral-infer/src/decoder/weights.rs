//! The decoder's weights, typed by role.

use mistral_core::model::{AttentionKind, FeedForward, Indexer, ModelSpec, PositionScale};
use mistral_kernels::{ExpertWeights, Yarn, inv_freq, scale_inv_freq};

use crate::error::InferError;
use crate::weights::{Checkpoint, Tensor};

/// All weights of a model, and the rotary frequencies that follow from them. Immutable and shared
/// by all sessions.
#[derive(Debug)]
pub(crate) struct DecoderWeights {
    pub(crate) embedding: Tensor,
    pub(crate) layers: Vec<LayerWeights>,
    pub(crate) norm: Vec<f32>,
    /// `None` when the embedding is the output projection.
    pub(crate) output: Option<Tensor>,
    pub(crate) inv_freq: Vec<f32>,
}

#[derive(Debug)]
pub(crate) struct LayerWeights {
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) attention: AttentionWeights,
    pub(crate) indexer: Option<IndexerWeights>,
    pub(crate) ffn_norm: Vec<f32>,
    pub(crate) feed_forward: FeedForwardWeights,
}

#[derive(Debug)]
pub(crate) enum AttentionWeights {
    Gqa(Box<GqaWeights>),
    Mla(Box<MlaWeights>),
}

#[derive(Debug)]
pub(crate) struct GqaWeights {
    pub(crate) wq: Tensor,
    pub(crate) wk: Tensor,
    pub(crate) wv: Tensor,
    pub(crate) wo: Tensor,
}

#[derive(Debug)]
pub(crate) struct MlaWeights {
    pub(crate) query: QueryWeights,
    /// Latent projection and its norm; `None` in a layer that reads another's latents.
    pub(crate) latent: Option<(Tensor, Vec<f32>)>,
    pub(crate) wkv_b: Tensor,
    pub(crate) wo: Tensor,
    pub(crate) ssmax: Option<SsMax>,
}

#[derive(Debug)]
pub(crate) enum QueryWeights {
    Direct(Tensor),
    LowRank {
        wq_a: Tensor,
        norm: Vec<f32>,
        wq_b: Tensor,
    },
}

/// Scale and bias of each head.
#[derive(Debug)]
pub(crate) struct SsMax {
    pub(crate) scale: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

#[derive(Debug)]
pub(crate) struct IndexerWeights {
    pub(crate) q_norm: (Vec<f32>, Vec<f32>),
    pub(crate) wq: Tensor,
    pub(crate) wk: Tensor,
    pub(crate) k_norm: (Vec<f32>, Vec<f32>),
    pub(crate) weights: Tensor,
    pub(crate) ssmax: SsMax,
}

#[derive(Debug)]
pub(crate) enum FeedForwardWeights {
    Dense(SwiGlu),
    Moe {
        gate: Tensor,
        experts: Vec<SwiGlu>,
        shared: Option<SwiGlu>,
    },
}

/// Gate, down and up projection.
///
/// Invariant: tensors that [`Tensor::matrix`] accepts.
#[derive(Debug)]
pub(crate) struct SwiGlu {
    pub(crate) w1: Tensor,
    pub(crate) w2: Tensor,
    pub(crate) w3: Tensor,
}

/// Takes tensors below a name's prefix.
struct Source<'a> {
    checkpoint: &'a Checkpoint,
    prefix: String,
}

impl Source<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, InferError> {
        self.checkpoint
            .tensor(&format!("{}{name}", self.prefix), shape)
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, InferError> {
        Ok(self.tensor(name, &[len])?.to_f32())
    }

    fn below(&self, name: &str) -> Source<'_> {
        Source {
            checkpoint: self.checkpoint,
            prefix: format!("{}{name}.", self.prefix),
        }
    }
}

impl DecoderWeights {
    /// Takes every tensor of `spec` from `checkpoint`.
    pub(crate) fn load(spec: &ModelSpec, checkpoint: &Checkpoint) -> Result<Self, InferError> {
        checkpoint.check(spec)?;
        let root = Source {
            checkpoint,
            prefix: String::new(),
        };
        let layers: Result<Vec<LayerWeights>, InferError> = (0..spec.n_layers)
            .map(|i| layer(&root.below(&format!("layers.{i}")), spec, i))
            .collect();
        let shape = [spec.vocab_size, spec.dim];
        let output = match spec.tied_embeddings {
            true => None,
            false => Some(root.tensor("output.weight", &shape)?),
        };
        Ok(DecoderWeights {
            embedding: root.tensor("tok_embeddings.weight", &shape)?,
            layers: layers?,
            norm: root.vector("norm.weight", spec.dim)?,
            output,
            inv_freq: frequencies(spec, &root)?,
        })
    }

    /// Bytes that one decoded token reads: every matrix once, of the experts only the chosen.
    pub(crate) fn bytes_per_token(&self, spec: &ModelSpec) -> usize {
        let head = self.output.as_ref().unwrap_or(&self.embedding).bytes();
        head + self
            .layers
            .iter()
            .map(|layer| layer.bytes_per_token(spec))
            .sum::<usize>()
    }
}

impl LayerWeights {
    fn bytes_per_token(&self, spec: &ModelSpec) -> usize {
        let attention = match &self.attention {
            AttentionWeights::Gqa(w) => [&w.wq, &w.wk, &w.wv, &w.wo]
                .iter()
                .map(|t| t.bytes())
                .sum::<usize>(),
            AttentionWeights::Mla(m) => {
                let query = match &m.query {
                    QueryWeights::Direct(w) => w.bytes(),
                    QueryWeights::LowRank { wq_a, wq_b, .. } => wq_a.bytes() + wq_b.bytes(),
                };
                let latent = m.latent.as_ref().map_or(0, |(w, _)| w.bytes());
                query + latent + m.wkv_b.bytes() + m.wo.bytes()
            }
        };
        let indexer = self
            .indexer
            .as_ref()
            .map_or(0, |x| x.wq.bytes() + x.wk.bytes() + x.weights.bytes());
        let feed_forward = match &self.feed_forward {
            FeedForwardWeights::Dense(w) => w.bytes(),
            FeedForwardWeights::Moe {
                gate,
                experts,
                shared,
            } => {
                let active = spec.moe.as_ref().map_or(0, |m| m.num_experts_per_tok);
                let one = experts.first().map_or(0, SwiGlu::bytes);
                gate.bytes() + active * one + shared.as_ref().map_or(0, SwiGlu::bytes)
            }
        };
        attention + indexer + feed_forward
    }
}

impl SwiGlu {
    fn bytes(&self) -> usize {
        self.w1.bytes() + self.w2.bytes() + self.w3.bytes()
    }

    fn load(source: &Source<'_>, dim: usize, hidden: usize) -> Result<SwiGlu, InferError> {
        let matrix = |name, shape| {
            let tensor = source.tensor(name, shape)?;
            tensor.matrix()?;
            Ok::<Tensor, InferError>(tensor)
        };
        Ok(SwiGlu {
            w1: matrix("w1.weight", &[hidden, dim])?,
            w2: matrix("w2.weight", &[dim, hidden])?,
            w3: matrix("w3.weight", &[hidden, dim])?,
        })
    }

    /// As one of a layer's experts.
    pub(crate) fn view(&self) -> ExpertWeights<'_> {
        const MATRICES: &str = "`load` has seen matrices";
        ExpertWeights {
            w1: self.w1.matrix().expect(MATRICES),
            w2: self.w2.matrix().expect(MATRICES),
            w3: self.w3.matrix().expect(MATRICES),
        }
    }
}

fn frequencies(spec: &ModelSpec, root: &Source<'_>) -> Result<Vec<f32>, InferError> {
    let yarn = spec.rope.yarn.as_ref().map(|y| Yarn {
        factor: y.factor,
        original_max_position_embeddings: y.original_max_position_embeddings,
        beta_fast: y.beta_fast,
        beta_slow: y.beta_slow,
        truncate: y.truncate,
    });
    let mut frequencies = inv_freq(spec.rope.theta, spec.rope.dim, yarn.as_ref());
    if spec.rope.learned_scale {
        scale_inv_freq(
            &mut frequencies,
            &root.vector("lerope.alpha", spec.rope.dim / 2)?,
        )?;
    }
    Ok(frequencies)
}

fn layer(source: &Source<'_>, spec: &ModelSpec, i: usize) -> Result<LayerWeights, InferError> {
    Ok(LayerWeights {
        attention_norm: source.vector("attention_norm.weight", spec.dim)?,
        attention: attention(&source.below("attention"), spec, i)?,
        indexer: match spec.layers[i].indexer {
            Indexer::Full => Some(indexer(&source.below("attention.indexer"), spec)?),
            Indexer::None | Indexer::Shared => None,
        },
        ffn_norm: source.vector("ffn_norm.weight", spec.dim)?,
        feed_forward: feed_forward(source, spec, i)?,
    })
}

fn attention(
    source: &Source<'_>,
    spec: &ModelSpec,
    i: usize,
) -> Result<AttentionWeights, InferError> {
    let (dim, heads) = (spec.dim, spec.n_heads);
    let m = match &spec.attention {
        AttentionKind::Gqa(g) => {
            let (q, kv) = (heads * g.head_dim, g.n_kv_heads * g.head_dim);
            return Ok(AttentionWeights::Gqa(Box::new(GqaWeights {
                wq: source.tensor("wq.weight", &[q, dim])?,
                wk: source.tensor("wk.weight", &[kv, dim])?,
                wv: source.tensor("wv.weight", &[kv, dim])?,
                wo: source.tensor("wo.weight", &[dim, q])?,
            })));
        }
        AttentionKind::Mla(m) => m,
    };
    let (nope, rope) = m.split(spec.layers[i].rope);
    let q = heads * m.qk_head_dim();
    let query = match m.q_lora_rank {
        None => QueryWeights::Direct(source.tensor("wq.weight", &[q, dim])?),
        Some(rank) => QueryWeights::LowRank {
            wq_a: source.tensor("wq_a.weight", &[rank, dim])?,
            norm: source.vector("q_a_norm.weight", rank)?,
            wq_b: source.tensor("wq_b.weight", &[q, rank])?,
        },
    };
    let latent = match spec.owns_kv(i) {
        false => None,
        true => Some((
            source.tensor("wkv_a_with_mqa.weight", &[m.kv_lora_rank + rope, dim])?,
            source.vector("kv_a_norm.weight", m.kv_lora_rank)?,
        )),
    };
    let expanded = heads * (nope + m.v_head_dim);
    Ok(AttentionWeights::Mla(Box::new(MlaWeights {
        query,
        latent,
        // Absorption takes rows of floats.
        wkv_b: source
            .tensor("wkv_b.weight", &[expanded, m.kv_lora_rank])?
            .into_floats(),
        wo: source.tensor("wo.weight", &[dim, heads * m.v_head_dim])?,
        ssmax: match spec.position_scale {
            PositionScale::SsMax => Some(ssmax(source, heads)?),
            PositionScale::None | PositionScale::Llama4 { .. } => None,
        },
    })))
}

fn ssmax(source: &Source<'_>, heads: usize) -> Result<SsMax, InferError> {
    Ok(SsMax {
        scale: source.vector("ssmax_scaling.s", heads)?,
        bias: source.vector("ssmax_scaling.b", heads)?,
    })
}

fn indexer(source: &Source<'_>, spec: &ModelSpec) -> Result<IndexerWeights, InferError> {
    let x = spec
        .indexer
        .as_ref()
        .expect("validate() requires it where a layer has an indexer");
    let (dim, width) = (spec.dim, x.head_dim);
    Ok(IndexerWeights {
        q_norm: (
            source.vector("q_input_norm.weight", dim)?,
            source.vector("q_input_norm.bias", dim)?,
        ),
        wq: source.tensor("wq_b.weight", &[x.n_heads * width, dim])?,
        wk: source.tensor("wk.weight", &[width, dim])?,
        k_norm: (
            source.vector("k_norm.weight", width)?,
            source.vector("k_norm.bias", width)?,
        ),
        weights: source.tensor("weights_proj.weight", &[x.n_heads, dim])?,
        ssmax: ssmax(source, x.n_heads)?,
    })
}

fn feed_forward(
    source: &Source<'_>,
    spec: &ModelSpec,
    i: usize,
) -> Result<FeedForwardWeights, InferError> {
    let moe = match (spec.layers[i].feed_forward, &spec.moe) {
        (FeedForward::Moe, Some(moe)) => moe,
        _ => {
            let below = source.below("feed_forward");
            return Ok(FeedForwardWeights::Dense(SwiGlu::load(
                &below,
                spec.dim,
                spec.hidden_dim,
            )?));
        }
    };
    let experts: Result<Vec<SwiGlu>, InferError> = (0..moe.num_experts)
        .map(|e| {
            let below = source.below(&format!("experts.{e}"));
            SwiGlu::load(&below, spec.dim, moe.expert_hidden_dim)
        })
        .collect();
    let hidden = moe.expert_hidden_dim * moe.num_shared_experts;
    Ok(FeedForwardWeights::Moe {
        gate: source.tensor("gate.weight", &[moe.num_experts, spec.dim])?,
        experts: experts?,
        shared: match hidden {
            0 => None,
            _ => Some(SwiGlu::load(
                &source.below("shared_experts"),
                spec.dim,
                hidden,
            )?),
        },
    })
}
