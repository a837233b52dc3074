//! A recommendation as plain text.

use std::fmt::Write as _;

use mistral_core::recommendation::{Choice, Recommendation};

use super::words;

/// The recommendation as text for a terminal, in English, with at most `most` of its choices.
#[must_use]
pub fn text(r: &Recommendation, most: usize) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write_all(&mut out, r, most);
    out
}

fn write_all(out: &mut String, r: &Recommendation, most: usize) -> std::fmt::Result {
    let understood: Vec<String> = words::understood(r)
        .into_iter()
        .map(|(path, value)| format!("{path} {value}"))
        .collect();
    writeln!(out, "Understood: {}", understood.join(", "))?;
    if !r.assumed.is_empty() {
        writeln!(out, "Assumed:    {}", r.assumed.join(", "))?;
    }
    if let Some(error) = &r.error {
        writeln!(out, "Not possible ({}): {}", error.code, error.message)?;
    }
    for (i, choice) in r.choices.iter().take(most).enumerate() {
        writeln!(out, "\n{}. {}", i + 1, words::title(choice))?;
        writeln!(out, "   {}", figures(choice))?;
        for reason in &choice.reasons {
            writeln!(out, "   - {}", words::sentence(reason))?;
        }
    }
    if let Some(infeasible) = &r.infeasible {
        writeln!(
            out,
            "\nNothing keeps all limits. These changes would let something through:"
        )?;
        for change in &infeasible.relax {
            writeln!(out, "   - {}", words::relax(change))?;
        }
    }
    list(
        out,
        "What would change the choice",
        r.changes.iter().map(words::change),
    )?;
    list(
        out,
        "Own machines or the API",
        r.break_even.iter().map(words::break_even),
    )?;
    let told = |rule: &str| {
        !matches!(
            rule,
            "capability" | "not_asked_for" | "retired" | "made_for" | "dimensions" | "price"
        )
    };
    let near = r
        .lost
        .iter()
        .filter(|l| told(l.because.split(':').next().unwrap_or_default()))
        .take(8)
        .map(|l| format!("{}: {}", l.model, l.because));
    list(out, "Among those left behind", near)?;
    if let Some(q) = &r.question {
        writeln!(out, "\nQuestion: {}", q.text)?;
    }
    Ok(())
}

fn list(out: &mut String, title: &str, lines: impl Iterator<Item = String>) -> std::fmt::Result {
    for (i, line) in lines.enumerate() {
        if i == 0 {
            writeln!(out, "\n{title}:")?;
        }
        writeln!(out, "   - {line}")?;
    }
    Ok(())
}

fn figures(c: &Choice) -> String {
    let p = &c.predicted;
    let mut parts = vec![format!(
        "score {:.3}{}",
        c.score,
        if c.pareto { " (Pareto)" } else { "" }
    )];
    for (name, unit, value) in [
        ("first token", "ms", p.ttft_ms),
        ("each token", "ms", p.tpot_ms),
        ("all together", "tokens/s", p.tokens_per_s),
        ("memory", "GB", p.memory_gb),
        ("cost", "$/month", p.usd_per_month),
    ] {
        if let Some(i) = value {
            parts.push(format!("{name} {} {unit}", words::interval(i)));
        }
    }
    parts.push(format!(
        "{} tokens of context, {} at once",
        c.context_tokens, c.concurrency
    ));
    parts.push(c.licence.clone());
    parts.join(" · ")
}
