//! From logits to experts.

use super::Routing;
use crate::KernelError;
use crate::error::{check_len, check_rows};

/// How a router's logits become scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scoring {
    /// Softmax over all experts (Mixtral, Small 4, Large 3, Large 4).
    Softmax,
    /// Sigmoid of each logit (DeepSeek-V3).
    Sigmoid,
}

/// Parameters of a router.
///
/// Scores are f32. Experts are chosen by score plus bias (if there is one), ties to the lower id,
/// and weighted by score alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Router {
    /// Experts to choose from; at most [`Router::MAX_EXPERTS`].
    pub num_experts: usize,
    /// Experts chosen a token.
    pub top_k: usize,
    /// Logits to scores.
    pub scoring: Scoring,
    /// Equal groups of consecutive experts; 1 is no grouping.
    pub groups: usize,
    /// Groups a token may choose from: those with the highest sum of their two best scores.
    pub groups_per_token: usize,
    /// Whether the chosen scores are divided by their sum. For softmax this equals a softmax over
    /// the chosen logits.
    pub normalize: bool,
    /// Factor on the weights, applied last.
    pub routed_scale: f32,
}

impl Router {
    /// Most experts that a router chooses from: four times the largest released model's, so that
    /// a token's scores stay on the stack.
    pub const MAX_EXPERTS: usize = 2048;

    /// Mixtral's router: softmax, `top_k` of `num_experts`, weights that sum to 1.
    #[must_use]
    pub fn softmax(num_experts: usize, top_k: usize) -> Self {
        Self {
            num_experts,
            top_k,
            scoring: Scoring::Softmax,
            groups: 1,
            groups_per_token: 1,
            normalize: true,
            routed_scale: 1.0,
        }
    }

    fn check(&self) -> Result<(), KernelError> {
        let bad = |parameter, found, expected| {
            Err(KernelError::Parameter {
                op: "router",
                parameter,
                found,
                expected,
            })
        };
        if self.num_experts == 0 || self.num_experts > Self::MAX_EXPERTS {
            return bad("num_experts", self.num_experts, "1 to 2048");
        }
        if self.groups == 0 || !self.num_experts.is_multiple_of(self.groups) {
            return bad("groups", self.groups, "a divisor of num_experts");
        }
        if self.groups_per_token == 0 || self.groups_per_token > self.groups {
            return bad("groups_per_token", self.groups_per_token, "1 to groups");
        }
        let reachable = self.num_experts / self.groups * self.groups_per_token;
        if self.top_k == 0 || self.top_k > reachable {
            return bad(
                "top_k",
                self.top_k,
                "1 to the experts of the groups a token may choose from",
            );
        }
        Ok(())
    }
}

/// Routes each row of `logits [t, num_experts]`; `bias [num_experts]` is added for the choice only.
///
/// # Errors
/// When a parameter or length doesn't fit or a bias isn't finite, and
/// [`KernelError::NonFiniteRouterLogit`] for the first logit that is NaN or infinite (`out` then
/// holds the tokens before it).
pub fn route(
    router: &Router,
    logits: &[f32],
    bias: Option<&[f32]>,
    out: &mut Routing,
) -> Result<(), KernelError> {
    router.check()?;
    let n = router.num_experts;
    check_rows("router", "logits", logits.len(), n)?;
    if let Some(bias) = bias {
        check_len("router", "bias", bias.len(), n)?;
        if let Some(expert) = bias.iter().position(|v| !v.is_finite()) {
            let value = bias[expert];
            return Err(KernelError::NonFiniteRouterBias { expert, value });
        }
    }
    out.start(router.top_k);
    let mut scores = [0.0f32; Router::MAX_EXPERTS];
    let mut choice = [0.0f32; Router::MAX_EXPERTS];
    let (scores, choice) = (&mut scores[..n], &mut choice[..n]);
    for (token, logits) in logits.chunks_exact(n).enumerate() {
        if let Some(expert) = logits.iter().position(|v| !v.is_finite()) {
            return Err(KernelError::NonFiniteRouterLogit {
                token,
                expert,
                value: logits[expert],
            });
        }
        score(router.scoring, logits, scores);
        choice.copy_from_slice(scores);
        if let Some(bias) = bias {
            for (c, b) in choice.iter_mut().zip(bias) {
                *c += b;
            }
        } else if router.groups == 1 {
            // Scores far below the best round to 0 and would tie; their logits keep the order.
            choice.copy_from_slice(logits);
        }
        if router.groups > 1 {
            keep_best_groups(router, choice);
        }
        choose(router, scores, choice, out);
    }
    Ok(())
}

fn score(scoring: Scoring, logits: &[f32], scores: &mut [f32]) {
    match scoring {
        Scoring::Softmax => {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for (s, l) in scores.iter_mut().zip(logits) {
                *s = (l - max).exp();
                sum += *s;
            }
            scores.iter_mut().for_each(|s| *s /= sum);
        }
        Scoring::Sigmoid => {
            for (s, l) in scores.iter_mut().zip(logits) {
                *s = 1.0 / (1.0 + (-l).exp());
            }
        }
    }
}

/// Sets the choice of experts outside the best groups to -∞.
fn keep_best_groups(router: &Router, choice: &mut [f32]) {
    let width = router.num_experts / router.groups;
    let mut kept = [false; Router::MAX_EXPERTS];
    let group_score = |choice: &[f32], g: usize| {
        let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        for &c in &choice[g * width..(g + 1) * width] {
            if c > first {
                (first, second) = (c, first);
            } else if c > second {
                second = c;
            }
        }
        if width == 1 { first } else { first + second }
    };
    for _ in 0..router.groups_per_token {
        let mut best: Option<(usize, f32)> = None;
        for g in (0..router.groups).filter(|&g| !kept[g]) {
            let s = group_score(choice, g);
            if best.is_none_or(|(_, b)| s > b) {
                best = Some((g, s));
            }
        }
        if let Some((g, _)) = best {
            kept[g] = true;
        }
    }
    for (g, group) in choice.chunks_exact_mut(width).enumerate() {
        if !kept[g] {
            group.fill(f32::NEG_INFINITY);
        }
    }
}

/// Takes the `top_k` best of `choice` and appends them to `out`, heaviest first.
fn choose(router: &Router, scores: &[f32], choice: &mut [f32], out: &mut Routing) {
    let mut sum = 0.0;
    let mut picked = [(0u32, 0.0f32); Router::MAX_EXPERTS];
    let picked = &mut picked[..router.top_k];
    for slot in picked.iter_mut() {
        let mut best = 0;
        for (e, c) in choice.iter().enumerate() {
            // NaN marks what was taken: it is never greater, and everything is greater than it.
            if *c > choice[best] || choice[best].is_nan() {
                best = e;
            }
        }
        choice[best] = f32::NAN;
        *slot = (best as u32, scores[best]);
        sum += scores[best];
    }
    picked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    for &(expert, score) in picked.iter() {
        let weight = if router.normalize {
            // The reference's guard against a sum of 0.
            score / (sum + 1e-20)
        } else {
            score
        };
        out.push(expert, weight * router.routed_scale);
    }
}
