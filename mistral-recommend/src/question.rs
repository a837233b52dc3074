//! The one question whose answer would change the choice most.

use mistral_core::need::{HostingNeed, Need, Ownership};
use mistral_core::recommendation::Question;

use crate::say::Voice;
use crate::understand::Language;

/// What to ask, if anything: first what decides feasibility, then what decides the model, then
/// the machine, then the load.
pub(crate) fn ask(need: &Need, infeasible: bool, language: Language) -> Option<Question> {
    let owned = need
        .hardware
        .iter()
        .any(|h| h.ownership == Ownership::Owned);
    let budget = need.budget.usd_per_month.is_some() || need.budget.usd_per_hour.is_some();
    let load = &need.load;
    let load_open = load.users.is_none()
        && load.concurrency.is_none()
        && load.requests_per_day.is_none()
        && load.requests_per_s.is_none()
        && load.tokens_per_month.is_none();
    let machine_open = need.hardware.is_empty() && need.hosting != Some(HostingNeed::Api);
    let (topic, key) = if infeasible {
        ("constraint_conflict", "ask.constraint_conflict")
    } else if need.task.is_none() && need.models.is_empty() {
        ("task", "ask.task")
    } else if owned && budget {
        ("hardware", "ask.ownership")
    } else if machine_open {
        ("hardware", "ask.hardware")
    } else if load_open {
        ("load", "ask.load")
    } else {
        return None;
    };
    Some(of(topic, key, language))
}

/// A question of the table.
pub(crate) fn of(topic: &str, key: &'static str, language: Language) -> Question {
    Question {
        topic: topic.to_owned(),
        text: Voice(language).word(key).to_owned(),
    }
}
