//! The answer to a need: ranked choices, each predicted and explained.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capability::Capability;
use crate::need::Need;
use crate::plan::Runtime;
use crate::precision::Precision;
use crate::reason::{Fact, Reason};

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// Version of this type's serialised form.
    pub schema: u32,
    /// The need as understood.
    pub need: Need,
    /// What had to be assumed because the need doesn't say it, as `name: value` texts.
    pub assumed: Vec<String>,
    /// The one question whose answer would change the choice most.
    pub question: Option<Question>,
    /// Best first.
    pub choices: Vec<Choice>,
    /// Models that were considered and aren't among the choices.
    pub lost: Vec<Lost>,
    /// Set when no candidate keeps all limits.
    pub infeasible: Option<Infeasible>,
    /// Set when the need can't be served at all.
    pub error: Option<Failure>,
}

impl Recommendation {
    /// Version of the serialised form that this code writes.
    pub const SCHEMA: u32 = 1;
}

/// Something to ask the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What it is about: `task`, `hardware`, `budget`, `load`, `constraint_conflict`, …
    pub topic: String,
    /// The question, in the language of the need.
    pub text: String,
}

/// One way to serve the need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Catalogue id.
    pub model: String,
    /// Storage of the weights; for the API unknown and `None`.
    pub precision: Option<Precision>,
    /// Who runs it.
    pub hosting: Hosting,
    /// Name in the hardware table; `None` for the API.
    pub device: Option<String>,
    /// Devices used together; 0 for the API.
    pub count: u32,
    /// Devices that each layer is cut over; the others hold further copies. 0 for the API.
    #[serde(default)]
    pub tensor_parallel: u32,
    /// Engine; `None` for the API.
    pub runtime: Option<Runtime>,
    /// Longest sequence that is provided for, in tokens.
    pub context_tokens: u32,
    /// Requests served at the same moment.
    pub concurrency: u32,
    /// What it should do.
    pub predicted: Predicted,
    /// Licence of the weights, as an SPDX id where one exists.
    pub licence: String,
    /// What the model can do.
    pub capabilities: Vec<Capability>,
    /// From 0 to 1; a sum of the parts by weight.
    pub score: f64,
    /// The score's parts, each from 0 to 1, higher is better.
    pub parts: BTreeMap<String, f64>,
    /// Why it stands where it stands.
    pub reasons: Vec<Reason>,
    /// Whether no other feasible candidate is at least as good in all of quality, latency,
    /// throughput and cost, and better in one.
    pub pareto: bool,
}

/// Who runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hosting {
    /// The user, on hardware at hand or rented.
    #[serde(rename = "self")]
    SelfHosted,
    /// Mistral.
    Api,
}

/// A predicted amount.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The expected value.
    pub value: f64,
    /// One of ten measured values lies below it.
    pub lo: f64,
    /// One of ten measured values lies above it.
    pub hi: f64,
}

impl Interval {
    /// An amount that is computed exactly.
    #[must_use]
    pub fn exact(value: f64) -> Self {
        Self {
            value,
            lo: value,
            hi: value,
        }
    }

    /// `value` with the factor `spread >= 1` to either side.
    #[must_use]
    pub fn spread(value: f64, spread: f64) -> Self {
        Self {
            value,
            lo: value / spread,
            hi: value * spread,
        }
    }
}

/// What a choice should do. An amount that can't be predicted is `None`, never a guess.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Predicted {
    /// Time to the first token of an answer.
    pub ttft_ms: Option<Interval>,
    /// Time between an answer's tokens.
    pub tpot_ms: Option<Interval>,
    /// Generated tokens a second over all requests.
    pub tokens_per_s: Option<Interval>,
    /// Memory over all devices: weights, cache, activations, runtime.
    pub memory_gb: Option<Interval>,
    /// Money a month at the stated load.
    pub usd_per_month: Option<Interval>,
    /// Money a million tokens, prompts and answers together, at the stated load.
    pub usd_per_mtok: Option<Interval>,
}

/// A model that was considered and isn't among the choices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lost {
    /// Catalogue id.
    pub model: String,
    /// The rule that ruled it out, or `score` when it was only worse: `rule: fact=value …`.
    pub because: String,
}

/// No candidate keeps all limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Infeasible {
    /// Changes, each of which alone would let a candidate through, smallest first.
    pub relax: Vec<Relax>,
}

/// A limit and the value that would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relax {
    /// The limit, by its path in [`Need`].
    pub constraint: String,
    /// Its value now.
    pub from: Option<Fact>,
    /// A value that lets a candidate through; `None` to drop it.
    pub to: Option<Fact>,
}

/// Why a need can't be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable name.
    pub code: String,
    /// What was expected and what was found.
    pub message: String,
}
