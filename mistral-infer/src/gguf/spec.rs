//! The model's description from metadata.

use std::cell::RefCell;
use std::collections::HashSet;

use mistral_core::CoreError;
use mistral_core::model::{GgufArray, GgufValue, ModelSpec};
use mistral_core::precision::Precision;

use super::Gguf;
use super::value::{Array, Value};
use crate::error::InferError;

/// Lists with one entry a layer are shorter than this; longer ones say nothing of a model.
const MAX_LIST: usize = 1 << 16;

/// Keys of an architecture that change no number, or repeat what others say.
const WITHOUT_EFFECT: &[&str] = &[
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "expert_shared_feed_forward_length",
    "leading_dense_block_count",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "tensor_data_layout",
];

/// Factors, which change nothing when they are one.
const FACTORS: &[&str] = &[
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_ext_factor",
    "rope.scale_linear",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
];

impl Gguf {
    /// What the model is.
    ///
    /// # Errors
    /// [`InferError::MissingTensor`] without a token embedding, and [`InferError::Spec`] when
    /// the metadata lacks something, contradicts itself, or has a field of the architecture that
    /// would change the numbers and isn't supported.
    pub fn spec(&self) -> Result<ModelSpec, InferError> {
        let embedding = "token_embd.weight";
        let missing = || InferError::MissingTensor {
            name: embedding.to_owned(),
            shape: Vec::new(),
        };
        let (table, _) = self.tensor(embedding).ok_or_else(missing)?;
        let tied = self.tensor("output.weight").is_none();
        let read = RefCell::new(HashSet::new());
        let lookup = |key: &str| {
            read.borrow_mut().insert(key.to_owned());
            self.value(key).map(convert)
        };
        ModelSpec::from_gguf_metadata(&lookup, tied, table.shape[0])
            .and_then(|spec| self.refuse_unread(&read.take()).map(|()| spec))
            .map_err(|source| InferError::Spec {
                path: self.path().to_owned(),
                source,
            })
    }

    /// What the mix of formats is called (`general.file_type`); `None` for mixes without a name of
    /// ours.
    #[must_use]
    pub fn precision(&self) -> Option<Precision> {
        Precision::from_ggml_file_type(self.value("general.file_type")?.integer()?)
    }

    /// Refuses keys of the architecture that the description doesn't know and that say something.
    fn refuse_unread(&self, read: &HashSet<String>) -> Result<(), CoreError> {
        let architecture = self.value("general.architecture").and_then(Value::text);
        let prefix = format!("{}.", architecture.unwrap_or_default());
        for key in self.keys().filter(|key| !read.contains(*key)) {
            let Some(field) = key.strip_prefix(&prefix) else {
                continue;
            };
            let Some(value) = self.value(key) else {
                continue;
            };
            let silent = match value {
                Value::Bool(flag) => flag == (field == "attention.causal"),
                Value::Unsigned(n) => n == 0,
                Value::Signed(n) => n == 0,
                Value::Float(x) => x == 0.0 || (x == 1.0 && FACTORS.contains(&field)),
                Value::Text(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
            };
            if !silent && !WITHOUT_EFFECT.contains(&field) {
                return Err(CoreError::UnsupportedField {
                    file: "gguf metadata",
                    field: key.to_owned(),
                    found: value.describe(),
                });
            }
        }
        Ok(())
    }
}

fn convert(value: Value<'_>) -> GgufValue {
    match value {
        Value::Unsigned(n) => GgufValue::Integer(n),
        // Nothing that a description needs is negative: as a float it is refused by its key.
        Value::Signed(n) => u64::try_from(n).map_or(GgufValue::Float(n as f64), GgufValue::Integer),
        Value::Float(x) => GgufValue::Float(x),
        Value::Bool(flag) => GgufValue::Bool(flag),
        Value::Text(text) => GgufValue::Text(text.to_owned()),
        Value::Array(list) => GgufValue::Array(convert_list(&list)),
    }
}

fn convert_list(list: &Array<'_>) -> GgufArray {
    let other = GgufArray::Other(list.len());
    let Some(values) = list.scalars().filter(|_| list.len() <= MAX_LIST) else {
        return other;
    };
    let values: Vec<Value<'_>> = values.collect();
    let integers: Option<Vec<u64>> = values.iter().map(|v| v.integer()).collect();
    let flags: Option<Vec<bool>> = values.iter().map(|v| v.flag()).collect();
    match (integers, flags) {
        (Some(integers), _) => GgufArray::Integers(integers),
        (_, Some(flags)) => GgufArray::Bools(flags),
        _ => other,
    }
}
