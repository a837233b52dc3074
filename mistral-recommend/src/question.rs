//! The one question whose answer would change the choice most.

use mistral_core::need::{HostingNeed, Need, Ownership};
use mistral_core::recommendation::Question;

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
    let (topic, english, french) = if infeasible {
        (
            "constraint_conflict",
            "No candidate keeps all limits: which of the changes listed would you accept?",
            "Aucun candidat ne respecte toutes les limites : laquelle des modifications listées accepteriez-vous ?",
        )
    } else if need.task.is_none() && need.models.is_empty() {
        (
            "task",
            "What will the model do?",
            "Que doit faire le modèle ?",
        )
    } else if owned && budget {
        (
            "hardware",
            "Do you own these machines, or does the budget pay their rent?",
            "Possédez-vous ces machines, ou le budget paie-t-il leur location ?",
        )
    } else if machine_open {
        (
            "hardware",
            "Which machines do you have, or may it be rented or called through the API?",
            "De quelles machines disposez-vous, ou peut-on louer ou passer par l'API ?",
        )
    } else if load_open {
        (
            "load",
            "How many people will use it, and how many requests come a day?",
            "Combien de personnes l'utiliseront, et combien de requêtes par jour ?",
        )
    } else {
        return None;
    };
    let text = match language {
        Language::English => english,
        Language::French => french,
    };
    Some(Question {
        topic: topic.to_owned(),
        text: text.to_owned(),
    })
}
