//! Shapes of models, and the format that each of their tensors has.

use crate::vocabulary;
use mistral_core::precision::{Precision, Role, TensorPlace};
use mistral_examples::UsageError;
use mistral_infer::gguf::{Metadata, MetadataValue, TensorHeader};

/// The size of a model.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    dim: usize,
    hidden: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// 0 for a dense model.
    experts: usize,
}

/// Mixes that random weights are made for.
pub(crate) const MIXES: [Precision; 4] = [
    Precision::Q4KM,
    Precision::Q4_0,
    Precision::Q8_0,
    Precision::Bf16,
];

impl Shape {
    pub(crate) fn named(name: &str) -> Result<Self, UsageError> {
        let big = Self {
            layers: 32,
            dim: 4096,
            hidden: 14336,
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            experts: 0,
        };
        match name {
            "7b" => Ok(big),
            "mixtral" => Ok(Self { experts: 8, ..big }),
            "126m" => Ok(Self {
                layers: 12,
                dim: 768,
                hidden: 2048,
                heads: 12,
                kv_heads: 4,
                head_dim: 64,
                experts: 0,
            }),
            "300m" => Ok(Self {
                layers: 16,
                dim: 1024,
                hidden: 4096,
                heads: 16,
                kv_heads: 4,
                head_dim: 64,
                experts: 0,
            }),
            other => Err(UsageError(format!(
                "--shape {other:?} is none of 7b, mixtral, 300m and 126m"
            ))),
        }
    }

    pub(crate) fn metadata(&self, mix: Precision) -> Metadata {
        let file_type = mix.ggml_file_type().expect("every mix here has a number");
        let mut entries: Metadata = vocabulary::metadata();
        let architecture = MetadataValue::Text("llama".into());
        entries.insert("general.architecture".into(), architecture);
        let mut numbers = vec![
            ("context_length", 32768),
            ("embedding_length", self.dim),
            ("block_count", self.layers),
            ("feed_forward_length", self.hidden),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("rope.dimension_count", self.head_dim),
            ("vocab_size", vocabulary::LEN),
        ];
        if self.experts > 0 {
            numbers.extend([("expert_count", self.experts), ("expert_used_count", 2)]);
        }
        for (key, number) in numbers {
            let number = u32::try_from(number).expect("every number of a shape is below 2^32");
            entries.insert(format!("llama.{key}"), MetadataValue::U32(number));
        }
        for (key, number) in [
            ("general.file_type", file_type),
            ("general.quantization_version", 2),
        ] {
            entries.insert(key.into(), MetadataValue::U32(number));
        }
        for (key, number) in [
            ("llama.attention.layer_norm_rms_epsilon", 1e-5),
            ("llama.rope.freq_base", 1e6),
        ] {
            entries.insert(key.into(), MetadataValue::F32(number));
        }
        entries
    }

    /// Every tensor in the order of the file, under llama.cpp's names.
    pub(crate) fn tensors(&self, mix: Precision) -> Vec<TensorHeader> {
        use Role::*;
        let (dim, hidden, experts) = (self.dim, self.hidden, self.experts);
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut tensors = Vec::new();
        let mut add = |layer: Option<usize>, name: &str, role, shape: &[usize]| {
            let place = TensorPlace {
                role,
                key: name == "attn_k",
                layer: layer.unwrap_or(0),
                n_layers: self.layers,
                n_experts: experts,
                row: shape[shape.len() - 1],
            };
            tensors.push(TensorHeader {
                name: match layer {
                    Some(layer) => format!("blk.{layer}.{name}.weight"),
                    None => format!("{name}.weight"),
                },
                format: mix.gguf_format(&place).expect("every mix here is known"),
                shape: shape.to_vec(),
            });
        };
        add(None, "token_embd", Embedding, &[vocabulary::LEN, dim]);
        add(None, "output", Output, &[vocabulary::LEN, dim]);
        add(None, "output_norm", Small, &[dim]);
        for layer in (0..self.layers).map(Some) {
            add(layer, "attn_norm", Small, &[dim]);
            add(layer, "attn_q", AttentionInput, &[q, dim]);
            add(layer, "attn_k", AttentionInput, &[kv, dim]);
            add(layer, "attn_v", Value, &[kv, dim]);
            add(layer, "attn_output", AttentionOutput, &[dim, q]);
            add(layer, "ffn_norm", Small, &[dim]);
            if experts == 0 {
                add(layer, "ffn_gate", FeedForwardIn, &[hidden, dim]);
                add(layer, "ffn_up", FeedForwardIn, &[hidden, dim]);
                add(layer, "ffn_down", FeedForwardOut, &[dim, hidden]);
            } else {
                let (inward, outward) = ([experts, hidden, dim], [experts, dim, hidden]);
                add(layer, "ffn_gate_inp", Small, &[experts, dim]);
                add(layer, "ffn_gate_exps", FeedForwardIn, &inward);
                add(layer, "ffn_up_exps", FeedForwardIn, &inward);
                add(layer, "ffn_down_exps", FeedForwardOut, &outward);
            }
        }
        tensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_models() {
        for (name, mix, parameters, gigabytes) in [
            ("7b", Precision::Q4KM, 7.248e9, 4.37),
            ("7b", Precision::Q8_0, 7.248e9, 7.70),
            ("mixtral", Precision::Q4_0, 46.71e9, 26.4),
            ("126m", Precision::Bf16, 0.1259e9, 0.252),
            ("300m", Precision::Q4KM, 0.3093e9, 0.1925),
        ] {
            let tensors = Shape::named(name).expect("known").tensors(mix);
            let len = |t: &TensorHeader| t.shape.iter().product::<usize>();
            let found: usize = tensors.iter().map(len).sum();
            let bytes = |t: &TensorHeader| t.format.bytes(len(t)).expect("whole blocks");
            let bytes: usize = tensors.iter().map(bytes).sum();
            let (found, bytes) = (found as f64 / parameters, bytes as f64 / gigabytes / 1e9);
            assert!((found - 1.0).abs() < 0.01, "{name}: {found}");
            assert!((bytes - 1.0).abs() < 0.01, "{name} {mix}: {bytes}");
        }
    }
}
