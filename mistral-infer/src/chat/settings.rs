//! Model settings of version 15: which ones a tokenizer file allows.

use serde::{Deserialize, Serialize};

/// How much a model reasons before it answers.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasoningEffort {
    /// Answers directly.
    None,
    /// Reasons a little.
    Minimal,
    /// Less than medium.
    Low,
    /// Between low and high.
    Medium,
    /// Reasons at length.
    High,
    /// More than high.
    Xhigh,
    /// As much as the model can.
    Max,
}

/// The settings that a tokenizer file allows, from its `model_settings_builder`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ModelSettingsBuilder {
    /// Allowed reasoning efforts; `None` when requests cannot set one.
    #[serde(default)]
    pub reasoning_effort: Option<EffortBuilder>,
    /// Whether a response schema is part of the settings.
    #[serde(default)]
    pub json_schema: Option<SchemaBuilder>,
}

/// Allowed values of the reasoning effort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EffortBuilder {
    /// Always `enum`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The allowed values.
    pub values: Vec<ReasoningEffort>,
    /// Always true: a request may leave the effort out.
    pub accepts_none: bool,
    /// What a request that leaves it out gets.
    pub default: ReasoningEffort,
}

/// Marks that response schemas are part of the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SchemaBuilder {
    /// Always `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
}
