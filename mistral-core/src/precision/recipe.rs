//! Named precisions of whole checkpoints.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Format;

/// What a tensor does, where recipes treat tensors differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Token embedding.
    Embedding,
    /// Output projection of a model that doesn't tie it to the embedding.
    Output,
    /// Query, key or latent projection.
    AttentionInput,
    /// Value projection.
    Value,
    /// Attention's output projection.
    AttentionOutput,
    /// Gate and up projections, of experts too.
    FeedForwardIn,
    /// Down projection, of experts too.
    FeedForwardOut,
    /// Norms, routers, scales: vectors and small matrices that nobody quantises.
    Small,
}

/// A precision by the name that users and engines give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit float.
    F32,
    /// bfloat16, as most of Mistral's models are released.
    Bf16,
    /// 16-bit float, for devices without bfloat16.
    F16,
    /// 8-bit float weights (E4M3); embedding and output stay bfloat16.
    Fp8,
    /// 8-bit integer weights with a scale per row; embedding and output stay 16-bit.
    Int8,
    /// AWQ, 4 bits in groups of 128; embedding and output stay 16-bit.
    Awq,
    /// GPTQ, 4 bits in groups of 128; embedding and output stay 16-bit.
    Gptq,
    /// OCP MXFP4; embedding and output stay bfloat16.
    Mxfp4,
    /// NVIDIA's FP4; embedding and output stay bfloat16.
    Nvfp4,
    /// MLX's 4 bits in groups of 64, embedding and output too.
    #[serde(rename = "mlx_4bit")]
    Mlx4,
    /// GGUF Q8_0 throughout.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// GGUF Q6_K throughout.
    Q6K,
    /// GGUF Q5_K with Q6_K where it matters.
    Q5KM,
    /// GGUF Q5_0, output at Q6_K.
    #[serde(rename = "q5_0")]
    Q5_0,
    /// GGUF Q4_K with Q6_K where it matters.
    Q4KM,
    /// GGUF Q4_K with Q5_K where it matters most.
    Q4KS,
    /// GGUF Q4_0, output at Q6_K.
    #[serde(rename = "q4_0")]
    Q4_0,
    /// GGUF IQ4_XS.
    #[serde(rename = "iq4_xs")]
    Iq4Xs,
    /// GGUF Q3_K with Q4_K and Q5_K where it matters.
    Q3KM,
    /// GGUF Q2_K with Q3_K and Q4_K where it matters.
    Q2K,
}

/// A name that no precision has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a precision such as bf16, fp8 or q4_k_m, found {found:?}")]
pub struct UnknownPrecision {
    /// The name, at most 64 characters of it.
    pub found: String,
}

impl Precision {
    /// Every precision, widest first.
    pub const ALL: &'static [Precision] = &[
        Self::F32,
        Self::Bf16,
        Self::F16,
        Self::Fp8,
        Self::Int8,
        Self::Q8_0,
        Self::Q6K,
        Self::Q5KM,
        Self::Q5_0,
        Self::Q4KM,
        Self::Q4KS,
        Self::Q4_0,
        Self::Mlx4,
        Self::Nvfp4,
        Self::Mxfp4,
        Self::Iq4Xs,
        Self::Awq,
        Self::Gptq,
        Self::Q3KM,
        Self::Q2K,
    ];

    /// The name: lower case, as it is serialised.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Awq => "awq",
            Self::Gptq => "gptq",
            Self::Mxfp4 => "mxfp4",
            Self::Nvfp4 => "nvfp4",
            Self::Mlx4 => "mlx_4bit",
            Self::Q8_0 => "q8_0",
            Self::Q6K => "q6_k",
            Self::Q5KM => "q5_k_m",
            Self::Q5_0 => "q5_0",
            Self::Q4KM => "q4_k_m",
            Self::Q4KS => "q4_k_s",
            Self::Q4_0 => "q4_0",
            Self::Iq4Xs => "iq4_xs",
            Self::Q3KM => "q3_k_m",
            Self::Q2K => "q2_k",
        }
    }

    /// Whether files of this precision are GGUF files.
    #[must_use]
    pub fn is_gguf(self) -> bool {
        matches!(
            self,
            Self::Q8_0
                | Self::Q6K
                | Self::Q5KM
                | Self::Q5_0
                | Self::Q4KM
                | Self::Q4KS
                | Self::Q4_0
                | Self::Iq4Xs
                | Self::Q3KM
                | Self::Q2K
        )
    }

    /// The formats that a tensor of this role has and the share of its layers that have each.
    ///
    /// The shares add up to 1. For the `_M` recipes they follow `llama_tensor_get_type` of
    /// llama.cpp (`src/llama-quant.cpp`): "more bits" go to the first eighth, the last eighth and
    /// every third of the layers between, which is one half of a deep model. One tensor's format
    /// is [`Precision::gguf_format`]'s.
    #[must_use]
    pub fn formats(self, role: Role) -> [(Format, f64); 2] {
        let one = |f: Format| [(f, 1.0), (f, 0.0)];
        let half = |more: Format, base: Format| [(more, 0.5), (base, 0.5)];
        if role == Role::Small {
            return one(if self == Self::Bf16 || self == Self::F16 {
                self.base()
            } else {
                Format::F32
            });
        }
        let ends = matches!(role, Role::Embedding | Role::Output);
        match self {
            Self::Fp8 | Self::Mxfp4 | Self::Nvfp4 if ends => one(Format::Bf16),
            Self::Int8 | Self::Awq | Self::Gptq if ends => one(Format::F16),
            Self::Q5KM
            | Self::Q5_0
            | Self::Q4KM
            | Self::Q4KS
            | Self::Q4_0
            | Self::Iq4Xs
            | Self::Q3KM
            | Self::Q2K
                if role == Role::Output =>
            {
                one(Format::Q6K)
            }
            Self::Q5KM | Self::Q4KM if matches!(role, Role::Value | Role::FeedForwardOut) => {
                half(Format::Q6K, self.base())
            }
            // The first four layers' values and the first eighth of the down projections.
            Self::Q4KS if matches!(role, Role::Value | Role::FeedForwardOut) => {
                [(Format::Q5K, 0.125), (Format::Q4K, 0.875)]
            }
            Self::Q3KM => match role {
                Role::Value | Role::AttentionOutput | Role::FeedForwardOut => one(Format::Q4K),
                _ => one(Format::Q3K),
            },
            Self::Q2K => match role {
                Role::Value => one(Format::Q4K),
                Role::AttentionOutput | Role::FeedForwardOut => one(Format::Q3K),
                _ => one(Format::Q2K),
            },
            _ => one(self.base()),
        }
    }

    /// The format of most of the weights.
    #[must_use]
    pub fn base(self) -> Format {
        match self {
            Self::F32 => Format::F32,
            Self::Bf16 => Format::Bf16,
            Self::F16 => Format::F16,
            Self::Fp8 => Format::F8E4M3,
            Self::Int8 => Format::Int8,
            Self::Awq | Self::Gptq => Format::Int4Group128,
            Self::Mxfp4 => Format::Mxfp4,
            Self::Nvfp4 => Format::Nvfp4,
            Self::Mlx4 => Format::Int4Group64,
            Self::Q8_0 => Format::Q8_0,
            Self::Q6K => Format::Q6K,
            Self::Q5KM => Format::Q5K,
            Self::Q5_0 => Format::Q5_0,
            Self::Q4KM | Self::Q4KS => Format::Q4K,
            Self::Q4_0 => Format::Q4_0,
            Self::Iq4Xs => Format::Iq4Xs,
            Self::Q3KM => Format::Q3K,
            Self::Q2K => Format::Q2K,
        }
    }

    /// Mean bits a value of a tensor of this role.
    #[must_use]
    pub fn bits_per_weight(self, role: Role) -> f64 {
        self.formats(role)
            .iter()
            .map(|(f, share)| f.bits_per_weight() * share)
            .sum()
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    /// Reads a name in any case, with `-`, `_` or nothing between its parts, and the usual
    /// other spellings (`float16`, `bfloat16`, `int4`, `mlx-4bit`).
    fn from_str(s: &str) -> Result<Self, UnknownPrecision> {
        let key: String = s
            .chars()
            .take(64)
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        let plain = |p: Precision| p.name().chars().filter(|c| *c != '_').collect::<String>();
        if let Some(&p) = Self::ALL.iter().find(|p| plain(**p) == key) {
            return Ok(p);
        }
        match key.as_str() {
            "float32" | "fp32" => Ok(Self::F32),
            "bfloat16" => Ok(Self::Bf16),
            "float16" | "fp16" | "half" => Ok(Self::F16),
            "float8" | "fp8e4m3" | "f8e4m3" => Ok(Self::Fp8),
            "awqint4" | "w4a16" | "int4" => Ok(Self::Awq),
            "gptqint4" => Ok(Self::Gptq),
            "q4km" | "q4k" => Ok(Self::Q4KM),
            "q5k" => Ok(Self::Q5KM),
            "q3k" => Ok(Self::Q3KM),
            "q2km" => Ok(Self::Q2K),
            "mlx4" => Ok(Self::Mlx4),
            _ => Err(UnknownPrecision {
                found: s.chars().take(64).collect(),
            }),
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{Precision, Role};

    #[test]
    fn names_round_trip() {
        for &p in Precision::ALL {
            assert_eq!(p.name().parse::<Precision>(), Ok(p));
            assert_eq!(
                p.name()
                    .to_uppercase()
                    .replace('_', "-")
                    .parse::<Precision>(),
                Ok(p)
            );
            let json = serde_json::to_string(&p).expect("serialises");
            assert_eq!(json, format!("\"{}\"", p.name()), "serde and name agree");
        }
        for (text, p) in [
            ("FP16", Precision::F16),
            ("Q4_K_M", Precision::Q4KM),
            ("mlx-4bit", Precision::Mlx4),
            ("awq-int4", Precision::Awq),
            ("bfloat16", Precision::Bf16),
        ] {
            assert_eq!(text.parse(), Ok(p));
        }
        assert!("q9".parse::<Precision>().is_err());
    }

    #[test]
    fn shares_add_up() {
        use Role::*;
        for &p in Precision::ALL {
            for role in [
                Embedding,
                Output,
                AttentionInput,
                Value,
                AttentionOutput,
                FeedForwardIn,
                FeedForwardOut,
                Small,
            ] {
                let sum: f64 = p.formats(role).iter().map(|f| f.1).sum();
                assert!((sum - 1.0).abs() < 1e-12, "{p} {role:?}");
            }
        }
    }
}
