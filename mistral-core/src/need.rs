//! What a user needs, as plain data.
//!
//! Every field but the version is optional: what is absent was not said. `mistral-recommend`
//! fills a need from a sentence and lists what it had to assume.

use serde::{Deserialize, Serialize};

use crate::capability::Capability;
use crate::plan::Runtime;
use crate::precision::Precision;

/// A need: the job, the machine, the limits.
///
/// Unknown fields are refused when it is read, because a mistyped limit that is ignored breaks a
/// promise silently.
///
/// ```
/// use mistral_core::need::{Need, Task};
/// let need: Need = serde_json::from_str(r#"{"schema": 1, "task": "code", "budget": {"usd_per_month": 500}}"#)?;
/// assert_eq!(need.task, Some(Task::Code));
/// assert_eq!(need.budget.usd_per_month, Some(500.0));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// Version of this type's serialised form.
    #[serde(default = "Need::schema")]
    pub schema: u32,
    /// The user's words, when there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The main job.
    #[serde(default)]
    pub task: Option<Task>,
    /// What the model must be able to do besides.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// Languages of the texts, as ISO 639-1 codes.
    #[serde(default)]
    pub languages: Vec<String>,
    /// Where it may run.
    #[serde(default)]
    pub hosting: Option<HostingNeed>,
    /// Machines at hand; empty when none was named.
    #[serde(default)]
    pub hardware: Vec<HardwareNeed>,
    /// Money.
    #[serde(default)]
    pub budget: Budget,
    /// Time.
    #[serde(default)]
    pub latency: LatencyNeed,
    /// How much work arrives.
    #[serde(default)]
    pub load: Load,
    /// Longest sequence (prompt and answer) that must fit, in tokens.
    #[serde(default)]
    pub context_tokens: Option<u32>,
    /// What the licence must allow.
    #[serde(default)]
    pub licence: LicenceNeed,
    /// Catalogue ids to choose among; empty for all.
    #[serde(default)]
    pub models: Vec<String>,
    /// Catalogue ids that are ruled out.
    #[serde(default)]
    pub excluded_models: Vec<String>,
    /// A precision that was asked for.
    #[serde(default)]
    pub precision: Option<Precision>,
    /// An engine that was asked for.
    #[serde(default)]
    pub runtime: Option<Runtime>,
    /// What counts most, once all limits hold.
    #[serde(default)]
    pub priorities: Vec<Priority>,
}

impl Need {
    /// Version of the serialised form that this code writes.
    pub const SCHEMA: u32 = 1;

    fn schema() -> u32 {
        Self::SCHEMA
    }
}

impl Default for Need {
    fn default() -> Self {
        Self {
            schema: Self::SCHEMA,
            text: None,
            task: None,
            capabilities: Vec::new(),
            languages: Vec::new(),
            hosting: None,
            hardware: Vec::new(),
            budget: Budget::default(),
            latency: LatencyNeed::default(),
            load: Load::default(),
            context_tokens: None,
            licence: LicenceNeed::default(),
            models: Vec::new(),
            excluded_models: Vec::new(),
            precision: None,
            runtime: None,
            priorities: Vec::new(),
        }
    }
}

/// The jobs that models are chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Task {
    /// Conversation, support, assistants.
    Chat,
    /// Writing and explaining code.
    Code,
    /// Completion inside an editor.
    Fim,
    /// Work over many steps with tools.
    Agents,
    /// Hard questions, mathematics.
    Reasoning,
    /// Questions about images.
    Vision,
    /// Text out of scans and documents.
    Ocr,
    /// Answers from retrieved passages.
    Rag,
    /// Shortening.
    Summarise,
    /// Between languages.
    Translate,
    /// Labels and structured fields out of text.
    Extract,
    /// Speech to text, questions about speech.
    Transcribe,
    /// Text to speech.
    Speech,
    /// Text to vectors.
    Embed,
    /// Judging content.
    Moderate,
}

impl Task {
    /// Every task, in declared order.
    pub const ALL: &'static [Task] = &[
        Self::Chat,
        Self::Code,
        Self::Fim,
        Self::Agents,
        Self::Reasoning,
        Self::Vision,
        Self::Ocr,
        Self::Rag,
        Self::Summarise,
        Self::Translate,
        Self::Extract,
        Self::Transcribe,
        Self::Speech,
        Self::Embed,
        Self::Moderate,
    ];

    /// The name as it is serialised.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Code => "code",
            Self::Fim => "fim",
            Self::Agents => "agents",
            Self::Reasoning => "reasoning",
            Self::Vision => "vision",
            Self::Ocr => "ocr",
            Self::Rag => "rag",
            Self::Summarise => "summarise",
            Self::Translate => "translate",
            Self::Extract => "extract",
            Self::Transcribe => "transcribe",
            Self::Speech => "speech",
            Self::Embed => "embed",
            Self::Moderate => "moderate",
        }
    }
}

/// Where a model may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HostingNeed {
    /// On machines that the user owns or rents; nothing goes to a model provider.
    SelfHosted,
    /// On machines that the user owns, without a network.
    Offline,
    /// Through Mistral's API.
    Api,
}

/// Devices of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardwareNeed {
    /// Name in the hardware table; `None` when only the memory is known.
    #[serde(default)]
    pub device: Option<String>,
    /// How many.
    #[serde(default = "one")]
    pub count: u32,
    /// Memory of each in GB (10^9 bytes), when it was said or differs from the table.
    #[serde(default)]
    pub memory_gb: Option<f64>,
    /// Whether the user has them already or pays for them by the hour.
    #[serde(default)]
    pub ownership: Ownership,
}

fn one() -> u32 {
    1
}

/// Who pays for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// At hand: only its energy costs.
    #[default]
    Owned,
    /// By the hour, at the table's price.
    Rented,
}

/// Limits on money, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// A month, all included.
    #[serde(default)]
    pub usd_per_month: Option<f64>,
    /// An hour of running.
    #[serde(default)]
    pub usd_per_hour: Option<f64>,
    /// A million tokens, prompt and answer together.
    #[serde(default)]
    pub usd_per_mtok: Option<f64>,
}

/// Limits on time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyNeed {
    /// Longest time to the first token, in milliseconds.
    #[serde(default)]
    pub ttft_ms: Option<f64>,
    /// Longest time between tokens, in milliseconds.
    #[serde(default)]
    pub tpot_ms: Option<f64>,
    /// Longest time to a whole answer, in milliseconds.
    #[serde(default)]
    pub answer_ms: Option<f64>,
    /// Least tokens per second over all users.
    #[serde(default)]
    pub tokens_per_s: Option<f64>,
}

/// How much work arrives.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// People with an account; few of them ask at the same moment.
    #[serde(default)]
    pub users: Option<u32>,
    /// Requests served at the same moment.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// Requests a day.
    #[serde(default)]
    pub requests_per_day: Option<f64>,
    /// Requests a second at the busiest moment.
    #[serde(default)]
    pub requests_per_s: Option<f64>,
    /// Tokens of a prompt.
    #[serde(default)]
    pub prompt_tokens: Option<u32>,
    /// Tokens of an answer.
    #[serde(default)]
    pub output_tokens: Option<u32>,
    /// Tokens a month, prompts and answers together.
    #[serde(default)]
    pub tokens_per_month: Option<f64>,
}

/// What the licence must allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LicenceNeed {
    /// Use for profit; `Some(false)` says that research is enough.
    #[serde(default)]
    pub commercial: Option<bool>,
    /// A licence that the Open Source Initiative approves.
    #[serde(default)]
    pub open_source: Option<bool>,
    /// Weights that can be downloaded.
    #[serde(default)]
    pub open_weights: Option<bool>,
}

/// What to prefer among candidates that keep all limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Priority {
    /// Better answers.
    Quality,
    /// Lower latency.
    Speed,
    /// More tokens a second.
    Throughput,
    /// Less money.
    Cost,
    /// Less memory.
    Size,
    /// Supported for longer.
    Longevity,
}

#[cfg(test)]
mod tests {
    use super::Need;

    #[test]
    fn an_empty_object_is_a_need_and_a_wrong_name_is_not() {
        let need: Need = serde_json::from_str("{}").expect("all fields are optional");
        assert_eq!(need, Need::default());
        let back = serde_json::to_string(&need).expect("serialises");
        assert_eq!(serde_json::from_str::<Need>(&back).expect("parses"), need);
        let err = serde_json::from_str::<Need>(r#"{"budget":{"usd_a_month":5}}"#);
        assert!(
            err.expect_err("refused")
                .to_string()
                .contains("usd_a_month")
        );
    }
}
