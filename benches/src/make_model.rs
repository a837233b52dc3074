//! Writes a random-weight model as a Hugging Face directory: `config.json` and `model.safetensors`.
//!
//! The same arguments give the same bytes, and the bf16 weights are the f32 ones rounded to nearest even.
//! Such a model says nothing, but it costs as much as a trained one of its shape.
#![forbid(unsafe_code)]

use half::bf16;
use mistral_examples::{Arguments, Options, Outcome, UsageError, run};
use safetensors::tensor::{Dtype, View};
use serde_json::json;
use std::borrow::Cow;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "OUT --shape dense|moe [--dtype f32|bf16] [--seed N] [--layers N] [--dim N] \
                     [--hidden N] [--heads N] [--kv-heads N] [--head-dim N] [--vocab N] [--experts N]";

fn main() -> ExitCode {
    let options = Options {
        valued: &[
            "shape", "dtype", "seed", "layers", "dim", "hidden", "heads", "kv-heads", "head-dim",
            "vocab", "experts",
        ],
        switches: &[],
        max_positional: 1,
    };
    run(USAGE, &options, |arguments| {
        let out = Path::new(arguments.required(0, "OUT")?);
        write(out, &Shape::from_arguments(arguments)?)?;
        Ok(Outcome::Good)
    })
}

/// What the model looks like.
#[derive(Debug, Clone)]
struct Shape {
    dtype: Dtype,
    seed: u64,
    layers: usize,
    dim: usize,
    hidden: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    vocab: usize,
    /// None for a dense model.
    experts: Option<usize>,
}

impl Shape {
    /// About 300 million parameters in the proportions of Mistral 7B or Mixtral 8x7B, unless told otherwise.
    fn from_arguments(arguments: &Arguments) -> Result<Self, UsageError> {
        let base = match arguments.text("shape") {
            Some("dense") => Self::dense(),
            Some("moe") => Self::moe(),
            other => {
                return Err(UsageError(format!(
                    "--shape {other:?} is neither dense nor moe"
                )));
            }
        };
        let experts = match base.experts {
            Some(experts) => Some(arguments.value("experts", experts)?),
            None => None,
        };
        Ok(Self {
            dtype: match arguments.text("dtype") {
                None | Some("f32") => Dtype::F32,
                Some("bf16") => Dtype::BF16,
                Some(other) => {
                    return Err(UsageError(format!(
                        "--dtype {other} is neither f32 nor bf16"
                    )));
                }
            },
            seed: arguments.value("seed", base.seed)?,
            layers: arguments.value("layers", base.layers)?,
            dim: arguments.value("dim", base.dim)?,
            hidden: arguments.value("hidden", base.hidden)?,
            heads: arguments.value("heads", base.heads)?,
            kv_heads: arguments.value("kv-heads", base.kv_heads)?,
            head_dim: arguments.value("head-dim", base.head_dim)?,
            vocab: arguments.value("vocab", base.vocab)?,
            experts,
        })
    }

    fn dense() -> Self {
        Self {
            dtype: Dtype::F32,
            seed: 1,
            layers: 18,
            dim: 1024,
            hidden: 3584,
            heads: 8,
            kv_heads: 2,
            head_dim: 128,
            vocab: 32000,
            experts: None,
        }
    }

    fn moe() -> Self {
        Self {
            layers: 12,
            dim: 512,
            hidden: 1792,
            head_dim: 64,
            experts: Some(8),
            ..Self::dense()
        }
    }

    fn config(&self) -> serde_json::Value {
        let mut config = json!({
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            "torch_dtype": if self.dtype == Dtype::F32 { "float32" } else { "bfloat16" },
            "vocab_size": self.vocab,
            "hidden_size": self.dim,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e6,
            "sliding_window": null,
            "tie_word_embeddings": false,
            "bos_token_id": 1,
            "eos_token_id": 2,
        });
        if let Some(experts) = self.experts {
            config["architectures"] = json!(["MixtralForCausalLM"]);
            config["model_type"] = json!("mixtral");
            config["num_local_experts"] = json!(experts);
            config["num_experts_per_tok"] = json!(2);
        }
        config
    }

    /// Name and shape of every tensor, under the names of the hub's files.
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (dim, hidden) = (self.dim, self.hidden);
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut tensors = vec![
            ("model.embed_tokens.weight".into(), vec![self.vocab, dim]),
            ("model.norm.weight".into(), vec![dim]),
            ("lm_head.weight".into(), vec![self.vocab, dim]),
        ];
        for layer in 0..self.layers {
            let mut add = |name: &str, shape: &[usize]| {
                tensors.push((
                    format!("model.layers.{layer}.{name}.weight"),
                    shape.to_vec(),
                ));
            };
            add("input_layernorm", &[dim]);
            add("post_attention_layernorm", &[dim]);
            add("self_attn.q_proj", &[q, dim]);
            add("self_attn.k_proj", &[kv, dim]);
            add("self_attn.v_proj", &[kv, dim]);
            add("self_attn.o_proj", &[dim, q]);
            let Some(experts) = self.experts else {
                add("mlp.gate_proj", &[hidden, dim]);
                add("mlp.up_proj", &[hidden, dim]);
                add("mlp.down_proj", &[dim, hidden]);
                continue;
            };
            add("block_sparse_moe.gate", &[experts, dim]);
            for expert in 0..experts {
                add(
                    &format!("block_sparse_moe.experts.{expert}.w1"),
                    &[hidden, dim],
                );
                add(
                    &format!("block_sparse_moe.experts.{expert}.w2"),
                    &[dim, hidden],
                );
                add(
                    &format!("block_sparse_moe.experts.{expert}.w3"),
                    &[hidden, dim],
                );
            }
        }
        tensors
    }
}

fn write(out: &Path, shape: &Shape) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(out)?;
    std::fs::write(
        out.join("config.json"),
        serde_json::to_string_pretty(&shape.config())?,
    )?;
    let tensors: Vec<(String, RandomTensor)> = (0u64..)
        .zip(shape.tensors())
        .map(|(index, (name, tensor_shape))| {
            // Tensors are far apart in the sequence of a seed, and seeds further still.
            let seed = (shape.seed << 48) ^ (index << 32);
            (
                name,
                RandomTensor {
                    seed,
                    shape: tensor_shape,
                    dtype: shape.dtype,
                },
            )
        })
        .collect();
    let parameters: usize = tensors.iter().map(|(_, tensor)| tensor.len()).sum();
    safetensors::serialize_to_file(tensors, None, &out.join("model.safetensors"))?;
    eprintln!(
        "{}: {:.1} million parameters",
        out.display(),
        parameters as f64 / 1e6
    );
    Ok(())
}

/// A tensor whose values are made when they are written, so that only one is in memory at a time.
struct RandomTensor {
    seed: u64,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl RandomTensor {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Norm weights are about 1; matrices have mean 0 and the standard deviation `1/sqrt(n_in)`, which
    /// keeps activations of order 1 through any number of layers.
    fn values(&self) -> impl Iterator<Item = f32> {
        let norm = self.shape.len() == 1;
        let n_in = *self.shape.last().expect("every tensor has a dimension") as f32;
        // A uniform distribution on -a..a has the standard deviation a/sqrt(3).
        let (mean, reach) = if norm {
            (1.0, 0.1)
        } else {
            (0.0, (3.0 / n_in).sqrt())
        };
        let seed = self.seed;
        (0..self.len() as u64).map(move |index| mean + reach * uniform(seed.wrapping_add(index)))
    }
}

impl View for RandomTensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.data_len());
        for value in self.values() {
            if self.dtype == Dtype::F32 {
                bytes.extend(value.to_le_bytes());
            } else {
                bytes.extend(bf16::from_f32(value).to_le_bytes());
            }
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.len() * if self.dtype == Dtype::F32 { 4 } else { 2 }
    }
}

/// A value in -1..1 from the mixing function of SplitMix64 (Steele, Lea and Flood, 2014).
fn uniform(index: u64) -> f32 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // The upper 24 bits fill an f32's significand exactly.
    (z >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_about_300_million() {
        for shape in [Shape::dense(), Shape::moe()] {
            let sizes = shape
                .tensors()
                .into_iter()
                .map(|(_, s)| s.iter().product::<usize>());
            let parameters = sizes.sum::<usize>();
            assert!(
                (280_000_000..330_000_000).contains(&parameters),
                "{parameters}"
            );
        }
    }

    #[test]
    fn values_are_repeatable_and_spread() {
        let tensor = RandomTensor {
            seed: 5,
            shape: vec![64, 48],
            dtype: Dtype::F32,
        };
        let values: Vec<f32> = tensor.values().collect();
        assert_eq!(values, tensor.values().collect::<Vec<_>>());
        let n = values.len() as f32;
        let mean = values.iter().sum::<f32>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance * 48.0 - 1.0).abs() < 0.05, "{variance}");
        let rounded = RandomTensor {
            dtype: Dtype::BF16,
            ..tensor
        };
        let halves: Vec<bf16> = rounded
            .data()
            .chunks_exact(2)
            .map(|pair| bf16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        let expected: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
        assert_eq!(halves, expected);
    }
}
