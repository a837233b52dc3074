//! The definitions of the operations, accumulated in f64.

use crate::{Attention, Matrix, RopeLayout, Router, Scoring};

/// A result and, for each element, the sum of the magnitudes that were added up for it.
#[derive(Debug, Clone)]
pub struct Sums {
    /// The result.
    pub value: Vec<f64>,
    /// What rounding errors scale with.
    pub magnitude: Vec<f64>,
}

/// `x · Wᵀ`.
#[must_use]
pub fn linear(w: &Matrix<'_>, x: &[f32]) -> Sums {
    let mut sums = Sums {
        value: Vec::new(),
        magnitude: Vec::new(),
    };
    let mut weights = vec![0.0; w.data().len()];
    w.data().widen(0, &mut weights);
    for x in x.chunks_exact(w.cols()) {
        for row in weights.chunks_exact(w.cols()) {
            let (mut value, mut magnitude) = (0.0, 0.0);
            for (w, x) in row.iter().zip(x) {
                let product = f64::from(*w) * f64::from(*x);
                value += product;
                magnitude += product.abs();
            }
            sums.value.push(value);
            sums.magnitude.push(magnitude);
        }
    }
    sums
}

/// RMS norm of each row.
#[must_use]
pub fn rms_norm(x: &[f32], w: &[f32], eps: f32) -> Vec<f64> {
    let row = |x: &[f32]| -> Vec<f64> {
        let squares: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        let scale = 1.0 / (squares / x.len() as f64 + f64::from(eps)).sqrt();
        let pairs = x.iter().zip(w);
        pairs
            .map(|(&x, &w)| f64::from(x) * scale * f64::from(w))
            .collect()
    };
    x.chunks_exact(w.len()).flat_map(row).collect()
}

/// Layer norm of each row.
#[must_use]
pub fn layer_norm(x: &[f32], w: &[f32], b: &[f32], eps: f32) -> Vec<f64> {
    let row = |x: &[f32]| -> Vec<f64> {
        let n = x.len() as f64;
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = x
            .iter()
            .map(|&v| (f64::from(v) - mean).powi(2))
            .sum::<f64>()
            / n;
        let scale = 1.0 / (variance + f64::from(eps)).sqrt();
        (0..x.len())
            .map(|i| (f64::from(x[i]) - mean) * scale * f64::from(w[i]) + f64::from(b[i]))
            .collect()
    };
    x.chunks_exact(w.len()).flat_map(row).collect()
}

/// `silu(gate) · up`.
#[must_use]
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f64> {
    let pairs = gate.iter().zip(up);
    pairs
        .map(|(&g, &u)| f64::from(g) / (1.0 + (-f64::from(g)).exp()) * f64::from(u))
        .collect()
}

/// One head `x` rotated by `angles`, one a pair.
#[must_use]
pub fn rope_head(layout: RopeLayout, x: &[f32], angles: &[f64]) -> Vec<f64> {
    let mut out: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
    for (i, angle) in angles.iter().enumerate() {
        let (a, b) = match layout {
            RopeLayout::Interleaved => (2 * i, 2 * i + 1),
            RopeLayout::HalfSplit => (i, i + angles.len()),
        };
        let (x, y) = (out[a], out[b]);
        out[a] = x * angle.cos() - y * angle.sin();
        out[b] = y * angle.cos() + x * angle.sin();
    }
    out
}

/// Keys or values by head, position and element.
pub type At<'a> = &'a dyn Fn(usize, usize, usize) -> f32;

/// Attention of queries `[t, heads, d]`, the first at `first_position`, to the positions that
/// `visible(query, position)` allows among all up to the query's own.
#[must_use]
pub fn attention(
    attention: &Attention,
    q: &[f32],
    (first_position, kv_heads): (usize, usize),
    (d, k): (usize, At<'_>),
    (dv, v): (usize, At<'_>),
    visible: &dyn Fn(usize, usize) -> bool,
) -> Vec<f64> {
    let heads = attention.n_heads;
    let mut out = Vec::new();
    for (row, q) in q.chunks_exact(d).enumerate() {
        let (i, h) = (row / heads, row % heads / (heads / kv_heads));
        let position = first_position + i;
        let inside = |p: &usize| attention.window.is_none_or(|w| position - p < w);
        let seen: Vec<usize> = (0..=position)
            .filter(|p| inside(p) && visible(i, *p))
            .collect();
        let dot = |&p: &usize| -> f64 {
            let sum: f64 = (0..d)
                .map(|j| f64::from(q[j]) * f64::from(k(h, p, j)))
                .sum();
            sum * f64::from(attention.scale)
        };
        let scores: Vec<f64> = seen.iter().map(dot).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for j in 0..dv {
            let mixed: f64 = seen
                .iter()
                .zip(&weights)
                .map(|(&p, w)| w * f64::from(v(h, p, j)))
                .sum();
            out.push(if seen.is_empty() { 0.0 } else { mixed / sum });
        }
    }
    out
}

/// A row as a cache of [`CacheType::Q8`](crate::CacheType) holds it: blocks of 32 in multiples of a
/// 127th of the largest magnitude, which is rounded up to bf16.
#[must_use]
pub fn round_q8(row: &[f32]) -> Vec<f32> {
    let round = |block: &[f32]| -> Vec<f32> {
        let most = block.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let step = f32::from_bits((((most / 127.0).to_bits() + 0xffff) >> 16) << 16);
        let nearest = |v: &f32| (v * (1.0 / step)).round_ties_even() * step;
        block
            .iter()
            .map(|v| if step == 0.0 { 0.0 } else { nearest(v) })
            .collect()
    };
    row.chunks(32).flat_map(round).collect()
}

/// The chosen experts of one token and their weights, heaviest first.
#[must_use]
pub fn route(router: &Router, logits: &[f32], bias: Option<&[f32]>) -> Vec<(usize, f64)> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp = |l: f32| (f64::from(l) - f64::from(max)).exp();
    let total: f64 = logits.iter().map(|&l| exp(l)).sum();
    let score = |e: usize| match router.scoring {
        Scoring::Softmax => exp(logits[e]) / total,
        Scoring::Sigmoid => 1.0 / (1.0 + (-f64::from(logits[e])).exp()),
    };
    let choice = |e: usize| score(e) + bias.map_or(0.0, |b| f64::from(b[e]));
    let width = router.num_experts / router.groups;
    let group_score = |g: usize| {
        let mut scores: Vec<f64> = (g * width..(g + 1) * width).map(choice).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        scores.iter().take(2).sum::<f64>()
    };
    let mut groups: Vec<usize> = (0..router.groups).collect();
    groups.sort_by(|&a, &b| group_score(b).total_cmp(&group_score(a)).then(a.cmp(&b)));
    groups.truncate(router.groups_per_token);
    let mut chosen: Vec<usize> = (0..router.num_experts)
        .filter(|e| groups.contains(&(e / width)))
        .collect();
    chosen.sort_by(|&a, &b| choice(b).total_cmp(&choice(a)).then(a.cmp(&b)));
    chosen.truncate(router.top_k);
    let sum: f64 = chosen.iter().map(|&e| score(e)).sum();
    chosen.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
    let weigh = |e: usize| {
        let divisor = if router.normalize { sum + 1e-20 } else { 1.0 };
        score(e) / divisor * f64::from(router.routed_scale)
    };
    chosen.into_iter().map(|e| (e, weigh(e))).collect()
}

/// One SwiGLU feed-forward of one token: `w2 · (silu(w1 · x) · (w3 · x))`.
#[must_use]
pub fn feed_forward(w1: &Matrix<'_>, w2: &Matrix<'_>, w3: &Matrix<'_>, x: &[f32]) -> Vec<f64> {
    let product = |w: &Matrix<'_>, r: usize, x: &[f64]| -> f64 {
        x.iter()
            .enumerate()
            .map(|(c, x)| f64::from(w.data().get(r * w.cols() + c)) * x)
            .sum()
    };
    let x: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
    let inner: Vec<f64> = (0..w1.rows())
        .map(|r| {
            let g = product(w1, r, &x);
            g / (1.0 + (-g).exp()) * product(w3, r, &x)
        })
        .collect();
    (0..w2.rows()).map(|r| product(w2, r, &inner)).collect()
}

/// The positions `0..=last` with the highest `Σ_h weights[h] · relu(q_h · k)`, ascending.
#[must_use]
pub fn index_topk(
    (heads, d, topk): (usize, usize, usize),
    q: &[f32],
    weights: &[f32],
    key: &dyn Fn(usize, usize) -> f32,
    last: usize,
) -> Vec<u32> {
    let score = |p: usize| -> f64 {
        (0..heads)
            .map(|h| {
                let dot: f64 = (0..d)
                    .map(|j| f64::from(q[h * d + j]) * f64::from(key(p, j)))
                    .sum();
                f64::from(weights[h]) * dot.max(0.0)
            })
            .sum()
    };
    let scores: Vec<f64> = (0..=last).map(score).collect();
    let mut order: Vec<u32> = (0..=last as u32).collect();
    order.sort_by(|&a, &b| {
        let by_score = scores[b as usize].total_cmp(&scores[a as usize]);
        by_score.then(a.cmp(&b))
    });
    order.truncate(topk);
    order.sort_unstable();
    order
}
