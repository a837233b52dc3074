//! What recommendations learn: how far the estimate is off on a device, and what a user prefers.
//!
//! A [`UserHistory`] is all that is known of a user: needs, what was shown, what was chosen, how it
//! went, and measured runs. [`Learned::from_history`] makes of it what [`Context::learned`] takes:
//! the same history gives the same answer. Hard limits stay what they are: learned weights order
//! candidates that keep them, and corrected forecasts are held to them like any other.
//!
//! ```
//! use mistral_recommend::learn::{History, Learned, Shown};
//! use mistral_recommend::{Context, recommend_text};
//!
//! let mut context = Context::embedded("2026-11-23");
//! let need = "a chat model on one L4 card";
//! let mut history = History::default();
//! for _ in 0..3 {
//!     let answer = recommend_text(need, &context)?;
//!     let last = answer.choices.len() - 1;
//!     let shown = history.record_shown("ann", Shown::of(&answer, "2026-11-23"))?;
//!     history.record_choice("ann", shown, last, "2026-11-23")?;
//!     context.learned = Some(Learned::from_history(&history.of("ann"), &[], &context));
//! }
//! let answer = recommend_text(need, &context)?;
//! let learned = answer.choices[0].reasons.iter().find(|r| r.rule == "learned.preference");
//! assert!(learned.is_some_and(|r| r.facts.contains_key("choices")));
//! # Ok::<(), mistral_recommend::RecommendError>(())
//! ```
//!
//! [`Context::learned`]: crate::Context::learned

mod bias;
mod evaluate;
mod explore;
mod history;
mod linear;
mod preference;
mod random;
mod residual;
#[cfg(feature = "history")]
mod store;

pub use bias::{Correction, Corrections, DeviceCorrection, Unused};
pub use evaluate::{Logged, PolicyValue, doubly_robust, inverse_propensity};
pub use explore::{Exploration, Order, explore};
pub use history::{
    Chosen, History, KeptReport, Outcome, Policy, Sharing, Shown, ShownChoice, UserHistory,
};
pub use preference::{Observation, Preference};
pub use residual::{Residual, residual};
#[cfg(feature = "history")]
pub use store::Store;

use mistral_core::plan::Runtime;
use mistral_core::reason::Reason;
use mistral_core::report::RunReport;

use crate::Context;
use crate::score::Weights;

/// What was learned from one history.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Learned {
    /// The user's trade-offs; `None` before the first choice.
    pub preference: Option<Preference>,
    /// The estimate's bias by device and engine.
    pub corrections: Corrections,
}

impl Learned {
    /// Learns from a user's history and from `shared` reports of others. What of `context` was
    /// learned before isn't read; what of the history can't be used is named in
    /// [`Corrections::unused`].
    #[must_use]
    pub fn from_history(
        history: &UserHistory,
        shared: &[RunReport],
        context: &Context<'_>,
    ) -> Self {
        let observations = history.observations();
        let own = history.reports.iter().map(|kept| &kept.report);
        Self {
            preference: (!observations.is_empty()).then(|| Preference::learn(&observations)),
            corrections: Corrections::learn(own.chain(shared), context),
        }
    }

    /// The weights of scores.
    #[must_use]
    pub fn weights(&self) -> Weights {
        self.preference
            .as_ref()
            .map_or(Weights::FIXED, Preference::weights)
    }

    /// What was learned about a choice on this device and engine: `learned.preference` and
    /// `learned.bias`, each only when there is something.
    #[must_use]
    pub fn reasons(&self, device: Option<&str>, runtime: Option<Runtime>) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = self.preference.iter().map(Preference::reason).collect();
        if let (Some(device), Some(runtime)) = (device, runtime) {
            reasons.extend(self.corrections.reason(device, runtime));
        }
        reasons
    }
}
