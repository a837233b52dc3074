//! A model's tensors, counted once for who asks often.

use super::flops::{attention_decode, attention_prefill};
use super::layers::{LayerKind, kinds};
use super::memory::{expected_experts, kept_values, read_values, role_bits};
use super::parameters::{Group, Part, groups};
use crate::model::ModelSpec;
use crate::plan::KvPrecision;
use crate::precision::Precision;

/// What follows from the [`groups`] and the layers of a model, whatever it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    /// By precision, in the order of [`Precision::ALL`].
    sizes: Vec<Sizes>,
    /// Experts, and those a token uses.
    experts: Option<(usize, usize)>,
    kinds: Vec<LayerKind>,
    /// Operations of the matrices that one token passes; the output projection is counted apart,
    /// because a prefill needs it for its last token only.
    body_flops: f64,
    output_flops: f64,
}

/// Bytes of weights in one precision.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sizes {
    precision: Precision,
    all: f64,
    /// What every step reads.
    always: f64,
    /// Of all routed experts.
    experts: f64,
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
            sizes: Precision::ALL
                .iter()
                .map(|&p| Sizes::new(&groups, spec.tied_embeddings, p))
                .collect(),
            experts: experts.map(|m| (m.num_experts, m.num_experts_per_tok)),
            kinds: kinds(spec),
            body_flops,
            output_flops,
        }
    }

    fn sizes(&self, precision: Precision) -> Sizes {
        let found = self.sizes.iter().find(|s| s.precision == precision);
        *found.expect("all precisions were counted")
    }

    /// As [`weight_bytes`](super::weight_bytes).
    #[must_use]
    pub fn weight_bytes(&self, precision: Precision) -> u64 {
        self.sizes(precision).all as u64
    }

    /// As [`decode_read_bytes`](super::decode_read_bytes).
    #[must_use]
    pub fn decode_read_bytes(&self, precision: Precision, batch: f64) -> f64 {
        let share = self.experts.map_or(0.0, |(all, used)| {
            expected_experts(all, used, batch) / all.max(1) as f64
        });
        let sizes = self.sizes(precision);
        sizes.always + share * sizes.experts
    }

    /// As [`kv_bytes`](super::kv_bytes); `spec` is the one that was counted.
    #[must_use]
    pub fn kv_bytes(&self, spec: &ModelSpec, tokens: usize, kv: KvPrecision) -> f64 {
        kept_values(spec, &self.kinds, tokens) * kv.bytes()
    }

    /// As [`kv_read_bytes`](super::kv_read_bytes); `spec` is the one that was counted.
    #[must_use]
    pub fn kv_read_bytes(&self, spec: &ModelSpec, depth: usize, kv: KvPrecision) -> f64 {
        read_values(spec, &self.kinds, depth) * kv.bytes()
    }

    /// As [`decode_flops`](super::decode_flops); `spec` is the one that was counted.
    #[must_use]
    pub fn decode_flops(&self, spec: &ModelSpec, depth: usize) -> f64 {
        self.body_flops + self.output_flops + attention_decode(spec, &self.kinds, depth)
    }

    /// As [`prefill_flops`](super::prefill_flops); `spec` is the one that was counted.
    #[must_use]
    pub fn prefill_flops(&self, spec: &ModelSpec, tokens: usize, past: usize) -> f64 {
        self.body_flops * tokens as f64
            + self.output_flops
            + attention_prefill(spec, &self.kinds, tokens, past)
    }
}

impl Sizes {
    fn new(groups: &[Group], tied_embeddings: bool, precision: Precision) -> Self {
        let (mut all, mut always, mut experts) = (0.0, 0.0, 0.0);
        for g in groups {
            let bits = role_bits(tied_embeddings, precision, g.role);
            let bytes = g.total as f64 * bits / 8.0;
            all += bytes;
            match g.part {
                // One row of it.
                Part::Embedding if !tied_embeddings => {}
                Part::Experts => experts += bytes,
                _ => always += bytes,
            }
        }
        Self {
            precision,
            all,
            always,
            experts,
        }
    }
}
