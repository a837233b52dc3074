//! Model settings of version 15: which ones a tokenizer file allows.

use serde::{Deserialize, Serialize};

use super::encode::response_schema;
use super::error::ChatError;
use super::json::Json;
use super::request::ResponseFormat;

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

/// The settings that stand in a prompt.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ModelSettings {
    reasoning_effort: Option<ReasoningEffort>,
    json_schema: Option<Json>,
}

impl ReasoningEffort {
    /// The effort's name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }
}

impl ModelSettingsBuilder {
    /// The settings of a request; an effort that is left out gets the default.
    pub(super) fn build(
        &self,
        effort: Option<ReasoningEffort>,
        format: &ResponseFormat,
    ) -> Result<ModelSettings, ChatError> {
        let mut settings = ModelSettings::default();
        if let Some(builder) = &self.reasoning_effort {
            let effort = effort.unwrap_or(builder.default);
            if !builder.values.contains(&effort) {
                let allowed = builder.values.clone();
                return Err(ChatError::EffortNotAllowed { effort, allowed });
            }
            settings.reasoning_effort = Some(effort);
        }
        if self.json_schema.is_some() {
            settings.json_schema = response_schema(format);
        }
        Ok(settings)
    }
}

impl ModelSettings {
    /// The settings as JSON, sorted by name; `None` when there are none.
    pub(super) fn to_json(&self) -> Option<Json> {
        let mut entries = Vec::new();
        if let Some(schema) = &self.json_schema {
            entries.push(("json_schema".to_owned(), schema.clone()));
        }
        if let Some(effort) = self.reasoning_effort {
            entries.push(("reasoning_effort".to_owned(), Json::string(effort.name())));
        }
        (!entries.is_empty()).then_some(Json::Object(entries))
    }
}
