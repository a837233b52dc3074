//! What a file says of its model, under llama.cpp's keys.
//!
//! What is written is read back by the reader of this workspace and compared: a field that comes
//! back otherwise can't be expressed in the format, and is refused by its name.

use mistral_core::model::{
    AttentionKind, GgufArray, GgufValue, GqaSpec, ModelSpec, MoeSpec, PositionScale, RopeLayout,
    YarnSpec,
};
use mistral_core::precision::Precision;

use super::{ALIGNMENT, Metadata, MetadataValue};
use crate::error::InferError;

/// Metadata of a model in a precision, without its tokenizer.
pub(super) fn of_model(spec: &ModelSpec, precision: Precision) -> Result<Metadata, InferError> {
    let AttentionKind::Gqa(attention) = spec.attention else {
        return Err(refused("attention", "latent attention"));
    };
    let file_type = precision
        .ggml_file_type()
        .ok_or_else(|| refused("precision", precision.name()))?;
    let mut out = Keys::new(spec);
    out.general("alignment", MetadataValue::U32(ALIGNMENT as u32));
    out.general("architecture", MetadataValue::Text(out.prefix.to_owned()));
    out.general("file_type", MetadataValue::U32(file_type));
    out.general("quantization_version", MetadataValue::U32(2));
    sizes(&mut out, spec, attention)?;
    rope(&mut out, spec)?;
    experts(&mut out, spec)?;
    check(spec, &out.metadata)?;
    Ok(out.metadata)
}

/// Metadata under one architecture's prefix.
struct Keys {
    prefix: &'static str,
    metadata: Metadata,
}

impl Keys {
    /// `llama` runs Mistral and Mixtral; YaRN with its magnitudes and queries scaled by position
    /// are read for `mistral3` only.
    fn new(spec: &ModelSpec) -> Keys {
        let plain = spec.rope.yarn.is_none() && spec.position_scale == PositionScale::None;
        Keys {
            prefix: if plain { "llama" } else { "mistral3" },
            metadata: Metadata::new(),
        }
    }

    fn general(&mut self, key: &str, value: MetadataValue) {
        self.metadata.insert(format!("general.{key}"), value);
    }

    fn put(&mut self, key: &str, value: MetadataValue) {
        let key = format!("{}.{key}", self.prefix);
        self.metadata.insert(key, value);
    }

    fn count(&mut self, key: &'static str, n: usize) -> Result<(), InferError> {
        let small = u32::try_from(n).map_err(|_| refused(key, &n.to_string()))?;
        self.put(key, MetadataValue::U32(small));
        Ok(())
    }

    fn number(&mut self, key: &'static str, x: f64) {
        self.put(key, MetadataValue::F32(x as f32));
    }
}

fn sizes(out: &mut Keys, spec: &ModelSpec, attention: GqaSpec) -> Result<(), InferError> {
    // llama.cpp has no default for it.
    let context = spec.max_seq_len.ok_or_else(|| InferError::Option {
        option: "context_length",
        found: "none".to_owned(),
        expected: "a number, since the model's description doesn't have it",
    })?;
    out.count("context_length", context)?;
    out.count("block_count", spec.n_layers)?;
    out.count("embedding_length", spec.dim)?;
    out.count("vocab_size", spec.vocab_size)?;
    out.count("attention.head_count", spec.n_heads)?;
    out.count("attention.head_count_kv", attention.n_kv_heads)?;
    out.count("attention.key_length", attention.head_dim)?;
    out.count("attention.value_length", attention.head_dim)?;
    out.number("attention.layer_norm_rms_epsilon", spec.norm_eps);
    if let Some(window) = spec.layers.first().and_then(|layer| layer.window) {
        out.count("attention.sliding_window", window)?;
    }
    if let PositionScale::Llama4 {
        beta,
        original_max_position_embeddings,
    } = spec.position_scale
    {
        out.number("attention.temperature_scale", beta);
        let key = "attention.temperature_length";
        out.count(key, original_max_position_embeddings)?;
    }
    Ok(())
}

fn rope(out: &mut Keys, spec: &ModelSpec) -> Result<(), InferError> {
    out.count("rope.dimension_count", spec.rope.dim)?;
    out.number("rope.freq_base", spec.rope.theta);
    let Some(yarn) = &spec.rope.yarn else {
        return Ok(());
    };
    out.put("rope.scaling.type", MetadataValue::Text("yarn".to_owned()));
    out.number("rope.scaling.factor", yarn.factor);
    out.number("rope.scaling.yarn_beta_fast", yarn.beta_fast);
    out.number("rope.scaling.yarn_beta_slow", yarn.beta_slow);
    let key = "rope.scaling.original_context_length";
    out.count(key, yarn.original_max_position_embeddings)?;
    // Readers divide the magnitude that YaRN implies by the one for `mscale_all_dim`.
    let log = yarn.factor.max(1.0).ln();
    let implied = 1.0 + 0.1 * log;
    let all_dim = (implied / spec.rope.attention_factor - 1.0) / (0.1 * log);
    if all_dim.is_finite() && all_dim.abs() > 1e-9 {
        out.number("rope.scaling.yarn_log_multiplier", all_dim);
    }
    Ok(())
}

fn experts(out: &mut Keys, spec: &ModelSpec) -> Result<(), InferError> {
    let Some(moe) = &spec.moe else {
        return out.count("feed_forward_length", spec.hidden_dim);
    };
    if moe.num_shared_experts > 0 {
        let found = moe.num_shared_experts.to_string();
        return Err(refused("num_shared_experts", &found));
    }
    // llama.cpp gives experts this width, whatever a dense layer has.
    out.count("feed_forward_length", moe.expert_hidden_dim)?;
    out.count("expert_count", moe.num_experts)?;
    out.count("expert_used_count", moe.num_experts_per_tok)
}

/// Reads the metadata back and compares what matters for the numbers.
fn check(spec: &ModelSpec, metadata: &Metadata) -> Result<(), InferError> {
    let lookup = |key: &str| metadata.get(key).map(convert);
    let read = ModelSpec::from_gguf_metadata(&lookup, spec.tied_embeddings, spec.vocab_size)?;
    let (a, b) = (spec, &read);
    let fields = [
        ("layers", a.layers == b.layers),
        ("indexer", a.indexer == b.indexer),
        ("moe", same_moe(a.moe.as_ref(), b.moe.as_ref())),
        ("logit_softcap", a.logit_softcap == b.logit_softcap),
        (
            "position_scale",
            same_scale(a.position_scale, b.position_scale),
        ),
        (
            "rope.yarn",
            same_yarn(a.rope.yarn.as_ref(), b.rope.yarn.as_ref()),
        ),
        ("rope.theta", close(a.rope.theta, b.rope.theta)),
        ("rope.dim", a.rope.dim == b.rope.dim),
        (
            "rope.attention_factor",
            close(a.rope.attention_factor, b.rope.attention_factor),
        ),
        (
            "rope.learned_scale",
            a.rope.learned_scale == b.rope.learned_scale,
        ),
        ("softmax_scale", close(a.softmax_scale, b.softmax_scale)),
        ("attention", a.attention == b.attention),
        ("norm_eps", close(a.norm_eps, b.norm_eps)),
        ("vocab_size", a.vocab_size == b.vocab_size),
    ];
    debug_assert_eq!(b.rope.layout, RopeLayout::Interleaved);
    match fields.iter().find(|(_, same)| !same) {
        Some((field, _)) => Err(refused(field, "a value that the format can't express")),
        None => Ok(()),
    }
}

/// Equal, but for what is lost by storing numbers in f32.
fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
}

fn same_yarn(a: Option<&YarnSpec>, b: Option<&YarnSpec>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return a == b;
    };
    close(a.factor, b.factor)
        && close(a.beta_fast, b.beta_fast)
        && close(a.beta_slow, b.beta_slow)
        && a.truncate == b.truncate
        && a.original_max_position_embeddings == b.original_max_position_embeddings
}

fn same_scale(a: PositionScale, b: PositionScale) -> bool {
    let steps = |scale| match scale {
        PositionScale::Llama4 {
            beta,
            original_max_position_embeddings,
        } => Some((beta, original_max_position_embeddings)),
        _ => None,
    };
    match (steps(a), steps(b)) {
        (Some((a, at)), Some((b, bt))) => close(a, b) && at == bt,
        _ => a == b,
    }
}

fn same_moe(a: Option<&MoeSpec>, b: Option<&MoeSpec>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return a == b;
    };
    let rounded = MoeSpec {
        routed_scale: a.routed_scale,
        ..b.clone()
    };
    *a == rounded && close(a.routed_scale, b.routed_scale)
}

fn convert(value: &MetadataValue) -> GgufValue {
    match value {
        MetadataValue::U32(n) => GgufValue::Integer(u64::from(*n)),
        MetadataValue::F32(x) => GgufValue::Float(f64::from(*x)),
        MetadataValue::Bool(flag) => GgufValue::Bool(*flag),
        MetadataValue::Text(text) => GgufValue::Text(text.clone()),
        MetadataValue::Texts(list) => GgufValue::Array(GgufArray::Other(list.len())),
        MetadataValue::F32s(list) => GgufValue::Array(GgufArray::Other(list.len())),
        MetadataValue::I32s(list) => GgufValue::Array(GgufArray::Other(list.len())),
    }
}

fn refused(field: &str, found: &str) -> InferError {
    InferError::NotInGguf {
        field: field.to_owned(),
        found: found.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use mistral_core::catalog::Catalog;
    use mistral_core::model::Architecture;

    use super::*;

    /// `mistral-recommend` offers our runtime with GGUF precisions for these architectures.
    #[test]
    fn released_models_can_be_written_by_their_architecture() {
        let catalog = Catalog::embedded();
        let mut seen = 0;
        for model in catalog.iter() {
            let Ok(Some(spec)) = model.spec() else {
                continue;
            };
            let written = of_model(&spec, Precision::Q4KM);
            let expressible = matches!(
                spec.architecture,
                Architecture::Mistral | Architecture::Mixtral | Architecture::Ministral3
            );
            assert_eq!(written.is_ok(), expressible, "{}: {written:?}", model.id);
            seen += 1;
        }
        assert!(seen > 20, "{seen} models with dimensions");
    }
}
