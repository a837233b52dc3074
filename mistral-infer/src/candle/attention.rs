//! Attention over whole sequences: grouped-query and latent, with causal, windowed and chosen
//! keys.

use candle_core::{D, DType, Device, Result, Tensor};
use mistral_core::model::{AttentionKind, GqaSpec, Indexer, MlaSpec, ModelSpec, PositionScale};

use super::indexer::{Selection, TopKIndexer};
use super::moe::softmax;
use super::norm::{Linear, RmsNorm};
use super::rope::Angles;
use super::{Parameters, parameter};

/// What the layers of one forward pass share.
pub(super) struct Context {
    /// Sequences.
    pub(super) b: usize,
    /// Tokens a sequence.
    pub(super) t: usize,
    /// Rotation of each position.
    pub(super) angles: Angles,
    /// Keys and values by layer, for layers that read another's.
    pub(super) keys: Vec<Option<Keys>>,
    /// The latest choice of keys.
    pub(super) selection: Option<Selection>,
}

/// What a layer hands to those that share its keys.
#[derive(Debug, Clone)]
pub(super) enum Keys {
    /// Keys `[b, n_kv_heads, t, head_dim]`, rotated, and values alike.
    Gqa { k: Tensor, v: Tensor },
    /// Normed latent `[b·t, kv_lora_rank]` and rotated key part `[b, 1, t, rope]`.
    Mla {
        latent: Tensor,
        rotated: Option<Tensor>,
    },
}

/// The attention of one layer.
#[derive(Debug, Clone)]
pub(super) struct Attention {
    layer: usize,
    n_heads: usize,
    softmax_scale: f64,
    window: Option<usize>,
    rope: bool,
    kv_source: usize,
    projections: Projections,
    position_scale: QueryScale,
    indexer: Option<TopKIndexer>,
    shared_indexer: bool,
    wo: Linear,
}

/// How queries, keys and values are made.
#[derive(Debug, Clone)]
enum Projections {
    Gqa {
        spec: GqaSpec,
        wq: Linear,
        kv: Option<(Linear, Linear)>,
    },
    Mla {
        spec: MlaSpec,
        query: LatentQuery,
        kv_a: Option<(Linear, RmsNorm)>,
        wkv_b: Linear,
    },
}

/// MLA's query, direct or through a latent.
#[derive(Debug, Clone)]
enum LatentQuery {
    Direct(Linear),
    LowRank {
        wq_a: Linear,
        norm: RmsNorm,
        wq_b: Linear,
    },
}

/// Growth of the query with its position, see [`PositionScale`].
#[derive(Debug, Clone)]
pub(super) enum QueryScale {
    None,
    Llama4 { beta: f64, original: usize },
    SsMax { s: Tensor, b: Tensor },
}

impl QueryScale {
    /// Reads `prefix.s` and `prefix.b` where the scale is learned.
    pub(super) fn new(
        p: &Parameters,
        prefix: &str,
        heads: usize,
        scale: &PositionScale,
    ) -> Result<Self> {
        Ok(match *scale {
            PositionScale::None => Self::None,
            PositionScale::Llama4 {
                beta,
                original_max_position_embeddings,
            } => Self::Llama4 {
                beta,
                original: original_max_position_embeddings,
            },
            PositionScale::SsMax => Self::SsMax {
                s: parameter(p, &format!("{prefix}.s"), &[heads])?,
                b: parameter(p, &format!("{prefix}.b"), &[heads])?,
            },
        })
    }

    /// Scales `[b, heads, t, d]`.
    pub(super) fn apply(&self, q: &Tensor) -> Result<Tensor> {
        let t = q.dim(2)?;
        let by_position = |f: &dyn Fn(f64) -> f64| {
            let values: Vec<f32> = (0..t).map(|p| f(p as f64) as f32).collect();
            Tensor::from_vec(values, (1, t, 1), q.device())
        };
        let scale = match self {
            Self::None => return Ok(q.clone()),
            Self::Llama4 { beta, original } => {
                by_position(&|p| 1.0 + beta * (1.0 + (p / *original as f64).floor()).ln())?
            }
            Self::SsMax { s, b } => {
                let heads = (s.dim(0)?, 1, 1);
                let logs = by_position(&|p| (p + 1.0).ln())?.to_dtype(s.dtype())?;
                logs.broadcast_mul(&s.reshape(heads)?)?
                    .broadcast_add(&b.reshape(heads)?)?
            }
        };
        q.broadcast_mul(&scale.to_dtype(q.dtype())?)
    }
}

impl Attention {
    /// Reads the attention of layer `layer`.
    pub(super) fn new(p: &Parameters, spec: &ModelSpec, layer: usize) -> Result<Self> {
        let this = &spec.layers[layer];
        let prefix = format!("layers.{layer}.attention");
        let owns_kv = this.kv_source == layer;
        let projections = match &spec.attention {
            AttentionKind::Gqa(gqa) => gqa_projections(p, &prefix, spec, *gqa, owns_kv)?,
            AttentionKind::Mla(mla) => mla_projections(p, &prefix, spec, mla, this.rope, owns_kv)?,
        };
        let ssmax = format!("{prefix}.ssmax_scaling");
        let indexer = match (&this.indexer, &spec.indexer) {
            (Indexer::Full, Some(indexer)) => Some(TopKIndexer::new(
                p,
                &format!("{prefix}.indexer"),
                spec,
                indexer,
                this.rope,
            )?),
            (Indexer::Full, None) => {
                candle_core::bail!("layer {layer} has an indexer, but its dimensions are missing")
            }
            _ => None,
        };
        let width = spec.n_heads * spec.v_head_dim();
        Ok(Self {
            layer,
            n_heads: spec.n_heads,
            softmax_scale: spec.softmax_scale,
            window: this.window,
            rope: this.rope,
            kv_source: this.kv_source,
            projections,
            position_scale: QueryScale::new(p, &ssmax, spec.n_heads, &spec.position_scale)?,
            indexer,
            shared_indexer: this.indexer == Indexer::Shared,
            wo: Linear::new(p, &format!("{prefix}.wo.weight"), spec.dim, width)?,
        })
    }

    /// `[b·t, dim]` to the same shape. Leaves this layer's keys and choice in `context`.
    pub(super) fn forward(&self, x: &Tensor, context: &mut Context) -> Result<Tensor> {
        let q = self.position_scale.apply(&self.queries(x, context)?)?;
        if self.kv_source == self.layer {
            context.keys[self.layer] = self.keys(x, context)?;
        }
        let Some(keys) = context.keys[self.kv_source].clone() else {
            candle_core::bail!(
                "layer {} reads keys that layer {} lacks",
                self.layer,
                self.kv_source
            );
        };
        let (k, v) = self.expand(&keys, context)?;
        if let Some(indexer) = &self.indexer {
            context.selection = Some(indexer.select(x, context)?);
        }
        let selection = if self.indexer.is_some() || self.shared_indexer {
            let Some(selection) = &context.selection else {
                candle_core::bail!("layer {} shares a choice that no layer made", self.layer);
            };
            Some(selection)
        } else {
            None
        };
        let mask = mask(context, self.window, selection, x.device())?;
        let out = attend(&q, &k, &v, &mask, self.softmax_scale)?;
        self.wo
            .forward(&out.transpose(1, 2)?.reshape((context.b * context.t, ()))?)
    }

    /// The choice this layer made in `context`, when it has an indexer of its own.
    pub(super) fn own_selection(&self, context: &Context) -> Option<Selection> {
        self.indexer.as_ref().and(context.selection.clone())
    }

    /// Rotated queries `[b, heads, t, head_dim]`, not yet scaled.
    fn queries(&self, x: &Tensor, context: &Context) -> Result<Tensor> {
        match &self.projections {
            Projections::Gqa { wq, .. } => {
                let q = heads(&wq.forward(x)?, context, self.n_heads)?;
                if self.rope {
                    context.angles.rotate(&q)
                } else {
                    Ok(q)
                }
            }
            Projections::Mla { spec, query, .. } => {
                let q = match query {
                    LatentQuery::Direct(wq) => wq.forward(x)?,
                    LatentQuery::LowRank { wq_a, norm, wq_b } => {
                        wq_b.forward(&norm.forward(&wq_a.forward(x)?)?)?
                    }
                };
                let q = heads(&q, context, self.n_heads)?;
                let (nope, rope) = spec.split(self.rope);
                if rope == 0 {
                    return Ok(q);
                }
                let rotated = context
                    .angles
                    .rotate(&q.narrow(3, nope, rope)?.contiguous()?)?;
                Tensor::cat(&[q.narrow(3, 0, nope)?, rotated], D::Minus1)
            }
        }
    }

    /// This layer's own keys, or `None` when it has no projection for them.
    fn keys(&self, x: &Tensor, context: &Context) -> Result<Option<Keys>> {
        match &self.projections {
            Projections::Gqa {
                spec,
                kv: Some((wk, wv)),
                ..
            } => {
                let k = heads(&wk.forward(x)?, context, spec.n_kv_heads)?;
                let k = if self.rope {
                    context.angles.rotate(&k)?
                } else {
                    k
                };
                let v = heads(&wv.forward(x)?, context, spec.n_kv_heads)?;
                Ok(Some(Keys::Gqa { k, v }))
            }
            Projections::Mla {
                spec,
                kv_a: Some((wkv_a, norm)),
                ..
            } => {
                let compressed = wkv_a.forward(x)?;
                let latent = norm.forward(&compressed.narrow(1, 0, spec.kv_lora_rank)?)?;
                let (_, rope) = spec.split(self.rope);
                let rotated = if rope == 0 {
                    None
                } else {
                    let key = compressed
                        .narrow(1, spec.kv_lora_rank, rope)?
                        .contiguous()?;
                    Some(context.angles.rotate(&heads(&key, context, 1)?)?)
                };
                Ok(Some(Keys::Mla { latent, rotated }))
            }
            _ => Ok(None),
        }
    }

    /// Keys `[b, kv_heads, t, d]` and values `[b, kv_heads, t, dv]`.
    fn expand(&self, keys: &Keys, context: &Context) -> Result<(Tensor, Tensor)> {
        match (keys, &self.projections) {
            (Keys::Gqa { k, v }, Projections::Gqa { .. }) => Ok((k.clone(), v.clone())),
            (Keys::Mla { latent, rotated }, Projections::Mla { spec, wkv_b, .. }) => {
                let (nope, rope) = spec.split(self.rope);
                let both = heads(&wkv_b.forward(latent)?, context, self.n_heads)?;
                let k = both.narrow(3, 0, nope)?;
                let v = both.narrow(3, nope, spec.v_head_dim)?.contiguous()?;
                match rotated {
                    None => Ok((k.contiguous()?, v)),
                    Some(rotated) => {
                        let one = (context.b, self.n_heads, context.t, rope);
                        Ok((Tensor::cat(&[k, rotated.broadcast_as(one)?], D::Minus1)?, v))
                    }
                }
            }
            _ => candle_core::bail!("layer {} shares keys of another kind", self.layer),
        }
    }
}

/// Reads `wq`, `wk`, `wv`.
fn gqa_projections(
    p: &Parameters,
    prefix: &str,
    spec: &ModelSpec,
    gqa: GqaSpec,
    owns_kv: bool,
) -> Result<Projections> {
    let linear = |name: &str, heads: usize| {
        Linear::new(
            p,
            &format!("{prefix}.{name}.weight"),
            heads * gqa.head_dim,
            spec.dim,
        )
    };
    let kv = match owns_kv {
        true => Some((linear("wk", gqa.n_kv_heads)?, linear("wv", gqa.n_kv_heads)?)),
        false => None,
    };
    Ok(Projections::Gqa {
        spec: gqa,
        wq: linear("wq", spec.n_heads)?,
        kv,
    })
}

/// Reads MLA's projections; those of a shared latent only where it is made.
fn mla_projections(
    p: &Parameters,
    prefix: &str,
    spec: &ModelSpec,
    mla: &MlaSpec,
    rope: bool,
    owns_kv: bool,
) -> Result<Projections> {
    let linear = |name: &str, rows: usize, cols: usize| {
        Linear::new(p, &format!("{prefix}.{name}.weight"), rows, cols)
    };
    let norm = |name: &str, dim: usize| {
        RmsNorm::new(
            p,
            &format!("{prefix}.{name}.weight"),
            dim,
            mla.latent_norm_eps,
        )
    };
    let q_width = spec.n_heads * mla.qk_head_dim();
    let query = match mla.q_lora_rank {
        None => LatentQuery::Direct(linear("wq", q_width, spec.dim)?),
        Some(rank) => LatentQuery::LowRank {
            wq_a: linear("wq_a", rank, spec.dim)?,
            norm: norm("q_a_norm", rank)?,
            wq_b: linear("wq_b", q_width, rank)?,
        },
    };
    let (nope, rope) = mla.split(rope);
    let rank = mla.kv_lora_rank;
    let kv_a = match owns_kv {
        true => Some((
            linear("wkv_a_with_mqa", rank + rope, spec.dim)?,
            norm("kv_a_norm", rank)?,
        )),
        false => None,
    };
    let wkv_b = linear("wkv_b", spec.n_heads * (nope + mla.v_head_dim), rank)?;
    Ok(Projections::Mla {
        spec: mla.clone(),
        query,
        kv_a,
        wkv_b,
    })
}

/// `[b·t, heads·d]` to `[b, heads, t, d]`.
pub(super) fn heads(x: &Tensor, context: &Context, n: usize) -> Result<Tensor> {
    x.reshape((context.b, context.t, n, ()))?
        .transpose(1, 2)?
        .contiguous()
}

/// 0 where a query sees a key, minus infinity elsewhere: `[1 or b, t, t]` in f32.
fn mask(
    context: &Context,
    window: Option<usize>,
    selection: Option<&Selection>,
    device: &Device,
) -> Result<Tensor> {
    let t = context.t;
    let sees = |i: usize, j: usize| j <= i && window.is_none_or(|w| i - j < w);
    let rows = selection.map_or(t, |s| s.positions.len());
    let mut values = vec![f32::NEG_INFINITY; rows * t];
    for (row, line) in values.chunks_mut(t).enumerate() {
        match selection {
            None => (0..t).filter(|&j| sees(row, j)).for_each(|j| line[j] = 0.0),
            Some(s) => {
                let chosen = s.positions[row].iter().map(|&j| j as usize);
                chosen
                    .filter(|&j| sees(row % t, j))
                    .for_each(|j| line[j] = 0.0);
            }
        }
    }
    Tensor::from_vec(values, (rows / t, t, t), device)
}

/// Softmax attention in f32 over `q [b, h, t, d]`, `k [b, g, t, d]`, `v [b, g, t, dv]` to
/// `[b, h, t, dv]`, `h` a multiple of `g`.
///
/// The queries that share a key head are folded into its rows, so that no key is repeated.
fn attend(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor, scale: f64) -> Result<Tensor> {
    let (b, h, t, d) = q.dims4()?;
    let g = k.dim(1)?;
    let rows = h / g * t;
    // Concatenation leaves keys in an order of strides that products refuse.
    let q = (q.reshape((b, g, rows, d))? * scale)?;
    let scores = q.matmul(&k.contiguous()?.t()?)?;
    let scores = scores.to_dtype(DType::F32)?;
    let mask = mask.repeat((1, h / g, 1))?.unsqueeze(1)?;
    let weights = softmax(&scores.broadcast_add(&mask)?)?.to_dtype(q.dtype())?;
    weights.matmul(v)?.reshape((b, h, t, ()))
}
