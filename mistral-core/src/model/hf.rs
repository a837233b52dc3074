//! Hugging Face `config.json` -> [`ModelSpec`].
//!
//! Field names and defaults: transformers 5.23.0, `models/{mistral, mixtral, ministral,
//! ministral3, mistral4, mistral_large4}/configuration_*.py`; both the new `rope_parameters` and
//! the old `rope_theta` + `rope_scaling` are read.

use serde_json::{Value, json};

use super::fields::{Fields, parse_object};
use super::hf_mla;
use super::spec::{
    Architecture, AttentionKind, GqaSpec, LayerSpec, ModelSpec, MoeSpec, PositionScale, RopeLayout,
    RopeSpec, Scoring, YarnSpec,
};
use crate::error::CoreError;

const FILE: &str = "config.json";

/// Fields that don't change what a forward pass computes.
const HARMLESS: &[&str] = &[
    "architectures",
    "attention_dropout",
    "auto_map",
    "bad_words_ids",
    "chunk_size_feed_forward",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "finetuning_task",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "mlp_bias",
    "model_type",
    "name_or_path",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "sep_token_id",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
    "use_cache_quantization",
];

/// Fields of the text-and-image wrappers that concern images alone.
const VISION: &[&str] = &[
    "image_token_id",
    "image_token_index",
    "multimodal_projector_bias",
    "projector_hidden_act",
    "spatial_merge_size",
    "vision_config",
    "vision_feature_layer",
    "vision_feature_select_strategy",
];

impl ModelSpec {
    /// Reads a Hugging Face `config.json`. Of a text-and-image model (`mistral3`,
    /// `mistral_large4`) the text decoder is described.
    ///
    /// # Errors
    /// [`CoreError`] when the text isn't JSON, the architecture is unknown, a field is missing, of
    /// a wrong type or out of range, or a field would change the numbers and isn't supported.
    pub fn from_hf_config(text: &str) -> Result<ModelSpec, CoreError> {
        let map = parse_object(FILE, text)?;
        let outer = Fields::new(FILE, "", &map);
        let model_type = outer
            .str_opt("model_type")?
            .ok_or_else(|| outer.missing("model_type"))?;
        let spec = match model_type {
            "mistral3" | "mistral_large4" => read_wrapped(&outer, model_type)?,
            _ => read_text(&outer, model_type)?,
        };
        spec.validate()?;
        Ok(spec)
    }
}

fn read_wrapped(outer: &Fields<'_>, model_type: &str) -> Result<ModelSpec, CoreError> {
    let inner = outer
        .object_opt("text_config")?
        .ok_or_else(|| outer.missing("text_config"))?;
    outer.ignore(VISION);
    outer.ignore(HARMLESS);
    let default = if model_type == "mistral_large4" {
        "mistral_large4_text"
    } else {
        "mistral"
    };
    let tied_outside = outer.bool_or("tie_word_embeddings", false)?;
    let ids = (
        outer.token_ids("bos_token_id")?,
        outer.token_ids("eos_token_id")?,
    );
    outer.finish()?;
    let inner_type = inner.str_opt("model_type")?.unwrap_or(default);
    let mut spec = read_text(&inner, inner_type)?;
    spec.tied_embeddings |= tied_outside;
    spec.bos_token_id = ids.0.first().copied().or(spec.bos_token_id);
    if !ids.1.is_empty() {
        spec.eos_token_ids = ids.1;
    }
    Ok(spec)
}

fn read_text(f: &Fields<'_>, model_type: &str) -> Result<ModelSpec, CoreError> {
    f.ignore(HARMLESS);
    f.only("hidden_act", &json!("silu"))?;
    f.only("attention_bias", &json!(false))?;
    f.only("pretraining_tp", &json!(1))?;
    f.only("is_decoder", &json!(true))?;
    let spec = match model_type {
        "mistral" => read_gqa(f, Architecture::Mistral)?,
        "mixtral" => read_gqa(f, Architecture::Mixtral)?,
        "ministral" => read_gqa(f, Architecture::Ministral)?,
        "ministral3" => read_gqa(f, Architecture::Ministral3)?,
        "mistral4" => hf_mla::read_mistral4(f)?,
        "mistral_large4_text" => hf_mla::read_large4(f)?,
        other => {
            return Err(CoreError::UnknownArchitecture {
                file: FILE,
                found: other.to_owned(),
            });
        }
    };
    f.finish()?;
    Ok(spec)
}

fn read_gqa(f: &Fields<'_>, architecture: Architecture) -> Result<ModelSpec, CoreError> {
    let common = Common::read(
        f,
        if architecture == Architecture::Mistral {
            1e-6
        } else {
            1e-5
        },
    )?;
    let n_kv_heads = match f.usize_opt("num_key_value_heads")? {
        Some(n) => n,
        None if f.has("num_key_value_heads") => common.n_heads,
        None => 8,
    };
    let head_dim = match f.usize_opt("head_dim")? {
        Some(n) => n,
        None => common.dim / common.n_heads.max(1),
    };
    let default_theta = if architecture == Architecture::Mixtral {
        1e6
    } else {
        1e4
    };
    let rope = RopeFields::read(f, default_theta)?;
    if let Some(partial) = rope.partial.filter(|p| *p != 1.0) {
        return Err(f.unsupported("partial_rotary_factor", &json!(partial)));
    }
    let position_scale = match rope.llama4 {
        Some(scale) if architecture == Architecture::Ministral3 => scale,
        Some(_) => return Err(f.unsupported("llama_4_scaling_beta", &json!(true))),
        None => PositionScale::None,
    };
    let moe = match architecture {
        Architecture::Mixtral => Some(read_mixtral_moe(f, common.hidden_dim)?),
        _ => None,
    };
    let dense = if moe.is_some() { 0 } else { common.n_layers };
    let layers = LayerSpec::plain(read_windows(f, architecture, common.n_layers)?, dense);
    let attention = AttentionKind::Gqa(GqaSpec {
        n_kv_heads,
        head_dim,
    });
    let rope = rope.spec(head_dim, RopeLayout::HalfSplit);
    let softmax_scale = (head_dim.max(1) as f64).powf(-0.5);
    let mut spec = common.into_spec(architecture, rope, attention, softmax_scale, layers);
    spec.position_scale = position_scale;
    spec.moe = moe;
    Ok(spec)
}

fn read_mixtral_moe(f: &Fields<'_>, hidden_dim: usize) -> Result<MoeSpec, CoreError> {
    let num_experts = match f.usize_opt("num_local_experts")? {
        Some(n) => n,
        None => f.usize_or("num_experts", 8)?,
    };
    Ok(MoeSpec {
        num_experts,
        num_experts_per_tok: f.usize_or("num_experts_per_tok", 2)?,
        expert_hidden_dim: hidden_dim,
        num_shared_experts: 0,
        scoring: Scoring::Softmax,
        num_expert_groups: 1,
        num_expert_groups_per_tok: 1,
        normalize: true,
        routed_scale: 1.0,
    })
}

/// The sliding window of each layer. Absent differs from null: the class default is 4096 in
/// Mistral and Ministral, none in the others.
fn read_windows(
    f: &Fields<'_>,
    architecture: Architecture,
    n_layers: usize,
) -> Result<Vec<Option<usize>>, CoreError> {
    let default = match architecture {
        Architecture::Mistral | Architecture::Ministral if !f.has("sliding_window") => Some(4096),
        _ => None,
    };
    let window = f.usize_opt("sliding_window")?.or(default);
    super::validate::layer_count(n_layers)?;
    let Some(types) = f.list_opt("layer_types", n_layers)? else {
        return Ok(vec![window; n_layers]);
    };
    let windows: Result<Vec<Option<usize>>, CoreError> = types
        .iter()
        .map(|kind| match (kind.as_str(), window) {
            (Some("full_attention"), _) => Ok(None),
            (Some("sliding_attention"), Some(w)) => Ok(Some(w)),
            (Some("sliding_attention"), None) => Err(f.missing("sliding_window")),
            _ => Err(f.unsupported("layer_types", kind)),
        })
        .collect();
    let windows = windows?;
    let mixed = windows.iter().any(|w| *w != windows[0]);
    let honoured = architecture == Architecture::Ministral || (!mixed && windows[0] == window);
    if honoured {
        Ok(windows)
    } else {
        Err(f.unsupported("layer_types", &Value::from(types)))
    }
}

/// The fields that every architecture has.
pub(super) struct Common {
    pub(super) dim: usize,
    pub(super) n_layers: usize,
    pub(super) n_heads: usize,
    pub(super) hidden_dim: usize,
    vocab_size: usize,
    pub(super) norm_eps: f64,
    max_seq_len: Option<usize>,
    tied_embeddings: bool,
    bos_token_id: Option<u32>,
    eos_token_ids: Vec<u32>,
}

impl Common {
    pub(super) fn read(f: &Fields<'_>, default_eps: f64) -> Result<Common, CoreError> {
        let n_layers = f.usize("num_hidden_layers")?;
        super::validate::layer_count(n_layers)?;
        Ok(Common {
            dim: f.usize("hidden_size")?,
            n_layers,
            n_heads: f.usize("num_attention_heads")?,
            hidden_dim: f.usize("intermediate_size")?,
            vocab_size: f.usize("vocab_size")?,
            norm_eps: f.f64_or("rms_norm_eps", default_eps)?,
            max_seq_len: f.usize_opt("max_position_embeddings")?,
            tied_embeddings: f.bool_or("tie_word_embeddings", false)?,
            bos_token_id: f.token_ids("bos_token_id")?.first().copied(),
            eos_token_ids: f.token_ids("eos_token_id")?,
        })
    }

    pub(super) fn into_spec(
        self,
        architecture: Architecture,
        rope: RopeSpec,
        attention: AttentionKind,
        softmax_scale: f64,
        layers: Vec<LayerSpec>,
    ) -> ModelSpec {
        ModelSpec {
            schema: ModelSpec::SCHEMA,
            architecture,
            dim: self.dim,
            n_layers: self.n_layers,
            n_heads: self.n_heads,
            hidden_dim: self.hidden_dim,
            vocab_size: self.vocab_size,
            norm_eps: self.norm_eps,
            max_seq_len: self.max_seq_len,
            tied_embeddings: self.tied_embeddings,
            rope,
            attention,
            softmax_scale,
            position_scale: PositionScale::None,
            indexer: None,
            moe: None,
            logit_softcap: None,
            layers,
            bos_token_id: self.bos_token_id,
            eos_token_ids: self.eos_token_ids,
        }
    }
}

/// Rope in either of its two forms.
pub(super) struct RopeFields {
    theta: f64,
    yarn: Option<YarnSpec>,
    attention_factor: f64,
    mscale_all_dim: f64,
    pub(super) partial: Option<f64>,
    pub(super) llama4: Option<PositionScale>,
}

impl RopeFields {
    pub(super) fn read(f: &Fields<'_>, default_theta: f64) -> Result<RopeFields, CoreError> {
        let outer_theta = f.f64_opt("rope_theta")?;
        let outer_partial = f.f64_opt("partial_rotary_factor")?;
        let new = f.object_opt("rope_parameters")?;
        let old = f.object_opt("rope_scaling")?;
        let mut rope = RopeFields {
            theta: outer_theta.unwrap_or(default_theta),
            yarn: None,
            attention_factor: 1.0,
            mscale_all_dim: 0.0,
            partial: outer_partial,
            llama4: None,
        };
        // A file that has both forms was written for old and new readers alike: the new one rules.
        if let Some(r) = new.or(old) {
            rope.read_parameters(f, &r)?;
        }
        Ok(rope)
    }

    fn read_parameters(&mut self, f: &Fields<'_>, r: &Fields<'_>) -> Result<(), CoreError> {
        self.theta = r.f64_opt("rope_theta")?.unwrap_or(self.theta);
        self.partial = r.f64_opt("partial_rotary_factor")?.or(self.partial);
        let old_name = r.str_opt("type")?;
        let kind = r.str_opt("rope_type")?.or(old_name).unwrap_or("default");
        match kind {
            "default" => {}
            "yarn" => self.read_yarn(f, r)?,
            other => return Err(r.unsupported("rope_type", &json!(other))),
        }
        if let Some(beta) = r.f64_opt("llama_4_scaling_beta")? {
            self.llama4 = Some(PositionScale::Llama4 {
                beta,
                original_max_position_embeddings: r.usize("original_max_position_embeddings")?,
            });
        }
        r.ignore(&["max_position_embeddings"]);
        if kind == "default" {
            // Written by some converters although they only matter to yarn.
            r.ignore(&[
                "factor",
                "original_max_position_embeddings",
                "mscale",
                "mscale_all_dim",
            ]);
        }
        r.finish()
    }

    fn read_yarn(&mut self, f: &Fields<'_>, r: &Fields<'_>) -> Result<(), CoreError> {
        let original = match r.usize_opt("original_max_position_embeddings")? {
            Some(n) => n,
            None => f.usize("max_position_embeddings")?,
        };
        let yarn = YarnSpec {
            factor: r.f64("factor")?,
            original_max_position_embeddings: original,
            beta_fast: r.f64_or("beta_fast", 32.0)?,
            beta_slow: r.f64_or("beta_slow", 1.0)?,
            truncate: r.bool_or("truncate", true)?,
        };
        let mscale = r.f64_or("mscale", 0.0)?;
        self.mscale_all_dim = r.f64_or("mscale_all_dim", 0.0)?;
        self.attention_factor = match r.f64_opt("attention_factor")? {
            Some(x) => x,
            None if mscale != 0.0 && self.mscale_all_dim != 0.0 => {
                yarn_mscale(yarn.factor, mscale) / yarn_mscale(yarn.factor, self.mscale_all_dim)
            }
            None => yarn_mscale(yarn.factor, 1.0),
        };
        self.yarn = Some(yarn);
        Ok(())
    }

    /// The square of mscale that latent attention puts on the softmax.
    pub(super) fn softmax_mscale(&self) -> f64 {
        match &self.yarn {
            Some(yarn) if self.mscale_all_dim != 0.0 => {
                yarn_mscale(yarn.factor, self.mscale_all_dim).powi(2)
            }
            _ => 1.0,
        }
    }

    pub(super) fn spec(self, dim: usize, layout: RopeLayout) -> RopeSpec {
        RopeSpec {
            theta: self.theta,
            dim,
            yarn: self.yarn,
            attention_factor: self.attention_factor,
            learned_scale: false,
            layout,
        }
    }
}

/// `0.1 · mscale · ln(factor) + 1`, and 1 for factors up to 1 (arXiv 2309.00071, section 3.4).
pub(super) fn yarn_mscale(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * mscale * factor.ln() + 1.0
    }
}
