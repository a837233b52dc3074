//! A recommendation for people: what was understood, the choices with their reasons, and what
//! would change them.

use std::fmt::Write as _;

use mistral_core::reason::{Fact, Reason};
use mistral_core::recommendation::{Choice, Hosting, Interval, Recommendation};

/// The recommendation as text, at most `most` choices of it.
#[must_use]
pub fn render(r: &Recommendation, most: usize) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write_all(&mut out, r, most);
    out
}

fn write_all(out: &mut String, r: &Recommendation, most: usize) -> std::fmt::Result {
    writeln!(out, "Understood: {}", understood(r))?;
    if !r.assumed.is_empty() {
        writeln!(out, "Assumed:    {}", r.assumed.join(", "))?;
    }
    if let Some(error) = &r.error {
        writeln!(out, "Not possible ({}): {}", error.code, error.message)?;
    }
    for (i, choice) in r.choices.iter().take(most).enumerate() {
        writeln!(out, "\n{}. {}", i + 1, title(choice))?;
        writeln!(out, "   {}", figures(choice))?;
        for reason in &choice.reasons {
            writeln!(out, "   - {}", sentence(reason))?;
        }
    }
    if let Some(infeasible) = &r.infeasible {
        writeln!(
            out,
            "\nNothing keeps all limits. Each of these changes would let something through:"
        )?;
        for change in &infeasible.relax {
            let (from, to) = (show(change.from.as_ref()), show(change.to.as_ref()));
            writeln!(out, "   - {}: {from} -> {to}", change.constraint)?;
        }
    }
    let near: Vec<String> = r
        .lost
        .iter()
        .filter(|l| l.because.contains("limit=") || l.because.starts_with("score"))
        .take(6)
        .map(|l| format!("   - {}: {}", l.model, l.because))
        .collect();
    if !near.is_empty() {
        writeln!(out, "\nAmong those left behind:\n{}", near.join("\n"))?;
    }
    if let Some(q) = &r.question {
        writeln!(out, "\nQuestion: {}", q.text)?;
    }
    Ok(())
}

fn understood(r: &Recommendation) -> String {
    let mut fields = serde_json::to_value(&r.need).unwrap_or_default();
    prune(&mut fields);
    if let Some(object) = fields.as_object_mut() {
        object.remove("text");
        object.remove("schema");
    }
    fields.to_string()
}

/// Drops what wasn't said.
fn prune(value: &mut serde_json::Value) {
    if let serde_json::Value::Object(map) = value {
        map.values_mut().for_each(prune);
        map.retain(|_, v| {
            !(v.is_null()
                || v.as_array().is_some_and(Vec::is_empty)
                || v.as_object().is_some_and(serde_json::Map::is_empty))
        });
    } else if let serde_json::Value::Array(list) = value {
        list.iter_mut().for_each(prune);
    }
}

fn title(c: &Choice) -> String {
    match (c.hosting, c.precision, c.runtime, &c.device) {
        (Hosting::SelfHosted, Some(precision), Some(runtime), Some(device)) => {
            let copies = c.count / c.tensor_parallel.max(1);
            let spread = match (c.tensor_parallel, copies) {
                (1, 1) => String::new(),
                (1, n) => format!(", {n} copies"),
                (t, 1) => format!(", cut over {t}"),
                (t, n) => format!(", {n} copies cut over {t} each"),
            };
            format!(
                "{} in {precision} on {} x {device} with {runtime}{spread}",
                c.model, c.count
            )
        }
        _ => format!("{} through Mistral's API", c.model),
    }
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
            parts.push(format!("{name} {} {unit}", interval(i)));
        }
    }
    parts.push(format!(
        "{} tokens of context, {} at once",
        c.context_tokens, c.concurrency
    ));
    parts.push(c.licence.clone());
    parts.join(" · ")
}

fn interval(i: Interval) -> String {
    if i.lo == i.hi {
        short(i.value)
    } else {
        format!("{} ({} to {})", short(i.value), short(i.lo), short(i.hi))
    }
}

fn short(v: f64) -> String {
    if v.abs() >= 100.0 {
        format!("{v:.0}")
    } else if v.abs() >= 1.0 {
        format!("{v:.1}")
    } else {
        format!("{v:.2}")
    }
}

fn show(fact: Option<&Fact>) -> String {
    match fact {
        None => "-".to_owned(),
        Some(Fact::Bool(b)) => b.to_string(),
        Some(Fact::Number(n)) => short(*n),
        Some(Fact::Text(t)) => t.clone(),
    }
}

/// A reason in words; a rule without words of its own shows its facts.
fn sentence(r: &Reason) -> String {
    let f = |name: &str| show(r.facts.get(name));
    match r.rule.as_str() {
        "fits_memory" => format!(
            "fits: {} of {} GB a device (weights {} GB, cache {} GB in all)",
            f("needs_gb_per_device"),
            f("usable_gb_per_device"),
            f("weights_gb"),
            f("kv_cache_gb")
        ),
        "meets_ttft" => format!("first token in {}", kept(r)),
        "meets_tpot" => format!("a token each {}", kept(r)),
        "quality_for_task" => format!(
            "quality for {} from {} (MMLU {})",
            f("task"),
            f("basis"),
            f("mmlu")
        ),
        "latency_not_predicted" => "how fast the API answers is not predicted".to_owned(),
        "licence" => format!("licence {}", f("licence")),
        "longevity" if r.facts.contains_key("replacement") => {
            let (status, next) = (f("status"), f("replacement"));
            format!("{status} at the API; Mistral names {next} instead")
        }
        "longevity" => format!("{} at the API", f("status")),
        "needs_gguf_conversion" => "needs a GGUF file, converted or from the community".to_owned(),
        "dimensions_unverified" => "its dimensions are not confirmed by a document".to_owned(),
        rule => money(r).unwrap_or_else(|| {
            let facts = r.facts.iter();
            let facts: Vec<String> = facts
                .map(|(k, v)| format!("{k} {}", show(Some(v))))
                .collect();
            format!("{}: {}", rule.replace('_', " "), facts.join(", "))
        }),
    }
}

/// A reason about money in words.
fn money(r: &Reason) -> Option<String> {
    let f = |name: &str| show(r.facts.get(name));
    Some(match r.rule.as_str() {
        "within_budget" if r.facts.contains_key("limit_usd_per_month") => format!(
            "costs {} of {} $/month",
            f("predicted_usd_per_month"),
            f("limit_usd_per_month")
        ),
        "within_budget" => format!(
            "costs {} of {} $ a million tokens",
            f("predicted_usd_per_mtok"),
            f("limit_usd_per_mtok")
        ),
        "api_price" => format!(
            "{} million tokens a month at {} $ in and {} $ out a million",
            f("mtok_per_month"),
            f("usd_per_mtok_in"),
            f("usd_per_mtok_out")
        ),
        "rent" => format!(
            "rent of {} x {} $/h all month",
            f("devices"),
            f("usd_per_hour_and_device")
        ),
        "energy" => format!(
            "energy of {} x {} W at {} $/kWh, the machine being yours",
            f("devices"),
            f("watts_per_device"),
            f("usd_per_kwh")
        ),
        _ => return None,
    })
}

/// A time, its limit, and whether its interval ends beyond it.
fn kept(r: &Reason) -> String {
    let f = |name: &str| show(r.facts.get(name));
    let risk = match r.facts.get("safe") {
        Some(Fact::Bool(false)) => ", likely but not safe",
        _ => "",
    };
    format!(
        "{} ms of {} allowed{risk}",
        f("predicted_ms"),
        f("limit_ms")
    )
}
