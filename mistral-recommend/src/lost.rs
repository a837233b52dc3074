//! Why a model isn't among the choices, as rules and facts.

use mistral_core::catalog::CatalogModel;
use mistral_core::reason::Reason;
use mistral_core::recommendation::Lost;

use crate::candidate::Candidate;
use crate::limits::Violation;
use crate::say::because;
use crate::score::Score;

/// A model's nearest miss: what it broke, and how it would have run.
#[derive(Debug, Clone)]
pub(crate) struct Miss {
    pub(crate) broken: Vec<Violation>,
    /// `q4_k_m on 1 x L4`, or `the API`.
    pub(crate) how: String,
}

impl Miss {
    pub(crate) fn distance(&self) -> f64 {
        distance(&self.broken)
    }
}

/// How far a candidate is from being let through. Another host than the one asked for is farther
/// than any amount: a user's own machines explain more about a model than that the API has it.
pub(crate) fn distance(broken: &[Violation]) -> f64 {
    let far = |v: &Violation| {
        if v.constraint == "hosting" {
            1e9
        } else {
            v.excess
        }
    };
    broken.iter().map(far).product()
}

/// A candidate in a few words.
pub(crate) fn how(c: &Candidate) -> String {
    match (c.precision, &c.device) {
        (Some(precision), Some(device)) => format!("{precision} on {} x {device}", c.count),
        _ => "the API".to_owned(),
    }
}

fn lost(model: &str, reasons: Vec<Reason>) -> Lost {
    Lost {
        model: model.to_owned(),
        because: because(&reasons),
        reasons,
    }
}

/// A model that can't do the job at all, with the rule and the facts that say so.
pub(crate) fn unable(model: &CatalogModel, reason: &Reason) -> Lost {
    lost(&model.id, vec![reason.clone()])
}

/// A model whose nearest candidate breaks limits.
pub(crate) fn missed(model: &CatalogModel, miss: &Miss) -> Lost {
    let broken = miss.broken.iter();
    let reasons = broken.map(|v| reason(v, model, &miss.how));
    lost(&model.id, reasons.collect())
}

fn reason(v: &Violation, model: &CatalogModel, how: &str) -> Reason {
    let mut reason = Reason::new(v.constraint).fact("nearest", how);
    if let Some(limit) = &v.from {
        reason = reason.fact("limit", limit.clone());
    }
    if let Some(needs) = &v.to {
        reason = reason.fact("needs", needs.clone());
    }
    if v.constraint == "hosting" {
        reason = reason.fact("open_weights", model.has_open_weights());
    }
    match (&model.licence, v.constraint.starts_with("licence")) {
        (Some(licence), true) => reason
            .fact("licence", licence.value.as_str())
            .source(&licence.source),
        _ => reason,
    }
}

/// A candidate that another one equals or beats in all that counts.
pub(crate) fn dominated(c: &Candidate, by: &Candidate) -> Lost {
    let reason = Reason::new("dominated")
        .fact("this", how(c))
        .fact("by", &*by.model)
        .fact("by_how", how(by));
    lost(&c.model, vec![reason])
}

/// A candidate that keeps all limits and scores below the last choice; says in what it is weakest
/// beside the first.
pub(crate) fn outscored(c: &Candidate, score: &Score, last: f64, first: &Score) -> Lost {
    let weakest = score
        .parts
        .iter()
        .filter_map(|(name, value)| Some((name, *value, *first.parts.get(name)?)))
        .filter(|(_, own, best)| own < best)
        .max_by(|a, b| (a.2 - a.1).total_cmp(&(b.2 - b.1)));
    let mut reason = Reason::new("score")
        .fact("score", score.value)
        .fact("last_choice", last)
        .fact("nearest", how(c));
    if let Some((name, own, best)) = weakest {
        reason = reason
            .fact("weakest", name.as_str())
            .fact("weakest_value", own)
            .fact("first_has", best);
    }
    lost(&c.model, vec![reason])
}

/// Why the API doesn't run a model.
pub(crate) fn not_served(model: &CatalogModel, today: &str) -> Reason {
    let rule = if model.has_open_weights() {
        "hosting"
    } else {
        "retired"
    };
    let reason = Reason::new(rule);
    let past = model
        .retires
        .as_ref()
        .filter(|day| day.value.as_str() <= today);
    match (past, model.api_names.is_some()) {
        (Some(day), true) => reason.fact("since", day.value.as_str()).source(&day.source),
        _ => reason,
    }
}
