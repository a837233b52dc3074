//! Why a model isn't among the choices: for programs as rules and facts, for readers in words.

use mistral_core::catalog::CatalogModel;
use mistral_core::reason::{Fact, Reason};
use mistral_core::recommendation::Lost;

use crate::candidate::Candidate;
use crate::limits::Violation;
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

fn lost(model: &str, reasons: Vec<(Reason, String)>) -> Lost {
    let because: Vec<String> = reasons
        .iter()
        .map(|(reason, words)| format!("{}: {words}", reason.rule))
        .collect();
    Lost {
        model: model.to_owned(),
        because: because.join("; "),
        reasons: reasons.into_iter().map(|(reason, _)| reason).collect(),
    }
}

/// A model that can't do the job at all, with the rule and the facts that say so.
pub(crate) fn unable(model: &CatalogModel, reason: &Reason) -> Lost {
    let fact = |name: &str| show(reason.facts.get(name));
    let words = match reason.rule.as_str() {
        "not_asked_for" => "the need names other models".to_owned(),
        "excluded" => "the need rules it out".to_owned(),
        "capability" => format!("it does not do {}", fact("lacks")),
        "made_for" => "it is made for speech, and the job has none".to_owned(),
        "retired" => match reason.facts.get("since") {
            Some(day) => format!(
                "the API stopped serving it on {}, and its weights are not published",
                show(Some(day))
            ),
            None => "the API does not serve it, and its weights are not published".to_owned(),
        },
        "hosting" => match reason.facts.get("since") {
            Some(day) => format!(
                "the API stopped serving it on {}; it needs machines of one's own",
                show(Some(day))
            ),
            None => "the API does not serve it; it needs machines of one's own".to_owned(),
        },
        "price" => "its price for this job is not known".to_owned(),
        "dimensions" => "its dimensions are not known, so its memory can't be computed".to_owned(),
        "runtime" => "no engine that runs here loads it".to_owned(),
        rule => rule.replace('_', " "),
    };
    lost(&model.id, vec![(reason.clone(), words)])
}

/// A model whose nearest candidate breaks limits.
pub(crate) fn missed(model: &CatalogModel, miss: &Miss) -> Lost {
    let reasons = miss
        .broken
        .iter()
        .map(|v| (reason(v, model, &miss.how), words(v, model, &miss.how)))
        .collect();
    lost(&model.id, reasons)
}

fn reason(v: &Violation, model: &CatalogModel, how: &str) -> Reason {
    let mut reason = Reason::new(v.constraint).fact("nearest", how);
    if let Some(limit) = &v.from {
        reason = reason.fact("limit", limit.clone());
    }
    if let Some(needs) = &v.to {
        reason = reason.fact("needs", needs.clone());
    }
    match (&model.licence, v.constraint.starts_with("licence")) {
        (Some(licence), true) => reason
            .fact("licence", licence.value.as_str())
            .source(&licence.source),
        _ => reason,
    }
}

fn words(v: &Violation, model: &CatalogModel, how: &str) -> String {
    let (limit, needs) = (show(v.from.as_ref()), show(v.to.as_ref()));
    let licence = model
        .licence
        .as_ref()
        .map_or("which is not known", |l| l.value.as_str());
    match v.constraint {
        "licence.commercial" => format!("its licence, {licence}, forbids commercial use"),
        "licence.open_source" => format!("its licence, {licence}, is not an open-source one"),
        "licence.open_weights" => "its weights are not published".to_owned(),
        "hosting" if limit == "api" => "it would run on machines of one's own".to_owned(),
        "hosting" if model.has_open_weights() => {
            "of what is at hand only Mistral's API runs it".to_owned()
        }
        "hosting" => "only Mistral's API runs it: its weights are not published".to_owned(),
        "context_tokens" => format!("its context ends at {needs} tokens, {limit} are needed"),
        "hardware.memory_gb" => {
            format!("{how} does not fit: a device would need {needs} GB, it has {limit}")
        }
        "latency.ttft_ms" => format!("{how} takes {needs} ms to the first token, {limit} allowed"),
        "latency.tpot_ms" => format!("{how} takes {needs} ms a token, {limit} allowed"),
        "latency.answer_ms" => format!("{how} takes {needs} ms for an answer, {limit} allowed"),
        "latency.tokens_per_s" => format!("{how} makes {needs} tokens/s, {limit} asked for"),
        "load" => format!("{how} makes {needs} tokens/s, the load needs {limit}"),
        "budget.usd_per_month" => format!("{how} costs {needs} $ a month, {limit} allowed"),
        "budget.usd_per_hour" => format!("{how} costs {needs} $ an hour, {limit} allowed"),
        "budget.usd_per_mtok" => {
            format!("{how} costs {needs} $ a million tokens, {limit} allowed")
        }
        "runtime" | "precision" => format!("{limit} was asked for, and the API offers no choice"),
        other => format!("{limit} allowed, {needs} needed ({other})"),
    }
}

/// A candidate that another one equals or beats in all that counts.
pub(crate) fn dominated(c: &Candidate, by: &Candidate) -> Lost {
    let by_words = format!("{} ({})", by.model, how(by));
    let reason = Reason::new("dominated")
        .fact("this", how(c))
        .fact("by", &*by.model)
        .fact("by_how", how(by));
    let words = format!(
        "{by_words} is at least as good in quality, speed, cost, licence and support; it was taken in {}",
        how(c)
    );
    lost(&c.model, vec![(reason, words)])
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
    let mut words = format!(
        "{} scores {:.3}, the last choice {last:.3}",
        how(c),
        score.value
    );
    if let Some((name, own, best)) = weakest {
        reason = reason
            .fact("weakest", name.as_str())
            .fact("weakest_value", own)
            .fact("first_has", best);
        words.push_str(&format!(
            "; weakest in {name}, {own:.2} against the first choice's {best:.2}"
        ));
    }
    lost(&c.model, vec![(reason, words)])
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

fn show(fact: Option<&Fact>) -> String {
    match fact {
        None => "something else".to_owned(),
        Some(Fact::Bool(b)) => b.to_string(),
        Some(Fact::Number(n)) => n.to_string(),
        Some(Fact::Text(t)) => t.clone(),
    }
}
