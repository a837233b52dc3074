//! Which format each tensor of a GGUF file has: the mixes that llama.cpp's names stand for.
//!
//! Source: `llama_tensor_get_type` and `tensor_type_fallback` of `src/llama-quant.cpp`, without an
//! importance matrix, for the architectures of the Mistral family.

use super::{Format, Precision, Role};

/// A tensor of a model, as far as its format depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorPlace {
    /// What it does. The embedding of a model that ties its output to it is [`Role::Output`].
    pub role: Role,
    /// Whether it is the key projection, which has more bits in models with eight experts.
    pub key: bool,
    /// Its decoder layer; 0 outside of them.
    pub layer: usize,
    /// Decoder layers of the model.
    pub n_layers: usize,
    /// Routed experts of the model; 0 without.
    pub n_experts: usize,
    /// Values in a row.
    pub row: usize,
}

/// Whether a layer is one of those that get more bits: the first and the last eighth, and every
/// third between them.
fn more_bits(layer: usize, n_layers: usize) -> bool {
    let eighth = n_layers / 8;
    layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2
}

impl Precision {
    /// The number that `general.file_type` has for this mix in a GGUF file, if it has one.
    /// Source: `LlamaFileType` of gguf-py.
    #[must_use]
    pub fn ggml_file_type(self) -> Option<u32> {
        Some(match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q5_0 => 8,
            Self::Q2K => 10,
            Self::Q3KM => 12,
            Self::Q4KS => 14,
            Self::Q4KM => 15,
            Self::Q5KM => 17,
            Self::Q6K => 18,
            Self::Iq4Xs => 30,
            Self::Bf16 => 32,
            Self::Mxfp4 => 38,
            Self::Fp8 | Self::Int8 | Self::Awq | Self::Gptq | Self::Nvfp4 | Self::Mlx4 => {
                return None;
            }
        })
    }

    /// The mix of a number in `general.file_type`.
    #[must_use]
    pub fn from_ggml_file_type(id: u64) -> Option<Self> {
        let mut known = Self::ALL.iter().copied();
        known.find(|p| p.ggml_file_type().map(u64::from) == Some(id))
    }

    /// The format of one tensor of a GGUF file in this precision; `None` for a precision whose mix
    /// isn't known here.
    ///
    /// Norms, scales and routers stay in f32. A row that isn't a whole number of blocks gets the
    /// next format whose blocks fit it.
    #[must_use]
    pub fn gguf_format(self, tensor: &TensorPlace) -> Option<Format> {
        if !matches!(
            self,
            Self::F32
                | Self::F16
                | Self::Bf16
                | Self::Q8_0
                | Self::Q6K
                | Self::Q5KM
                | Self::Q5_0
                | Self::Q4KM
                | Self::Q4KS
                | Self::Q4_0
        ) {
            return None;
        }
        if tensor.role == Role::Small {
            return Some(Format::F32);
        }
        let wanted = match self {
            Self::F32 | Self::F16 | Self::Bf16 => self.base(),
            _ => self.mixed(tensor),
        };
        Some(fitting(wanted, tensor.row))
    }

    /// What the recipe gives before it is held against the row's length.
    fn mixed(self, tensor: &TensorPlace) -> Format {
        let base = self.base();
        let &TensorPlace {
            layer, n_layers, ..
        } = tensor;
        // Eight experts share one attention: more bits cost little there.
        let eight = tensor.n_experts == 8;
        match (self, tensor.role) {
            (Self::Q8_0, _) => Format::Q8_0,
            (_, Role::Output) => Format::Q6K,
            (_, Role::Value) if eight => Format::Q8_0,
            (_, Role::AttentionInput) if eight && tensor.key => Format::Q8_0,
            (Self::Q4KM | Self::Q4KS, Role::AttentionOutput) if eight => Format::Q5K,
            (Self::Q4KM | Self::Q5KM, Role::Value | Role::FeedForwardOut)
                if more_bits(layer, n_layers) =>
            {
                Format::Q6K
            }
            (Self::Q4KS, Role::Value) if layer < 4 => Format::Q5K,
            (Self::Q4KS, Role::FeedForwardOut) if layer < n_layers / 8 => Format::Q5K,
            _ => base,
        }
    }
}

/// The format itself, or the one with smaller blocks that takes its place for such rows.
fn fitting(format: Format, row: usize) -> Format {
    let fits = |format: Format| row.is_multiple_of(format.block().items);
    if fits(format) {
        return format;
    }
    let smaller = match format {
        Format::Q4K => Format::Q5_0,
        Format::Q5K => Format::Q5_1,
        Format::Q6K => Format::Q8_0,
        other => other,
    };
    match fits(smaller) {
        true => smaller,
        false => Format::F16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(role: Role, layer: usize) -> TensorPlace {
        TensorPlace {
            role,
            key: false,
            layer,
            n_layers: 32,
            n_experts: 0,
            row: 4096,
        }
    }

    /// Layers of a 7B model whose values and down projections have Q6_K in files of `Q4_K_M` that
    /// llama.cpp wrote.
    #[test]
    fn half_of_a_deep_model_has_more_bits() {
        let expected = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31];
        for role in [Role::Value, Role::FeedForwardOut] {
            let found = (0..32)
                .filter(|&i| Precision::Q4KM.gguf_format(&place(role, i)) == Some(Format::Q6K));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{role:?}");
        }
    }

    #[test]
    fn mixes_are_llama_cpps() {
        use Format::*;
        let eight = |p: TensorPlace| TensorPlace { n_experts: 8, ..p };
        let row = |p: TensorPlace, row| TensorPlace { row, ..p };
        let key = |p: TensorPlace| TensorPlace { key: true, ..p };
        let (output, embedding) = (place(Role::Output, 0), place(Role::Embedding, 0));
        let (value, down) = (place(Role::Value, 4), place(Role::FeedForwardOut, 4));
        let (first, input) = (place(Role::Value, 0), place(Role::AttentionInput, 9));
        let out = place(Role::AttentionOutput, 9);
        for (precision, tensor, expected) in [
            (Precision::Q4KM, output, Q6K),
            (Precision::Q4_0, output, Q6K),
            (Precision::Q8_0, output, Q8_0),
            (Precision::Q4KM, embedding, Q4K),
            (Precision::Q4KM, down, Q4K),
            (Precision::Q5KM, down, Q5K),
            (Precision::Q4KS, first, Q5K),
            (Precision::Q4KS, value, Q4K),
            (Precision::Q4KM, eight(value), Q8_0),
            (Precision::Q4KM, eight(key(input)), Q8_0),
            (Precision::Q4KM, eight(input), Q4K),
            (Precision::Q4KM, eight(out), Q5K),
            (Precision::Q5KM, eight(out), Q5K),
            (Precision::Q4_0, eight(out), Q4_0),
            (Precision::Q4KM, row(input, 96), Q5_0),
            (Precision::Q5KM, row(input, 96), Q5_1),
            (Precision::Q6K, row(input, 96), Q8_0),
            (Precision::Q4KM, row(input, 172), F16),
            (Precision::Q8_0, row(input, 172), F16),
            (Precision::Bf16, row(input, 172), Bf16),
            (Precision::Bf16, place(Role::Small, 0), F32),
        ] {
            let found = precision.gguf_format(&tensor);
            assert_eq!(found, Some(expected), "{precision} {tensor:?}");
        }
        assert_eq!(Precision::Awq.gguf_format(&input), None);
    }

    #[test]
    fn file_types_round_trip() {
        for &p in Precision::ALL {
            if let Some(id) = p.ggml_file_type() {
                assert_eq!(Precision::from_ggml_file_type(id.into()), Some(p));
            }
        }
    }
}
