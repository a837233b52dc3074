//! One released model.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Sourced;
use crate::capability::Capability;
use crate::error::CoreError;
use crate::model::ModelSpec;
use crate::precision::Precision;
use crate::sizing;

/// A released model and what is known about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogModel {
    /// Version of this type's serialised form.
    pub schema: u32,
    /// Stable id, such as `mistral-nemo-12b`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Other names that users say.
    pub aliases: Vec<String>,
    /// Hub repository of the weights to run (the instructed ones where there are several);
    /// `None` for a model behind the API only.
    pub repository: Option<Sourced<String>>,
    /// All hub repositories of its weights.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// Whether the hub asks for a token.
    #[serde(default)]
    pub gated: bool,
    /// Names at Mistral's API, the precise one first.
    pub api_names: Option<Sourced<Vec<String>>>,
    /// Day of release.
    pub released: Option<Sourced<String>>,
    /// Where it stands in its life at the API.
    pub status: Option<Sourced<Status>>,
    /// Day that the API stops serving it; the weights stay.
    pub retires: Option<Sourced<String>>,
    /// Id of the model that Mistral names instead.
    pub replacement: Option<Sourced<String>>,
    /// Licence of the weights: an SPDX id, `LicenseRef-…` for Mistral's own.
    pub licence: Option<Sourced<String>>,
    /// Longest sequence that Mistral promises, in tokens.
    pub context_tokens: Option<Sourced<u32>>,
    /// What it can do.
    pub capabilities: Sourced<Vec<Capability>>,
    /// Price at the API.
    pub price: Option<Sourced<ApiPrice>>,
    /// Parameters as published, rounded.
    pub published_parameters: Option<Sourced<ParameterCounts>>,
    /// Parameters of the image or audio encoder and its projector, besides the text decoder.
    pub encoder_parameters: Option<Sourced<u64>>,
    /// Precision of the released weights.
    pub native_precision: Option<Sourced<Precision>>,
    /// Weights that Mistral released in other precisions.
    pub other_weights: Option<Sourced<Vec<Weights>>>,
    /// The fields of its `config.json` that decide sizes and numbers.
    pub config: Option<Sourced<Value>>,
    /// Id of a model whose dimensions stand in where its own aren't published.
    pub dimensions_like: Option<Sourced<String>>,
    /// Scores from 0 to 1.
    #[serde(default)]
    pub benchmarks: Vec<Benchmark>,
}

/// Released weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// How they are stored.
    pub precision: Precision,
    /// Their hub repository.
    pub repository: String,
}

/// Where a model stands in its life at the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Tried out in public.
    Preview,
    /// Supported.
    Available,
    /// To be retired.
    Deprecated,
    /// No longer served.
    Retired,
}

/// Prices at the API.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiPrice {
    /// A million prompt tokens.
    pub usd_per_mtok_in: Option<f64>,
    /// A million generated tokens.
    pub usd_per_mtok_out: Option<f64>,
    /// A minute of audio.
    pub usd_per_minute: Option<f64>,
    /// A thousand pages.
    pub usd_per_1000_pages: Option<f64>,
    /// A million characters of speech.
    pub usd_per_mchar: Option<f64>,
}

/// Parameters, all and those that a token uses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterCounts {
    /// All.
    pub total: f64,
    /// Used by a token.
    pub active: f64,
}

/// A published score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// The benchmark, with its variant in parentheses.
    pub name: String,
    /// The score, from 0 to 1.
    pub value: f64,
    /// Where it is written.
    pub source: String,
    /// Set when no document confirms it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unverified: bool,
}

impl CatalogModel {
    /// The id and every other name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let api = self
            .api_names
            .iter()
            .flat_map(|a| a.value.iter())
            .map(String::as_str);
        [self.id.as_str(), self.name.as_str()]
            .into_iter()
            .chain(self.aliases.iter().map(String::as_str))
            .chain(self.repositories.iter().map(String::as_str))
            .chain(api.filter(|n| !n.ends_with("-latest")))
    }

    /// The text decoder, from the known configuration. Use it for sizes: a checkpoint's own
    /// `config.json` decides its numbers.
    ///
    /// # Errors
    /// [`CoreError`] when the configuration isn't one that [`ModelSpec::from_hf_config`] reads.
    pub fn spec(&self) -> Result<Option<ModelSpec>, CoreError> {
        match &self.config {
            Some(config) => ModelSpec::from_hf_config(&config.value.to_string()).map(Some),
            None => Ok(None),
        }
    }

    /// Parameters of the text decoder: exact when the dimensions are known, else as published.
    #[must_use]
    pub fn parameters(&self) -> Option<sizing::Parameters> {
        if let Ok(Some(spec)) = self.spec() {
            return Some(sizing::parameters(&spec));
        }
        let p = self.published_parameters.as_ref()?.value;
        Some(sizing::Parameters {
            total: p.total as u64,
            active: p.active as u64,
            ..Default::default()
        })
    }

    /// Whether it does this.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.value.contains(&capability)
    }

    /// The hub repository to load for a precision: the one that is stored so, else the one to run.
    #[must_use]
    pub fn repository_for(&self, precision: Precision) -> Option<&str> {
        let other = self.other_weights.iter().flat_map(|o| &o.value);
        other
            .filter(|w| w.precision == precision)
            .map(|w| w.repository.as_str())
            .next()
            .or(self.repository.as_ref().map(|r| r.value.as_str()))
    }

    /// Whether its weights can be downloaded.
    #[must_use]
    pub fn has_open_weights(&self) -> bool {
        self.repository.is_some()
    }

    /// Whether the API serves it on `day` (`YYYY-MM-DD`).
    #[must_use]
    pub fn is_served(&self, day: &str) -> bool {
        self.api_names.is_some()
            && self
                .status
                .as_ref()
                .is_none_or(|s| s.value != Status::Retired)
            && self.retires.as_ref().is_none_or(|r| r.value.as_str() > day)
    }
}
