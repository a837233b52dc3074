//! A recommendation as plain text.

use std::fmt::Write as _;

use mistral_core::recommendation::{Choice, Lost, Recommendation};

use crate::say::Voice;
use crate::understand::Language;

/// The recommendation as text for a terminal, in the language of the need's words, with at most
/// `most` of its choices.
#[must_use]
pub fn text(r: &Recommendation, most: usize) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write_all(&mut out, r, most, Voice(Language::of(&r.need)));
    out
}

fn write_all(out: &mut String, r: &Recommendation, most: usize, voice: Voice) -> std::fmt::Result {
    let row = |(path, value): (String, String)| format!("{path}{}{value}", voice.word("colon"));
    let understood: Vec<String> = voice.understood(r).into_iter().map(row).collect();
    writeln!(
        out,
        "{}{}",
        voice.word("text.understood"),
        understood.join(", ")
    )?;
    if !r.assumed.is_empty() {
        let assumed = r.assumed.iter().map(|a| row(voice.assumption(a)));
        let assumed: Vec<String> = assumed.collect();
        writeln!(out, "{}{}", voice.word("text.assumed"), assumed.join(", "))?;
    }
    if let Some(e) = &r.error {
        let message = voice.error(&e.code, &e.message);
        let values = [("code", e.code.clone()), ("message", message)];
        writeln!(out, "{}", voice.fill("text.error", &values))?;
    }
    for (i, choice) in r.choices.iter().take(most).enumerate() {
        writeln!(out, "\n{}. {}", i + 1, voice.title(choice))?;
        writeln!(out, "   {}", figures(choice, voice))?;
        for reason in &choice.reasons {
            writeln!(out, "   - {}", voice.sentence(reason))?;
        }
    }
    if let Some(infeasible) = &r.infeasible {
        writeln!(out, "\n{}", voice.word("text.infeasible"))?;
        for change in &infeasible.relax {
            writeln!(out, "   - {}", voice.relax(change))?;
        }
    }
    let mut list = |key, lines: &mut dyn Iterator<Item = String>| -> std::fmt::Result {
        for (i, line) in lines.enumerate() {
            if i == 0 {
                writeln!(
                    out,
                    "\n{}{}",
                    voice.word(key),
                    voice.word("colon").trim_end()
                )?;
            }
            writeln!(out, "   - {line}")?;
        }
        Ok(())
    };
    let changes = &mut r.changes.iter().map(|c| voice.change(c));
    list("text.changes", changes)?;
    let even = &mut r.break_even.iter().map(|b| voice.break_even(b));
    list("text.break_even", even)?;
    let near = r.lost.iter().filter(|l| !unfit(l)).take(8);
    let mut near = near.map(|l| format!("{}{}{}", l.model, voice.word("colon"), voice.loss(l)));
    list("text.lost", &mut near)?;
    if let Some(q) = &r.question {
        writeln!(out, "\n{}{}", voice.word("text.question"), q.text)?;
    }
    Ok(())
}

/// Whether a model isn't meant for the job at all; the others came near.
pub(super) fn unfit(l: &Lost) -> bool {
    let rule = l.because.split(':').next().unwrap_or_default();
    matches!(
        rule,
        "capability"
            | "not_asked_for"
            | "excluded"
            | "retired"
            | "made_for"
            | "dimensions"
            | "price"
    )
}

fn figures(c: &Choice, voice: Voice) -> String {
    let p = &c.predicted;
    let score = [("score", voice.fixed(c.score, 3))];
    let mut parts = vec![voice.fill("text.score", &score)];
    if c.pareto {
        parts[0].push_str(voice.word("text.pareto"));
    }
    for (key, value) in [
        ("text.first_token", p.ttft_ms),
        ("text.each_token", p.tpot_ms),
        ("text.rate", p.tokens_per_s),
        ("text.memory", p.memory_gb),
        ("text.cost", p.usd_per_month),
    ] {
        parts.extend(value.map(|i| voice.fill(key, &[("v", voice.interval(i))])));
    }
    if p.ttft_ms.is_none() && p.tpot_ms.is_none() {
        parts.push(voice.word("text.no_latency").to_owned());
    }
    let amounts = [
        ("context", voice.short(f64::from(c.context_tokens))),
        ("concurrency", voice.short(f64::from(c.concurrency))),
    ];
    parts.push(voice.fill("text.context", &amounts));
    parts.push(voice.value(&c.licence));
    parts.join(" · ")
}
