//! The feed-forward part of one layer: a SwiGLU, or routed and shared experts.

use mistral_core::model::{MoeSpec, Scoring};
use mistral_kernels::{Experts, KernelError, Router, experts, linear, linear_many, route, swiglu};

use super::Pass;
use super::observe::{Observer, Point};
use super::state::{Buffers, Scratch, State};
use super::weights::{FeedForwardWeights, LayerWeights, SwiGlu};

/// Reads `h`, leaves the output in `out`.
pub(super) fn run(
    pass: &Pass<'_>,
    i: usize,
    layer: &LayerWeights,
    state: &mut State,
    observer: &mut dyn Observer,
) -> Result<(), KernelError> {
    let (b, s) = (&mut state.buffers, &mut state.scratch);
    match (&layer.feed_forward, &pass.spec.moe) {
        (
            FeedForwardWeights::Moe {
                gate,
                experts: all,
                shared,
            },
            Some(moe),
        ) => {
            let (t, dim) = (pass.tokens, pass.spec.dim);
            let logits = &mut b.router_logits[..t * moe.num_experts];
            linear(
                pass.cpu,
                &gate.matrix()?,
                &b.h[..t * dim],
                logits,
                &mut s.linear,
            )?;
            observer.values(Point::RouterLogits(i), logits);
            route(&router(moe), logits, None, &mut s.routing)?;
            observer.routing(i, &s.routing);
            routed(pass, all, b, s)?;
            match shared {
                Some(shared) => add_shared(pass, shared, b, s),
                None => Ok(()),
            }
        }
        (
            FeedForwardWeights::Dense(weights)
            | FeedForwardWeights::Moe {
                shared: Some(weights),
                ..
            },
            _,
        ) => dense(pass, weights, b, s),
        (FeedForwardWeights::Moe { shared: None, .. }, None) => Ok(()),
    }
}

fn router(moe: &MoeSpec) -> Router {
    Router {
        num_experts: moe.num_experts,
        top_k: moe.num_experts_per_tok,
        scoring: match moe.scoring {
            Scoring::Softmax => mistral_kernels::Scoring::Softmax,
            Scoring::Sigmoid => mistral_kernels::Scoring::Sigmoid,
        },
        groups: moe.num_expert_groups,
        groups_per_token: moe.num_expert_groups_per_tok,
        normalize: moe.normalize,
        routed_scale: moe.routed_scale as f32,
    }
}

fn routed(
    pass: &Pass<'_>,
    all: &[SwiGlu],
    b: &mut Buffers,
    s: &mut Scratch,
) -> Result<(), KernelError> {
    let wide = pass.tokens * pass.spec.dim;
    let Some(scratch) = &mut s.experts else {
        return Ok(());
    };
    let all = Experts {
        count: all.len(),
        weights: &|e| all[e].view(),
    };
    experts(
        pass.cpu,
        &all,
        &b.h[..wide],
        &s.routing,
        &mut b.out[..wide],
        scratch,
    )
}

/// Gate and up in one go, then down into `out`.
fn dense(
    pass: &Pass<'_>,
    weights: &SwiGlu,
    b: &mut Buffers,
    s: &mut Scratch,
) -> Result<(), KernelError> {
    let wide = pass.tokens * pass.spec.dim;
    hidden(pass, weights, b, s)?;
    let inner = &b.activated[..pass.tokens * weights.w1.shape()[0]];
    linear(
        pass.cpu,
        &weights.w2.matrix()?,
        inner,
        &mut b.out[..wide],
        &mut s.linear,
    )
}

/// As [`dense`], added to what `out` holds.
fn add_shared(
    pass: &Pass<'_>,
    weights: &SwiGlu,
    b: &mut Buffers,
    s: &mut Scratch,
) -> Result<(), KernelError> {
    let wide = pass.tokens * pass.spec.dim;
    hidden(pass, weights, b, s)?;
    let inner = &b.activated[..pass.tokens * weights.w1.shape()[0]];
    // `h` is read no more in this layer.
    let shared = &mut b.h[..wide];
    linear(
        pass.cpu,
        &weights.w2.matrix()?,
        inner,
        shared,
        &mut s.linear,
    )?;
    for (out, shared) in b.out[..wide].iter_mut().zip(shared.iter()) {
        *out += shared;
    }
    Ok(())
}

/// `silu(w1 · h) · (w3 · h)` into `activated`.
fn hidden(
    pass: &Pass<'_>,
    weights: &SwiGlu,
    b: &mut Buffers,
    s: &mut Scratch,
) -> Result<(), KernelError> {
    let t = pass.tokens;
    let len = t * weights.w1.shape()[0];
    let (w1, w3) = (weights.w1.matrix()?, weights.w3.matrix()?);
    let (gate, up) = (&mut b.gate[..len], &mut b.up[..len]);
    linear_many(
        pass.cpu,
        &mut [(&w1, gate), (&w3, up)],
        &b.h[..t * pass.spec.dim],
        &mut s.linear,
    )?;
    let activated = &mut b.activated[..len];
    swiglu(pass.cpu, &b.gate[..len], &b.up[..len], activated)
}
