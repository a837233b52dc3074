//! What the page shows, in the order that it shows it.

use mistral_core::recommendation::{Choice, Recommendation};
use serde::Serialize;

use super::bars::{Bars, bars};
use super::plot::{Latency, Plot, plot};
use super::words;

/// All that the templates name.
#[derive(Debug, Serialize)]
pub(super) struct View {
    need: Option<String>,
    headline: String,
    understood: Vec<(String, String)>,
    assumed: Vec<(String, String)>,
    question: Option<String>,
    error: Option<(String, String)>,
    relax: Vec<String>,
    infeasible: bool,
    choices: Vec<Card>,
    plots: Vec<Plot>,
    bars: Option<Bars>,
    changes: Vec<String>,
    break_even: Vec<String>,
    lost: Vec<(String, String)>,
    unfit: Vec<(String, String)>,
    sources: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Card {
    rank: usize,
    title: String,
    model: String,
    how: String,
    score: String,
    pareto: bool,
    ttft: (String, String),
    tpot: (String, String),
    rate: (String, String),
    memory: (String, String),
    month: (String, String),
    mtok: (String, String),
    licence: String,
    capabilities: String,
    context: String,
    parts: Vec<(String, String)>,
    reasons: Vec<String>,
}

/// Rules that say that a model isn't meant for the job at all; the others came near.
const UNFIT: &[&str] = &[
    "capability",
    "not_asked_for",
    "excluded",
    "retired",
    "made_for",
    "dimensions",
    "price",
];

pub(super) fn view(r: &Recommendation) -> View {
    let lost = |unfit: bool| {
        let rule = |because: &str| because.split(':').next().unwrap_or_default().to_owned();
        r.lost
            .iter()
            .filter(|l| UNFIT.contains(&rule(&l.because).as_str()) == unfit)
            .map(|l| (l.model.clone(), l.because.clone()))
            .collect()
    };
    let relax = r.infeasible.iter().flat_map(|i| &i.relax);
    View {
        need: r.need.text.clone(),
        headline: headline(r),
        understood: words::understood(r),
        assumed: r.assumed.iter().map(|a| pair(a)).collect(),
        question: r.question.as_ref().map(|q| q.text.clone()),
        error: r
            .error
            .as_ref()
            .map(|e| (e.code.clone(), e.message.clone())),
        relax: relax.map(words::relax).collect(),
        infeasible: r.infeasible.is_some(),
        choices: r.choices.iter().enumerate().map(card).collect(),
        plots: [Latency::FirstToken, Latency::EachToken]
            .into_iter()
            .filter_map(|l| plot(&r.choices, l))
            .collect(),
        bars: bars(&r.choices),
        changes: r.changes.iter().map(words::change).collect(),
        break_even: r.break_even.iter().map(words::break_even).collect(),
        lost: lost(false),
        unfit: lost(true),
        sources: sources(r),
    }
}

fn headline(r: &Recommendation) -> String {
    match (r.choices.first(), &r.error) {
        (Some(first), _) => {
            let cost = first.predicted.usd_per_month;
            let cost = cost.map(|i| format!(", {} $ a month", words::short(i.value)));
            format!("{}{}", words::title(first), cost.unwrap_or_default())
        }
        (None, Some(_)) => "This need can't be served".to_owned(),
        (None, None) => "Nothing keeps all limits".to_owned(),
    }
}

/// `name: value` in two.
fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once(": ").unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

fn card((i, c): (usize, &Choice)) -> Card {
    let p = &c.predicted;
    let show = |i: Option<_>| i.map_or_else(|| ("–".to_owned(), String::new()), words::parts);
    let title = words::title(c);
    let how = title.strip_prefix(c.model.as_str()).unwrap_or(&title);
    let names: Vec<&str> = c.capabilities.iter().map(|c| c.name()).collect();
    Card {
        rank: i + 1,
        how: how.trim().to_owned(),
        title,
        model: c.model.clone(),
        score: format!("{:.3}", c.score),
        pareto: c.pareto,
        ttft: show(p.ttft_ms),
        tpot: show(p.tpot_ms),
        rate: show(p.tokens_per_s),
        memory: show(p.memory_gb),
        month: show(p.usd_per_month),
        mtok: show(p.usd_per_mtok),
        licence: c.licence.clone(),
        capabilities: names.join(", "),
        context: format!(
            "{} tokens, {} at once",
            words::short(f64::from(c.context_tokens)),
            words::short(f64::from(c.concurrency))
        ),
        parts: c
            .parts
            .iter()
            .map(|(name, value)| (name.clone(), format!("{value:.2}")))
            .collect(),
        reasons: c.reasons.iter().map(words::sentence).collect(),
    }
}

/// Every source once, in the order of first use.
fn sources(r: &Recommendation) -> Vec<String> {
    let of_choices = r.choices.iter().flat_map(|c| &c.reasons);
    let of_lost = r.lost.iter().flat_map(|l| &l.reasons);
    let mut list: Vec<String> = Vec::new();
    let all = of_choices
        .flat_map(|reason| &reason.sources)
        .chain(r.break_even.iter().flat_map(|b| &b.sources))
        .chain(of_lost.flat_map(|reason| &reason.sources));
    for source in all {
        if !list.contains(source) {
            list.push(source.clone());
        }
    }
    list
}
