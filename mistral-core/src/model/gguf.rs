//! GGUF metadata -> [`ModelSpec`].
//!
//! Key names: gguf-py 0.19.0 (`constants.py`). Only metadata is read here, through a look-up that
//! the caller gives; the file itself is mistral-infer's.

use super::hf_mla::LATENT_NORM_EPS;
use super::spec::{
    Architecture, AttentionKind, GqaSpec, LayerSpec, MlaSpec, ModelSpec, MoeSpec, PositionScale,
    RopeLayout, RopeSpec, Scoring, YarnSpec,
};
use crate::error::CoreError;

const FILE: &str = "gguf metadata";

/// One metadata value, as far as a model's description needs it.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufValue {
    /// Any of the unsigned or non-negative signed integers.
    Integer(u64),
    /// f32 or f64.
    Float(f64),
    /// A flag.
    Bool(bool),
    /// Text.
    Text(String),
    /// A list; only those of numbers matter here.
    Array(GgufArray),
}

/// A list in GGUF metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufArray {
    /// Whole numbers.
    Integers(Vec<u64>),
    /// Flags.
    Bools(Vec<bool>),
    /// Anything else, with its length.
    Other(usize),
}

struct Meta<'a> {
    arch: String,
    lookup: &'a dyn Fn(&str) -> Option<GgufValue>,
}

impl ModelSpec {
    /// Reads the metadata of a GGUF file. `lookup` returns the value of a key; `tied_embeddings`
    /// says whether the file lacks `output.weight`; `vocab_size` is the number of rows of
    /// `token_embd.weight`, used when the metadata doesn't say.
    ///
    /// Architectures: `llama` (Mistral and Mixtral), `mistral3` (Ministral 3) and `mistral4`
    /// (Small 4, Large 3).
    ///
    /// # Errors
    /// [`CoreError`] as for [`ModelSpec::from_hf_config`].
    pub fn from_gguf_metadata(
        lookup: &dyn Fn(&str) -> Option<GgufValue>,
        tied_embeddings: bool,
        vocab_size: usize,
    ) -> Result<ModelSpec, CoreError> {
        let arch = match lookup("general.architecture") {
            Some(GgufValue::Text(arch)) => arch,
            _ => return Err(missing("general.architecture".to_owned())),
        };
        if !["llama", "mistral3", "mistral4"].contains(&arch.as_str()) {
            return Err(CoreError::UnknownArchitecture {
                file: FILE,
                found: arch,
            });
        }
        let meta = Meta { arch, lookup };
        let spec = meta.spec(tied_embeddings, vocab_size)?;
        spec.validate()?;
        Ok(spec)
    }
}

fn missing(field: String) -> CoreError {
    CoreError::MissingField { file: FILE, field }
}

impl Meta<'_> {
    fn key(&self, key: &str) -> String {
        if key.starts_with("tokenizer.") {
            key.to_owned()
        } else {
            format!("{}.{key}", self.arch)
        }
    }

    fn get(&self, key: &str) -> Option<GgufValue> {
        (self.lookup)(&self.key(key))
    }

    fn wrong(&self, key: &str, expected: &'static str, found: &GgufValue) -> CoreError {
        let mut found = format!("{found:?}");
        if let Some((cut, _)) = found.char_indices().nth(60) {
            found.truncate(cut);
        }
        CoreError::WrongType {
            file: FILE,
            field: self.key(key),
            expected,
            found,
        }
    }

    fn usize_opt(&self, key: &str) -> Result<Option<usize>, CoreError> {
        match self.get(key) {
            None => Ok(None),
            Some(GgufValue::Integer(n)) if n <= 1 << 40 => Ok(usize::try_from(n).ok()),
            // A per-layer list that says the same for each layer is a number.
            Some(GgufValue::Array(GgufArray::Integers(list)))
                if !list.is_empty() && list.iter().all(|n| *n == list[0] && *n <= 1 << 40) =>
            {
                Ok(usize::try_from(list[0]).ok())
            }
            Some(other) => Err(self.wrong(key, "a whole number from 0 to 2^40", &other)),
        }
    }

    fn usize(&self, key: &str) -> Result<usize, CoreError> {
        self.usize_opt(key)?.ok_or_else(|| missing(self.key(key)))
    }

    fn token_id(&self, key: &str) -> Result<Option<u32>, CoreError> {
        match self.get(key) {
            None => Ok(None),
            Some(GgufValue::Integer(n)) if u32::try_from(n).is_ok() => Ok(Some(n as u32)),
            Some(other) => Err(self.wrong(key, "a token id", &other)),
        }
    }

    fn f64_opt(&self, key: &str) -> Result<Option<f64>, CoreError> {
        match self.get(key) {
            None => Ok(None),
            Some(GgufValue::Float(x)) if x.is_finite() => Ok(Some(x)),
            Some(other) => Err(self.wrong(key, "a finite number", &other)),
        }
    }

    fn spec(&self, tied_embeddings: bool, vocab_size: usize) -> Result<ModelSpec, CoreError> {
        let n_layers = self.usize("block_count")?;
        super::validate::layer_count(n_layers)?;
        let n_heads = self.usize("attention.head_count")?;
        let dim = self.usize("embedding_length")?;
        let moe = self.moe()?;
        let attention = self.attention(n_heads, dim)?;
        let mla = matches!(attention, AttentionKind::Mla(_));
        let (yarn, factors) = self.yarn(mla)?;
        let position_scale = self.position_scale()?;
        let (rope, softmax_scale) = self.rope_and_scale(&attention, yarn, &factors)?;
        let first_dense = match &moe {
            None => n_layers,
            Some(_) => self.usize_opt("leading_dense_block_count")?.unwrap_or(0),
        };
        let layers = LayerSpec::plain(vec![self.window()?; n_layers], first_dense);
        let eos = self.token_id("tokenizer.ggml.eos_token_id")?;
        let bos = self.token_id("tokenizer.ggml.bos_token_id")?;
        Ok(ModelSpec {
            schema: ModelSpec::SCHEMA,
            architecture: self.architecture(moe.is_some()),
            dim,
            n_layers,
            n_heads,
            hidden_dim: self.usize("feed_forward_length")?,
            vocab_size: self.usize_opt("vocab_size")?.unwrap_or(vocab_size),
            norm_eps: self
                .f64_opt("attention.layer_norm_rms_epsilon")?
                .ok_or_else(|| missing(self.key("attention.layer_norm_rms_epsilon")))?,
            max_seq_len: self.usize_opt("context_length")?,
            tied_embeddings,
            rope,
            softmax_scale,
            attention,
            position_scale,
            indexer: None,
            moe,
            logit_softcap: None,
            layers,
            bos_token_id: bos,
            eos_token_ids: eos.into_iter().collect(),
        })
    }

    fn rope_and_scale(
        &self,
        attention: &AttentionKind,
        yarn: Option<YarnSpec>,
        factors: &Magnitude,
    ) -> Result<(RopeSpec, f64), CoreError> {
        let (dim, head_dim) = match attention {
            AttentionKind::Gqa(g) => (g.head_dim, g.head_dim),
            AttentionKind::Mla(m) => (m.qk_rope_head_dim, m.qk_head_dim()),
        };
        let rotated = self.usize_opt("rope.dimension_count")?.unwrap_or(dim);
        if rotated != dim {
            return Err(CoreError::UnsupportedField {
                file: FILE,
                field: self.key("rope.dimension_count"),
                found: rotated.to_string(),
            });
        }
        let rope = RopeSpec {
            theta: self.f64_opt("rope.freq_base")?.unwrap_or(1e4),
            dim,
            yarn,
            attention_factor: factors.rope,
            learned_scale: false,
            layout: RopeLayout::Interleaved,
        };
        let softmax_scale = (head_dim.max(1) as f64).powf(-0.5) * factors.softmax.powi(2);
        Ok((rope, softmax_scale))
    }

    fn architecture(&self, moe: bool) -> Architecture {
        match (self.arch.as_str(), moe) {
            ("mistral3", _) => Architecture::Ministral3,
            ("mistral4", _) => Architecture::Mistral4,
            (_, true) => Architecture::Mixtral,
            (_, false) => Architecture::Mistral,
        }
    }

    fn attention(&self, n_heads: usize, dim: usize) -> Result<AttentionKind, CoreError> {
        if self.arch == "mistral4" {
            let rope = self.usize("rope.dimension_count")?;
            let qk = self.usize("attention.key_length_mla")?;
            return Ok(AttentionKind::Mla(MlaSpec {
                q_lora_rank: self.usize_opt("attention.q_lora_rank")?.filter(|n| *n > 0),
                kv_lora_rank: self.usize("attention.kv_lora_rank")?,
                qk_nope_head_dim: qk.saturating_sub(rope),
                qk_rope_head_dim: rope,
                v_head_dim: self.usize("attention.value_length_mla")?,
                latent_norm_eps: LATENT_NORM_EPS,
            }));
        }
        let default = dim / n_heads.max(1);
        let head_dim = self.usize_opt("attention.key_length")?.unwrap_or(default);
        let value = self
            .usize_opt("attention.value_length")?
            .unwrap_or(head_dim);
        if value != head_dim {
            return Err(CoreError::UnsupportedField {
                file: FILE,
                field: self.key("attention.value_length"),
                found: value.to_string(),
            });
        }
        let n_kv_heads = self
            .usize_opt("attention.head_count_kv")?
            .unwrap_or(n_heads);
        Ok(AttentionKind::Gqa(GqaSpec {
            n_kv_heads,
            head_dim,
        }))
    }

    fn window(&self) -> Result<Option<usize>, CoreError> {
        if let Some(pattern) = self.get("attention.sliding_window_pattern") {
            return Err(CoreError::UnsupportedField {
                file: FILE,
                field: self.key("attention.sliding_window_pattern"),
                found: format!("{pattern:?}").chars().take(60).collect(),
            });
        }
        Ok(self
            .usize_opt("attention.sliding_window")?
            .filter(|n| *n > 0))
    }

    fn position_scale(&self) -> Result<PositionScale, CoreError> {
        let Some(beta) = self
            .f64_opt("attention.temperature_scale")?
            .filter(|b| *b != 0.0)
        else {
            return Ok(PositionScale::None);
        };
        let original = match self.usize_opt("attention.temperature_length")? {
            Some(n) => n,
            None => self.usize("rope.scaling.original_context_length")?,
        };
        Ok(PositionScale::Llama4 {
            beta,
            original_max_position_embeddings: original,
        })
    }

    fn yarn(&self, mla: bool) -> Result<(Option<YarnSpec>, Magnitude), CoreError> {
        let none = (
            None,
            Magnitude {
                rope: 1.0,
                softmax: 1.0,
            },
        );
        match self.get("rope.scaling.type") {
            None => return Ok(none),
            Some(GgufValue::Text(kind)) if kind == "none" => return Ok(none),
            Some(GgufValue::Text(kind)) if kind == "yarn" => {}
            Some(other) => {
                return Err(CoreError::UnsupportedField {
                    file: FILE,
                    field: self.key("rope.scaling.type"),
                    found: format!("{other:?}").chars().take(60).collect(),
                });
            }
        }
        let factor = self
            .f64_opt("rope.scaling.factor")?
            .ok_or_else(|| missing(self.key("rope.scaling.factor")))?;
        let log = if factor > 1.0 { factor.ln() } else { 0.0 };
        // Converters write `mscale_all_dim`, for latent attention a tenth of it. Files never say
        // `mscale`: llama.cpp takes it as 1, as it is in every model of the family.
        let multiplier = self
            .f64_opt("rope.scaling.yarn_log_multiplier")?
            .unwrap_or(0.0);
        let all_dim = if mla { multiplier * 10.0 } else { multiplier };
        // A tenth isn't exact in f32.
        let all_dim = if (all_dim - 1.0).abs() < 1e-6 {
            1.0
        } else {
            all_dim
        };
        let whole = 1.0 + 0.1 * all_dim * log;
        let rope = (1.0 + 0.1 * log) / whole;
        let softmax = if mla { whole } else { 1.0 };
        let yarn = YarnSpec {
            factor,
            original_max_position_embeddings: self.usize("rope.scaling.original_context_length")?,
            beta_fast: self.f64_opt("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: self.f64_opt("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            truncate: true,
        };
        Ok((Some(yarn), Magnitude { rope, softmax }))
    }

    fn moe(&self) -> Result<Option<MoeSpec>, CoreError> {
        let Some(num_experts) = self.usize_opt("expert_count")?.filter(|n| *n > 0) else {
            return Ok(None);
        };
        let hidden = match self.usize_opt("expert_feed_forward_length")? {
            Some(n) => n,
            None => self.usize("feed_forward_length")?,
        };
        let scoring = match self.usize_opt("expert_gating_func")? {
            None | Some(0 | 1) => Scoring::Softmax,
            Some(2) => Scoring::Sigmoid,
            Some(other) => {
                return Err(CoreError::UnsupportedField {
                    file: FILE,
                    field: self.key("expert_gating_func"),
                    found: other.to_string(),
                });
            }
        };
        let normalize = match self.get("expert_weights_norm") {
            // llama.cpp always normalises for `llama` and `mistral3`, for others only when told to.
            None => self.arch != "mistral4",
            Some(GgufValue::Bool(b)) => b,
            Some(other) => return Err(self.wrong("expert_weights_norm", "a flag", &other)),
        };
        Ok(Some(MoeSpec {
            num_experts,
            num_experts_per_tok: self.usize("expert_used_count")?,
            expert_hidden_dim: hidden,
            num_shared_experts: self.usize_opt("expert_shared_count")?.unwrap_or(0),
            scoring,
            num_expert_groups: self.usize_opt("expert_group_count")?.unwrap_or(1).max(1),
            num_expert_groups_per_tok: self
                .usize_opt("expert_group_used_count")?
                .unwrap_or(1)
                .max(1),
            normalize,
            routed_scale: self
                .f64_opt("expert_weights_scale")?
                .filter(|x| *x > 0.0)
                .unwrap_or(1.0),
        }))
    }
}

/// YaRN's magnitude on cos and sin, and on the softmax (latent attention).
struct Magnitude {
    rope: f64,
    softmax: f64,
}
