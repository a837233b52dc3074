//! What the page shows, in the order that it shows it.

use mistral_core::recommendation::{Choice, Recommendation};
use serde::Serialize;
use std::collections::BTreeMap;

use super::bars::{Bars, bars};
use super::plot::{Latency, Plot, plot};
use super::text::unfit;
use crate::say::Voice;
use crate::understand::Language;

/// All that the templates name.
#[derive(Debug, Serialize)]
pub(super) struct View {
    /// Code of the language, and the page's own words in it.
    lang: &'static str,
    t: BTreeMap<&'static str, &'static str>,
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

pub(super) fn view(r: &Recommendation) -> View {
    let voice = Voice(Language::of(&r.need));
    let lost = |not_meant: bool| {
        r.lost
            .iter()
            .filter(|l| unfit(l) == not_meant)
            .map(|l| (l.model.clone(), voice.loss(l)))
            .collect()
    };
    let cards = r.choices.iter().enumerate();
    let cards = cards.map(|(i, c)| card(i, c, voice));
    let relax = r.infeasible.iter().flat_map(|i| &i.relax);
    View {
        lang: voice.code(),
        t: voice.all("page."),
        need: r.need.text.clone(),
        headline: headline(r, voice),
        understood: voice.understood(r),
        assumed: r.assumed.iter().map(|a| voice.assumption(a)).collect(),
        question: r.question.as_ref().map(|q| q.text.clone()),
        error: r
            .error
            .as_ref()
            .map(|e| (e.code.clone(), voice.error(&e.code, &e.message))),
        relax: relax.map(|c| voice.relax(c)).collect(),
        infeasible: r.infeasible.is_some(),
        choices: cards.collect(),
        plots: [Latency::FirstToken, Latency::EachToken]
            .into_iter()
            .filter_map(|l| plot(&r.choices, l, voice))
            .collect(),
        bars: bars(&r.choices, voice),
        changes: r.changes.iter().map(|c| voice.change(c)).collect(),
        break_even: r.break_even.iter().map(|b| voice.break_even(b)).collect(),
        lost: lost(false),
        unfit: lost(true),
        sources: sources(r, voice),
    }
}

fn headline(r: &Recommendation, voice: Voice) -> String {
    match (r.choices.first(), &r.error) {
        (Some(first), _) => {
            let cost = first.predicted.usd_per_month.map(|i| {
                let usd = [("usd", voice.short(i.value))];
                voice.fill("headline.price", &usd)
            });
            voice.title(first) + &cost.unwrap_or_default()
        }
        (None, Some(_)) => voice.word("headline.error").to_owned(),
        (None, None) => voice.word("headline.nothing").to_owned(),
    }
}

fn card(i: usize, c: &Choice, voice: Voice) -> Card {
    let p = &c.predicted;
    let or = |i: Option<_>, otherwise: &str| {
        i.map_or_else(|| (otherwise.to_owned(), String::new()), |i| voice.parts(i))
    };
    let time = |i| or(i, voice.word("page.not_predicted"));
    let show = |i| or(i, "–");
    let names: Vec<String> = c
        .capabilities
        .iter()
        .map(|c| voice.value(c.name()))
        .collect();
    let amounts = [
        ("context", voice.short(f64::from(c.context_tokens))),
        ("concurrency", voice.short(f64::from(c.concurrency))),
    ];
    Card {
        rank: i + 1,
        how: voice.setting(c),
        title: voice.title(c),
        model: c.model.clone(),
        score: voice.fixed(c.score, 3),
        pareto: c.pareto,
        ttft: time(p.ttft_ms),
        tpot: time(p.tpot_ms),
        rate: time(p.tokens_per_s),
        memory: show(p.memory_gb),
        month: show(p.usd_per_month),
        mtok: show(p.usd_per_mtok),
        licence: voice.value(&c.licence),
        capabilities: names.join(", "),
        context: voice.fill("context", &amounts),
        parts: c
            .parts
            .iter()
            .map(|(name, value)| (voice.value(name), voice.fixed(*value, 2)))
            .collect(),
        reasons: c.reasons.iter().map(|r| voice.sentence(r)).collect(),
    }
}

/// Every source once, in the order of first use.
fn sources(r: &Recommendation, voice: Voice) -> Vec<String> {
    let of_choices = r.choices.iter().flat_map(|c| &c.reasons);
    let of_lost = r.lost.iter().flat_map(|l| &l.reasons);
    let mut list: Vec<String> = Vec::new();
    let all = of_choices
        .flat_map(|reason| &reason.sources)
        .chain(r.break_even.iter().flat_map(|b| &b.sources))
        .chain(of_lost.flat_map(|reason| &reason.sources));
    for source in all {
        let source = voice.source(source);
        if !list.contains(&source) {
            list.push(source);
        }
    }
    list
}
