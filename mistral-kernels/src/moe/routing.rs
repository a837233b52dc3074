//! What a router decided.

use crate::KernelError;
use crate::error::{check_len, check_rows};

/// The experts of each token and their weights, both `[t, top_k]`, heaviest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    top_k: usize,
    experts: Vec<u32>,
    weights: Vec<f32>,
}

/// How tokens were spread over experts.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertLoad {
    /// Tokens that each expert was given.
    pub tokens_per_expert: Vec<u32>,
    /// Entropy of the distribution over experts, in nats; `ln(num_experts)` when even.
    pub entropy: f64,
    /// Load of the busiest expert over the mean load; 1 when even, 0 without tokens.
    pub max_over_mean: f64,
}

impl Routing {
    /// Room for `max_tokens` tokens with `top_k` experts each; grows when that is exceeded.
    #[must_use]
    pub fn new(max_tokens: usize, top_k: usize) -> Self {
        let len = max_tokens.saturating_mul(top_k);
        Self {
            top_k,
            experts: Vec::with_capacity(len),
            weights: Vec::with_capacity(len),
        }
    }

    /// A routing made elsewhere, both parts `[t, top_k]`.
    ///
    /// # Errors
    /// When the lengths differ or aren't a multiple of `top_k`.
    pub fn from_parts(
        top_k: usize,
        experts: Vec<u32>,
        weights: Vec<f32>,
    ) -> Result<Self, KernelError> {
        check_rows("routing", "experts", experts.len(), top_k)?;
        check_len("routing", "weights", weights.len(), experts.len())?;
        Ok(Self {
            top_k,
            experts,
            weights,
        })
    }

    /// Experts a token.
    #[must_use]
    pub fn top_k(&self) -> usize {
        self.top_k
    }

    /// Number of tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.experts.len().checked_div(self.top_k).unwrap_or(0)
    }

    /// Expert ids `[t, top_k]`.
    #[must_use]
    pub fn experts(&self) -> &[u32] {
        &self.experts
    }

    /// Weights `[t, top_k]`, descending in each row.
    #[must_use]
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Load of `num_experts` experts; ids beyond that aren't counted.
    #[must_use]
    pub fn load(&self, num_experts: usize) -> ExpertLoad {
        let mut tokens_per_expert = vec![0u32; num_experts];
        for &e in &self.experts {
            if let Some(count) = tokens_per_expert.get_mut(e as usize) {
                *count += 1;
            }
        }
        let total: f64 = tokens_per_expert.iter().map(|&c| f64::from(c)).sum();
        let share = |c: u32| f64::from(c) / total;
        let entropy = tokens_per_expert
            .iter()
            .filter(|&&c| c > 0)
            .map(|&c| -share(c) * share(c).ln())
            .sum();
        let most = tokens_per_expert.iter().copied().max().unwrap_or(0);
        let max_over_mean = if total > 0.0 {
            share(most) * num_experts as f64
        } else {
            0.0
        };
        ExpertLoad {
            tokens_per_expert,
            entropy,
            max_over_mean,
        }
    }

    pub(super) fn start(&mut self, top_k: usize) {
        self.top_k = top_k;
        self.experts.clear();
        self.weights.clear();
    }

    pub(super) fn push(&mut self, expert: u32, weight: f32) {
        self.experts.push(expert);
        self.weights.push(weight);
    }
}
