//! A model's tensors, counted once for who asks often.

use super::flops::{attention_decode, attention_prefill};
use super::memory::{expected_experts, role_bits};
use super::parameters::{Group, Part, groups};
use crate::model::ModelSpec;
use crate::precision::Precision;

/// The [`groups`] of a model and what follows from them.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    groups: Vec<Group>,
    tied_embeddings: bool,
    /// Experts, and those a token uses.
    experts: Option<(usize, usize)>,
    /// Operations of the matrices that one token passes; the output projection is counted apart,
    /// because a prefill needs it for its last token only.
    body_flops: f64,
    output_flops: f64,
}

impl Counts {
    /// Counts.
    #[must_use]
    pub fn new(spec: &ModelSpec) -> Self {
        let groups = groups(spec);
        let (mut body_flops, mut output_flops) = (0.0, 0.0);
        for g in &groups {
            let flops = 2.0 * g.active as f64;
            match g.part {
                Part::Embedding if spec.tied_embeddings => output_flops += flops,
                Part::Output => output_flops += flops,
                Part::Embedding | Part::Scales => {}
                _ => body_flops += flops,
            }
        }
        let experts = spec.moe.as_ref();
        Self {
            groups,
            tied_embeddings: spec.tied_embeddings,
            experts: experts.map(|m| (m.num_experts, m.num_experts_per_tok)),
            body_flops,
            output_flops,
        }
    }

    fn bytes(&self, precision: Precision, share: impl Fn(&Group) -> f64) -> f64 {
        let bytes = |g: &Group| {
            let bits = role_bits(self.tied_embeddings, precision, g.role);
            g.total as f64 * share(g) * bits / 8.0
        };
        self.groups.iter().map(bytes).sum()
    }

    /// As [`weight_bytes`](super::weight_bytes).
    #[must_use]
    pub fn weight_bytes(&self, precision: Precision) -> u64 {
        self.bytes(precision, |_| 1.0) as u64
    }

    /// As [`decode_read_bytes`](super::decode_read_bytes).
    #[must_use]
    pub fn decode_read_bytes(&self, precision: Precision, batch: f64) -> f64 {
        let expert_share = self.experts.map_or(0.0, |(all, used)| {
            expected_experts(all, used, batch) / all.max(1) as f64
        });
        self.bytes(precision, |g| match g.part {
            Part::Embedding if self.tied_embeddings => 1.0,
            Part::Embedding => 0.0,
            Part::Experts => expert_share,
            _ => 1.0,
        })
    }

    /// As [`decode_flops`](super::decode_flops); `spec` is the one that was counted.
    #[must_use]
    pub fn decode_flops(&self, spec: &ModelSpec, depth: usize) -> f64 {
        self.body_flops + self.output_flops + attention_decode(spec, depth)
    }

    /// As [`prefill_flops`](super::prefill_flops); `spec` is the one that was counted.
    #[must_use]
    pub fn prefill_flops(&self, spec: &ModelSpec, tokens: usize, past: usize) -> f64 {
        self.body_flops * tokens as f64 + self.output_flops + attention_prefill(spec, tokens, past)
    }
}
