//! What kernels need to know of a model and of a device.

use mistral_core::hardware::{DeviceKind, HardwareTable};
use mistral_core::model::{
    AttentionKind, FeedForward, ModelSpec, PositionScale, RopeLayout, Scoring,
};
use mistral_core::plan::{KvPrecision, Plan};
use mistral_core::precision::Precision;

use super::TARGET;
use crate::CodegenError;
use crate::targets::{shown, unsupported};

/// Widest row and largest number of rows that index arithmetic in 32 bits holds with room to spare.
const MOST_SIZE: usize = 1 << 20;
/// Most sequences that are decoded together.
const MOST_TOKENS: u32 = 256;
/// Longest context: positions are 32-bit.
const MOST_CONTEXT: u32 = 1 << 26;

/// A decoder's dimensions, as its kernels have them; all of one layer are alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Width of the residual stream.
    pub dim: u32,
    /// Inner width of the feed-forward part, of one expert's where there are some.
    pub hidden_dim: u32,
    /// Query heads.
    pub n_heads: u32,
    /// Key and value heads.
    pub n_kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Experts; 1 for a dense model.
    pub experts: u32,
    /// Experts a token; 1 for a dense model.
    pub experts_per_token: u32,
    /// Rows of the head.
    pub vocab: u32,
    /// Bits of a weight of the layers: 16 (bfloat16) or 4. Router and head have 16.
    pub weight_bits: u32,
    /// Elements that share a scale, where weights have four bits.
    pub group: u32,
    /// Sequences that are decoded together at most.
    pub max_tokens: u32,
    /// Positions that a cache is sized for.
    pub context: u32,
    /// Pairing of a head's elements.
    pub rope_interleaved: bool,
    /// Base of the rotation's frequencies.
    pub rope_theta: f64,
    /// Epsilon of the norms.
    pub norm_eps: f64,
    /// Factor on scores before the softmax.
    pub softmax_scale: f64,
    /// Factor on the experts' weights.
    pub routed_scale: f64,
}

fn refuse(field: &'static str, found: impl std::fmt::Display, expected: &str) -> CodegenError {
    unsupported(TARGET, field, found, expected)
}

impl Shape {
    /// The shape of a plan's model on one device.
    ///
    /// # Errors
    /// [`CodegenError::Unsupported`] with the field that the kernels don't have: another attention than
    /// grouped-query, changed rotation, shared experts, a precision other than bf16 or four bits, more than
    /// one device, sizes that aren't multiples of eight, and the like.
    pub fn of(plan: &Plan) -> Result<Self, CodegenError> {
        let spec = plan
            .spec
            .as_ref()
            .ok_or_else(|| refuse("spec", "absent", "the model's dimensions"))?;
        spec.validate()
            .map_err(|e| refuse("spec", e, "a specification that is whole"))?;
        plain_layers(spec)?;
        let placement = &plan.placement;
        if placement.tensor_parallel != 1 || placement.pipeline_parallel != 1 {
            return Err(refuse(
                "placement.tensor_parallel",
                placement.tensor_parallel,
                "1: kernels for whole layers",
            ));
        }
        if !matches!(plan.kv_precision, KvPrecision::Auto | KvPrecision::Bf16) {
            return Err(refuse(
                "kv_precision",
                shown(&format!("{:?}", plan.kv_precision)),
                "auto or bf16",
            ));
        }
        let weight_bits = match plan.precision {
            Precision::Bf16 => 16,
            Precision::Q4_0
            | Precision::Q4KM
            | Precision::Q4KS
            | Precision::Awq
            | Precision::Gptq => 4,
            other => {
                return Err(refuse(
                    "precision",
                    other,
                    "bf16, q4_0, q4_k_m, q4_k_s, awq or gptq",
                ));
            }
        };
        let AttentionKind::Gqa(gqa) = &spec.attention else {
            return Err(refuse(
                "spec.attention",
                "latent attention",
                "grouped-query attention",
            ));
        };
        let (experts, experts_per_token, hidden_dim, routed_scale) = match &spec.moe {
            Some(m) => (
                m.num_experts,
                m.num_experts_per_tok,
                m.expert_hidden_dim,
                m.routed_scale,
            ),
            None => (1, 1, spec.hidden_dim, 1.0),
        };
        let widths = [
            spec.dim,
            hidden_dim,
            spec.n_heads.saturating_mul(gqa.head_dim),
        ];
        let group = [128_u32, 64, 32]
            .into_iter()
            .find(|group| {
                widths
                    .iter()
                    .all(|width| width.is_multiple_of(*group as usize))
            })
            .ok_or_else(|| refuse("spec.dim", spec.dim, "widths that are multiples of 32"))?;
        let shape = Self {
            dim: size("spec.dim", spec.dim)?,
            hidden_dim: size("spec.hidden_dim", hidden_dim)?,
            n_heads: size("spec.n_heads", spec.n_heads)?,
            n_kv_heads: size("spec.attention.n_kv_heads", gqa.n_kv_heads)?,
            head_dim: size("spec.attention.head_dim", gqa.head_dim)?,
            experts: size("spec.moe.num_experts", experts)?,
            experts_per_token: size("spec.moe.num_experts_per_tok", experts_per_token)?,
            vocab: size("spec.vocab_size", spec.vocab_size)?,
            weight_bits,
            group,
            max_tokens: plan.limits.concurrency,
            context: plan.limits.context_tokens,
            rope_interleaved: spec.rope.layout == RopeLayout::Interleaved,
            rope_theta: spec.rope.theta,
            norm_eps: spec.norm_eps,
            softmax_scale: spec.softmax_scale,
            routed_scale,
        };
        shape.check()?;
        Ok(shape)
    }

    /// A small model of the same kind, for a run without a device: head width, ratio of heads, chosen experts and
    /// format stay; rows don't fill their last block.
    pub(super) fn reduced(&self) -> Self {
        let group = self.group;
        Self {
            dim: 3 * group.max(64),
            hidden_dim: 5 * group.max(64),
            n_heads: 2 * (self.n_heads / self.n_kv_heads),
            n_kv_heads: 2,
            experts: self.experts.min(self.experts_per_token.max(4)),
            vocab: 301,
            max_tokens: self.max_tokens.min(3),
            context: 151,
            ..*self
        }
    }

    fn check(&self) -> Result<(), CodegenError> {
        if !(1..=MOST_TOKENS).contains(&self.max_tokens) {
            return Err(refuse("limits.concurrency", self.max_tokens, "1 to 256"));
        }
        if !(1..=MOST_CONTEXT).contains(&self.context) {
            return Err(refuse(
                "limits.context_tokens",
                self.context,
                "1 to 67108864",
            ));
        }
        if !matches!(self.head_dim, 32 | 64 | 128 | 256) {
            return Err(refuse(
                "spec.attention.head_dim",
                self.head_dim,
                "32, 64, 128 or 256",
            ));
        }
        // A lane remembers which of its experts are taken in one word.
        if self.experts > 1024 || self.experts_per_token > 16 {
            return Err(refuse(
                "spec.moe.num_experts",
                self.experts,
                "at most 1024, at most 16 of them a token",
            ));
        }
        if u64::from(self.n_heads) * u64::from(self.head_dim) > MOST_SIZE as u64 {
            return Err(refuse(
                "spec.n_heads",
                self.n_heads,
                "heads of a width below 2^20 together",
            ));
        }
        Ok(())
    }
}

fn size(field: &'static str, value: usize) -> Result<u32, CodegenError> {
    match u32::try_from(value) {
        Ok(small) if (1..=MOST_SIZE).contains(&value) => Ok(small),
        _ => Err(refuse(field, value, "1 to 1048576")),
    }
}

/// Refuses what would change the numbers and isn't in the kernels.
fn plain_layers(spec: &ModelSpec) -> Result<(), CodegenError> {
    let odd = |field, found: &str, expected: &str| Err(refuse(field, found, expected));
    if spec.rope.yarn.is_some() || spec.rope.learned_scale || spec.rope.attention_factor != 1.0 {
        return odd("spec.rope", "scaled frequencies", "plain rotary positions");
    }
    if spec.rope.dim != spec.head_dim() {
        return odd("spec.rope.dim", "a part of the head", "the whole head");
    }
    if spec.position_scale != PositionScale::None
        || spec.logit_softcap.is_some()
        || spec.indexer.is_some()
    {
        return odd(
            "spec.position_scale",
            "scaled queries, capped logits or an indexer",
            "none of them",
        );
    }
    let wanted = if spec.moe.is_some() {
        FeedForward::Moe
    } else {
        FeedForward::Dense
    };
    if spec
        .layers
        .iter()
        .any(|l| l.feed_forward != wanted || !l.rope)
    {
        return odd(
            "spec.layers",
            "layers of different kinds",
            "layers that all rotate and have the same feed-forward part",
        );
    }
    if let Some(m) = &spec.moe {
        let plain = m.scoring == Scoring::Softmax
            && m.normalize
            && m.num_shared_experts == 0
            && m.num_expert_groups == 1;
        if !plain {
            return odd(
                "spec.moe",
                "shared experts, groups or another scoring",
                "softmax over the chosen experts",
            );
        }
    }
    Ok(())
}

/// What one block and one multiprocessor of a device have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Compute capability times ten: 80 for 8.0.
    pub sm: u32,
    /// Threads of a block.
    pub threads_a_block: u32,
    /// Shared memory that a block may ask for, in bytes.
    pub shared_a_block: u32,
    /// Registers of a multiprocessor, and the most that a thread has.
    pub registers: u32,
    /// Registers of one thread.
    pub registers_a_thread: u32,
    /// Whether it is a server's card, with more multiprocessors to fill.
    pub datacenter: bool,
}

impl Limits {
    /// Limits of a compute capability; `None` for one that CUDA 13 doesn't compile for or that isn't known.
    ///
    /// Shared memory of a multiprocessor is that of `cuda_occupancy.h` in CUDA 13.0, of which a block gets all
    /// but one KiB; threads and registers are the same for all of them.
    #[must_use]
    pub fn of_capability(sm: u32, datacenter: bool) -> Option<Self> {
        let kib = match sm {
            75 => 64 + 1,
            80 | 87 => 164,
            86 | 89 | 120 | 121 => 100,
            90 | 100 | 103 | 110 => 228,
            _ => return None,
        };
        Some(Self {
            sm,
            threads_a_block: 1024,
            shared_a_block: (kib - 1) * 1024,
            registers: 65_536,
            registers_a_thread: 255,
            datacenter,
        })
    }

    /// Limits of the plan's device, by the hardware table.
    ///
    /// # Errors
    /// [`CodegenError::Unsupported`] for a device that the table doesn't have, or that no CUDA 13 compiles for.
    pub fn of(plan: &Plan) -> Result<Self, CodegenError> {
        let name = &plan.placement.device;
        let device = HardwareTable::embedded().find(name);
        let capability = device.and_then(|d| d.compute_capability);
        let limits = capability.and_then(|c| {
            let datacenter = device.is_some_and(|d| d.kind == DeviceKind::DatacenterGpu);
            Self::of_capability((c * 10.0).round() as u32, datacenter)
        });
        limits.ok_or_else(|| {
            refuse(
                "placement.device",
                shown(name),
                "a device of the hardware table with compute capability 7.5 or newer",
            )
        })
    }

    /// The architecture as compilers call it: 9.0 with its own instructions.
    #[must_use]
    pub fn arch(&self) -> String {
        match self.sm {
            90 => "90a".to_owned(),
            sm => sm.to_string(),
        }
    }
}
