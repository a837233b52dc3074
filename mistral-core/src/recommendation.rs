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
    /// Changes of the need that change the first choice, each found by asking again.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Loads at which own machines cost what the API does.
    #[serde(default)]
    pub break_even: Vec<BreakEven>,
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
    /// What the memory is taken by; `None` for the API.
    #[serde(default)]
    pub memory: Option<MemoryParts>,
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
    /// Whether no other feasible candidate is at least as good in all of quality, time to the
    /// first token, time between tokens, throughput and cost, and better in one.
    pub pareto: bool,
}

/// What a choice takes of its devices' memory, in GB (10^9 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MemoryParts {
    /// Weights, over all devices.
    pub weights_gb: f64,
    /// Keys and values at the whole context and concurrency, over all devices.
    pub kv_cache_gb: f64,
    /// Activations and the engine's own, over all devices.
    pub overhead_gb: f64,
    /// Everything on the fullest device.
    pub per_device_gb: f64,
    /// What the engine may plan with on one device.
    pub usable_gb_per_device: f64,
    /// What one device has.
    pub device_gb: f64,
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
    /// Energy of a generated token while the machines are busy, in joules: their power at full load
    /// over their rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules_per_token: Option<Interval>,
}

/// A model that was considered and isn't among the choices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lost {
    /// Catalogue id.
    pub model: String,
    /// Why, for a reader: the limit's path or rule, a colon and a sentence; several are joined by
    /// semicolons.
    pub because: String,
    /// The same as rules and facts.
    #[serde(default)]
    pub reasons: Vec<Reason>,
}

/// A change of the need that changes the first choice.
///
/// It is true by construction: the need was asked again at [`to`](Self::to) and at
/// [`until`](Self::until).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What changes, by its path in [`Need`].
    pub constraint: String,
    /// Its value now, said or assumed; `None` when nothing limits it.
    pub from: Option<Fact>,
    /// A value beside `to` at which the first choice still has its model and host; `None` for a
    /// switch.
    pub until: Option<Fact>,
    /// The value from which on `then` is first; `None` when the limit is dropped.
    pub to: Option<Fact>,
    /// The first choice then.
    pub then: Winner,
}

/// What would be chosen first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Winner {
    /// Catalogue id.
    pub model: String,
    /// Storage of the weights; `None` for the API.
    pub precision: Option<Precision>,
    /// Who runs it.
    pub hosting: Hosting,
    /// Name in the hardware table; `None` for the API.
    pub device: Option<String>,
    /// Devices used together; 0 for the API.
    pub count: u32,
    /// Devices that each layer is cut over; 0 for the API.
    pub tensor_parallel: u32,
    /// Engine; `None` for the API.
    pub runtime: Option<Runtime>,
    /// Money a month, where it is known.
    pub usd_per_month: Option<f64>,
}

/// The load at which own machines cost what the API does, requests being as long as the need says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BreakEven {
    /// Through the API; its `usd_per_month` is at the stated load.
    pub api: Winner,
    /// On own or rented machines, large enough for the load of the break-even.
    pub own: Winner,
    /// Requests a day; above it the machines cost less, below it the API.
    pub requests_per_day: f64,
    /// What both cost there.
    pub usd_per_month: f64,
    /// Requests a day now, said or assumed.
    pub now_requests_per_day: f64,
    /// Tokens of a prompt.
    pub prompt_tokens: f64,
    /// Tokens of an answer.
    pub output_tokens: f64,
    /// Where both prices are written, with their dates as far as known.
    pub sources: Vec<String>,
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
