//! The whole model.

use candle_core::{Result, Tensor};
use mistral_core::model::{FeedForward, ModelSpec};

use super::attention::{Attention, Context};
use super::indexer::Selection;
use super::moe::{Moe, Routing, SwiGlu};
use super::norm::{Linear, RmsNorm};
use super::rope::Angles;
use super::{Parameters, parameter};

/// A differentiable decoder, see the [module](super).
#[derive(Debug, Clone)]
pub struct Decoder {
    spec: ModelSpec,
    tok_embeddings: Tensor,
    alpha: Option<Tensor>,
    layers: Vec<Layer>,
    norm: RmsNorm,
    output: Linear,
}

#[derive(Debug, Clone)]
struct Layer {
    attention_norm: RmsNorm,
    attention: Attention,
    ffn_norm: RmsNorm,
    feed_forward: Ffn,
}

#[derive(Debug, Clone)]
enum Ffn {
    Dense(SwiGlu),
    Moe(Moe),
}

/// A change of activations in training, such as dropout.
pub type Disturb<'a> = dyn Fn(&Tensor) -> Result<Tensor> + 'a;

/// What happened inside one forward pass of `b` sequences of `t` tokens.
#[derive(Debug, Clone)]
pub struct Trace {
    /// `[b, t, dim]`, the embedded tokens.
    pub embed: Tensor,
    /// One entry a layer.
    pub layers: Vec<LayerTrace>,
    /// `[b, t, dim]`, after the final norm.
    pub final_norm: Tensor,
    /// `[b, t, vocab]`.
    pub logits: Tensor,
}

/// What happened inside one layer.
#[derive(Debug, Clone)]
pub struct LayerTrace {
    /// `[b, t, dim]`, what attention added to the residual stream.
    pub attn_out: Tensor,
    /// `[b, t, dim]`, what the feed-forward part added.
    pub mlp_out: Tensor,
    /// `[b, t, dim]`, the residual stream after the layer.
    pub hidden: Tensor,
    /// The router's decisions over the `b · t` tokens, in a layer of experts.
    pub routing: Option<Routing>,
    /// The keys chosen by this layer's own indexer.
    pub selection: Option<Selection>,
}

impl Decoder {
    /// Builds the decoder that `spec` describes from `parameters`.
    ///
    /// # Errors
    /// When a parameter is missing or has another shape (the message names it).
    pub fn new(spec: &ModelSpec, parameters: &Parameters) -> Result<Self> {
        let p = parameters;
        let vocabulary = [spec.vocab_size, spec.dim];
        let tok_embeddings = parameter(p, "tok_embeddings.weight", &vocabulary)?;
        let output = if spec.tied_embeddings {
            Linear::from_weight(tok_embeddings.clone())
        } else {
            Linear::new(p, "output.weight", spec.vocab_size, spec.dim)?
        };
        let alpha = match spec.rope.learned_scale {
            true => Some(parameter(p, "lerope.alpha", &[spec.rope.dim / 2])?),
            false => None,
        };
        Ok(Self {
            layers: (0..spec.n_layers)
                .map(|i| Layer::new(p, spec, i))
                .collect::<Result<_>>()?,
            norm: RmsNorm::new(p, "norm.weight", spec.dim, spec.norm_eps)?,
            spec: spec.clone(),
            tok_embeddings,
            alpha,
            output,
        })
    }

    /// The description this decoder was built from.
    #[must_use]
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Logits `[b, t, vocab]` of token ids `[b, t]` (u32), each sequence from position 0.
    ///
    /// # Errors
    /// On an id outside the vocabulary, an empty sequence, and router logits that aren't finite.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        Ok(self.forward_traced(ids)?.logits)
    }

    /// Like [`Decoder::forward`], with everything in between. All tensors but the discrete choices
    /// carry gradients.
    ///
    /// # Errors
    /// As [`Decoder::forward`].
    pub fn forward_traced(&self, ids: &Tensor) -> Result<Trace> {
        self.forward_disturbed(ids, &|x| Ok(x.clone()))
    }

    /// Like [`Decoder::forward_traced`], with `disturb` applied to the embedded tokens and to
    /// whatever attention and feed-forward parts add to the residual stream, all `[b · t, dim]`:
    /// where GPT-2 drops activations out in training.
    ///
    /// # Errors
    /// As [`Decoder::forward`], and those of `disturb`.
    pub fn forward_disturbed(&self, ids: &Tensor, disturb: &Disturb) -> Result<Trace> {
        let (b, t) = ids.dims2()?;
        if b == 0 || t == 0 {
            candle_core::bail!("expected at least one token, found ids of shape [{b}, {t}]");
        }
        let (dtype, device) = (self.tok_embeddings.dtype(), ids.device());
        let mut context = Context {
            b,
            t,
            angles: Angles::new(&self.spec.rope, self.alpha.as_ref(), t, dtype, device)?,
            keys: vec![None; self.layers.len()],
            selection: None,
        };
        let by_sequence = |x: &Tensor| x.reshape((b, t, ()));
        let mut x = disturb(&self.tok_embeddings.index_select(&ids.flatten_all()?, 0)?)?;
        let embed = by_sequence(&x)?;
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let (next, trace) = layer.forward(&x, &mut context, disturb)?;
            x = next;
            layers.push(trace);
        }
        let x = self.norm.forward(&x)?;
        let mut logits = self.output.forward(&x)?;
        if let Some(cap) = self.spec.logit_softcap {
            logits = ((logits / cap)?.tanh()? * cap)?;
        }
        Ok(Trace {
            embed,
            layers,
            final_norm: by_sequence(&x)?,
            logits: by_sequence(&logits)?,
        })
    }

    /// The `n` tokens that follow `prompt` greedily, ties to the lower id.
    ///
    /// Runs the whole prefix again for every token: for checks, not for speed.
    ///
    /// # Errors
    /// As [`Decoder::forward`].
    pub fn greedy(&self, prompt: &[u32], n: usize) -> Result<Vec<u32>> {
        let mut ids = prompt.to_vec();
        for _ in 0..n {
            let input = Tensor::new(&ids[..], self.tok_embeddings.device())?.unsqueeze(0)?;
            let logits = self.forward(&input)?;
            let last = logits
                .get(0)?
                .get(ids.len() - 1)?
                .to_dtype(candle_core::DType::F32)?;
            let mut best = (0, f32::NEG_INFINITY);
            for (id, &logit) in last.to_vec1::<f32>()?.iter().enumerate() {
                if logit > best.1 {
                    best = (id as u32, logit);
                }
            }
            ids.push(best.0);
        }
        Ok(ids.split_off(prompt.len()))
    }
}

impl Layer {
    fn new(p: &Parameters, spec: &ModelSpec, i: usize) -> Result<Self> {
        let norm = |name: &str| {
            RmsNorm::new(
                p,
                &format!("layers.{i}.{name}.weight"),
                spec.dim,
                spec.norm_eps,
            )
        };
        let feed_forward = match (spec.layers[i].feed_forward, &spec.moe) {
            (FeedForward::Dense, _) => {
                let prefix = format!("layers.{i}.feed_forward");
                Ffn::Dense(SwiGlu::new(p, &prefix, spec.dim, spec.hidden_dim)?)
            }
            (FeedForward::Moe, Some(moe)) => Ffn::Moe(Moe::new(p, i, spec.dim, moe)?),
            (FeedForward::Moe, None) => {
                candle_core::bail!("layer {i} has experts, but their dimensions are missing")
            }
        };
        Ok(Self {
            attention_norm: norm("attention_norm")?,
            attention: Attention::new(p, spec, i)?,
            ffn_norm: norm("ffn_norm")?,
            feed_forward,
        })
    }

    /// `[b·t, dim]` to the same shape.
    fn forward(
        &self,
        x: &Tensor,
        context: &mut Context,
        disturb: &Disturb,
    ) -> Result<(Tensor, LayerTrace)> {
        let attn_out = self
            .attention
            .forward(&self.attention_norm.forward(x)?, context)?;
        let attn_out = disturb(&attn_out)?;
        let x = (x + &attn_out)?;
        let normed = self.ffn_norm.forward(&x)?;
        let (mlp_out, routing) = match &self.feed_forward {
            Ffn::Dense(swiglu) => (swiglu.forward(&normed)?, None),
            Ffn::Moe(moe) => {
                let (out, routing) = moe.forward(&normed)?;
                (out, Some(routing))
            }
        };
        let mlp_out = disturb(&mlp_out)?;
        let hidden = (x + &mlp_out)?;
        let by_sequence = |x: &Tensor| x.reshape((context.b, context.t, ()));
        let trace = LayerTrace {
            attn_out: by_sequence(&attn_out)?,
            mlp_out: by_sequence(&mlp_out)?,
            hidden: by_sequence(&hidden)?,
            routing,
            selection: self.attention.own_selection(context),
        };
        Ok((hidden, trace))
    }
}
