//! Facts and reasons in English sentences.

use mistral_core::reason::{Fact, Reason};
use mistral_core::recommendation::{
    BreakEven, Change, Choice, Hosting, Interval, Recommendation, Relax, Winner,
};

/// A choice in a line: model, precision, machines, engine.
#[must_use]
pub(crate) fn title(c: &Choice) -> String {
    match (c.hosting, c.precision, c.runtime, &c.device) {
        (Hosting::SelfHosted, Some(precision), Some(runtime), Some(device)) => {
            let spread = spread(c.count, c.tensor_parallel);
            format!(
                "{} in {precision} on {} x {device} with {runtime}{spread}",
                c.model, c.count
            )
        }
        _ => format!("{} through Mistral's API", c.model),
    }
}

/// How copies of a model lie over devices; empty for one copy on one device.
fn spread(count: u32, tensor_parallel: u32) -> String {
    match (tensor_parallel, count / tensor_parallel.max(1)) {
        (0 | 1, 0 | 1) => String::new(),
        (1, n) => format!(", {n} copies"),
        (t, 1) => format!(", cut over {t}"),
        (t, n) => format!(", {n} copies cut over {t} each"),
    }
}

fn winner(w: &Winner) -> String {
    let price = w
        .usd_per_month
        .map(|usd| format!(" at {} $ a month", short(usd)))
        .unwrap_or_default();
    match (w.precision, &w.device) {
        (Some(precision), Some(device)) => {
            format!(
                "{} in {precision} on {} x {device}{price}",
                w.model, w.count
            )
        }
        _ => format!("{} through Mistral's API{price}", w.model),
    }
}

/// A value of the need as a condition: `less` says that it and what is below it are meant.
fn condition(constraint: &str, value: &Fact, less: bool) -> String {
    let v = show(Some(value));
    match (constraint, less) {
        ("budget.usd_per_month", true) => format!("With {v} $ a month or less"),
        ("budget.usd_per_month", false) => format!("With {v} $ a month or more"),
        ("budget.usd_per_hour", true) => format!("With {v} $ an hour or less"),
        ("budget.usd_per_hour", false) => format!("With {v} $ an hour or more"),
        ("budget.usd_per_mtok", true) => format!("With {v} $ a million tokens or less"),
        ("budget.usd_per_mtok", false) => format!("With {v} $ a million tokens or more"),
        ("latency.ttft_ms", true) => format!("If the first token must come within {v} ms"),
        ("latency.ttft_ms", false) => format!("If the first token may take {v} ms"),
        ("latency.tpot_ms", true) => format!("If a token must come every {v} ms"),
        ("latency.tpot_ms", false) => format!("If a token may take {v} ms"),
        ("latency.answer_ms", true) => format!("If an answer must be whole within {v} ms"),
        ("latency.answer_ms", false) => format!("If a whole answer may take {v} ms"),
        ("hardware.memory_gb", true) => format!("With {v} GB on each device or less"),
        ("hardware.memory_gb", false) => format!("With {v} GB on each device or more"),
        ("hardware.count", true) => format!("With {v} of the devices"),
        ("hardware.count", false) => format!("With {v} of the devices or more"),
        ("load.requests_per_day", true) => format!("At {v} requests a day or fewer"),
        ("load.requests_per_day", false) => format!("From {v} requests a day on"),
        ("load.requests_per_s", true) => format!("At {v} requests a second or fewer"),
        ("load.requests_per_s", false) => format!("From {v} requests a second on"),
        ("load.tokens_per_month", true) => format!("At {v} tokens a month or fewer"),
        ("load.tokens_per_month", false) => format!("From {v} tokens a month on"),
        ("context_tokens", true) => format!("If {v} tokens of context are enough"),
        ("context_tokens", false) => format!("If {v} tokens of context are needed"),
        (_, true) => format!("With {constraint} at {v} or less"),
        (_, false) => format!("With {constraint} at {v} or more"),
    }
}

/// A change of the need and what it leads to.
#[must_use]
pub(crate) fn change(c: &Change) -> String {
    let then = winner(&c.then);
    let number = |f: &Option<Fact>| match f {
        Some(Fact::Number(n)) => Some(*n),
        _ => None,
    };
    let when = match (c.constraint.as_str(), &c.to) {
        ("licence.commercial", Some(Fact::Bool(false))) => "If research use is enough".to_owned(),
        ("licence.open_source", Some(Fact::Bool(true))) => {
            "If the licence must be an open-source one".to_owned()
        }
        ("licence.open_source" | "licence.open_weights", None) => {
            "If the licence need not be open".to_owned()
        }
        ("hosting", Some(Fact::Text(t))) if t == "api" => "If only the API will do".to_owned(),
        ("hosting", Some(_)) => "If nothing may go to the API".to_owned(),
        ("hosting", None) => "If the API and one's own machines are both allowed".to_owned(),
        ("models", None) => "If other models are allowed".to_owned(),
        ("excluded_models", None) => "If no model is ruled out".to_owned(),
        ("runtime", None) => "If any engine will do".to_owned(),
        ("precision", None) => "If any precision will do".to_owned(),
        (constraint, Some(to)) => {
            let from = number(&c.until).or(number(&c.from));
            let less = from.zip(number(&c.to)).is_some_and(|(from, to)| to < from);
            condition(constraint, to, less)
        }
        (constraint, None) => format!("Without a limit on {constraint}"),
    };
    format!("{when}: {then}")
}

/// Where own machines and the API cost the same.
#[must_use]
pub(crate) fn break_even(b: &BreakEven) -> String {
    let own = Winner {
        usd_per_month: None,
        ..b.own.clone()
    };
    format!(
        "Above {} requests a day (now {}; {} tokens in and {} out each) {} costs less than {} \
         through the API: both {} $ a month there",
        short(b.requests_per_day),
        short(b.now_requests_per_day),
        short(b.prompt_tokens),
        short(b.output_tokens),
        winner(&own),
        b.api.model,
        short(b.usd_per_month),
    )
}

/// A limit to give way.
#[must_use]
pub(crate) fn relax(r: &Relax) -> String {
    let from = show(r.from.as_ref());
    match &r.to {
        Some(to) => format!("{}: {from} -> {}", r.constraint, show(Some(to))),
        None => format!("{}: {from} -> any", r.constraint),
    }
}

/// What was understood, as paths and values.
#[must_use]
pub(crate) fn understood(r: &Recommendation) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let need = serde_json::to_value(&r.need).unwrap_or_default();
    if let serde_json::Value::Object(map) = &need {
        for (name, value) in map {
            if name != "text" && name != "schema" {
                flatten(name, value, &mut rows);
            }
        }
    }
    rows
}

/// What was said, each value with its path.
fn flatten(path: &str, value: &serde_json::Value, rows: &mut Vec<(String, String)>) {
    use serde_json::Value;
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (name, value) in map {
                flatten(&format!("{path}.{name}"), value, rows);
            }
        }
        Value::Array(list) if list.iter().all(|v| v.is_string()) => {
            let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            if !words.is_empty() {
                rows.push((path.to_owned(), words.join(", ")));
            }
        }
        Value::Array(list) => {
            for value in list {
                flatten(path, value, rows);
            }
        }
        Value::Number(n) => rows.push((path.to_owned(), short(n.as_f64().unwrap_or(f64::NAN)))),
        Value::String(text) => rows.push((path.to_owned(), text.clone())),
        Value::Bool(b) => rows.push((path.to_owned(), b.to_string())),
    }
}

/// A value and, unless it is exact, its interval.
#[must_use]
pub(crate) fn interval(i: Interval) -> String {
    match parts(i) {
        (value, between) if between.is_empty() => value,
        (value, between) => format!("{value} ({between})"),
    }
}

/// A value, and its interval unless it is exact.
#[must_use]
pub(crate) fn parts(i: Interval) -> (String, String) {
    let between = if i.lo == i.hi {
        String::new()
    } else {
        format!("{} to {}", short(i.lo), short(i.hi))
    };
    (short(i.value), between)
}

/// Three digits that count, thousands apart.
#[must_use]
pub(crate) fn short(v: f64) -> String {
    if !v.is_finite() {
        return "unknown".to_owned();
    }
    let size = v.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if !(1e-4..1e15).contains(&size) {
        format!("{v:.2e}")
    } else if size >= 1000.0 {
        thousands(v)
    } else if size >= 100.0 {
        tidy(format!("{v:.0}"))
    } else if size >= 10.0 {
        tidy(format!("{v:.1}"))
    } else if size >= 0.1 {
        tidy(format!("{v:.2}"))
    } else {
        tidy(format!("{v:.4}"))
    }
}

fn tidy(text: String) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn thousands(v: f64) -> String {
    let digits = format!("{:.0}", v.abs());
    let mut out = String::from(if v < 0.0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A fact.
#[must_use]
pub(crate) fn show(fact: Option<&Fact>) -> String {
    match fact {
        None => "none".to_owned(),
        Some(Fact::Bool(b)) => b.to_string(),
        Some(Fact::Number(n)) => short(*n),
        Some(Fact::Text(t)) => t.clone(),
    }
}

/// A reason in words; a rule without words of its own shows its facts.
#[must_use]
pub(crate) fn sentence(r: &Reason) -> String {
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
        "quality_for_task" => quality(r),
        "latency_not_predicted" if r.facts.contains_key("limited") => {
            "how fast the API answers is not predicted, so the limit on time is not known to hold"
                .to_owned()
        }
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
                .map(|(k, v)| format!("{} {}", k.replace('_', " "), show(Some(v))))
                .collect();
            format!("{}: {}", rule.replace('_', " "), facts.join(", "))
        }),
    }
}

fn quality(r: &Reason) -> String {
    let f = |name: &str| show(r.facts.get(name));
    let made = if r.facts.contains_key("made_for_task") {
        ", counted up or down for what it was made for"
    } else {
        ""
    };
    match f("basis").as_str() {
        "published_mmlu" => format!(
            "quality for {} from its published MMLU, {}{made}",
            f("task"),
            f("mmlu")
        ),
        "unknown" => format!(
            "quality for {} without any published score{made}",
            f("task")
        ),
        basis => format!(
            "quality for {} from its {} (MMLU about {}){made}",
            f("task"),
            basis.replace('_', " "),
            f("mmlu")
        ),
    }
}

/// A reason about money in words.
fn money(r: &Reason) -> Option<String> {
    let f = |name: &str| show(r.facts.get(name));
    Some(match r.rule.as_str() {
        "within_budget" if r.facts.contains_key("limit_usd_per_month") => format!(
            "costs {} of {} $ a month",
            f("predicted_usd_per_month"),
            f("limit_usd_per_month")
        ),
        "within_budget" => format!(
            "costs {} of {} $ a million tokens",
            f("predicted_usd_per_mtok"),
            f("limit_usd_per_mtok")
        ),
        "api_price" if r.facts.contains_key("usd_per_1000_pages") => {
            format!("{} $ a thousand pages", f("usd_per_1000_pages"))
        }
        "api_price" if r.facts.contains_key("usd_per_mtok_out") => format!(
            "{} million tokens a month at {} $ in and {} $ out a million",
            f("mtok_per_month"),
            f("usd_per_mtok_in"),
            f("usd_per_mtok_out")
        ),
        "api_price" => format!(
            "{} million tokens a month at {} $ a million",
            f("mtok_per_month"),
            f("usd_per_mtok_in")
        ),
        "rent" => format!(
            "rent of {} x {} $ an hour all month",
            f("devices"),
            f("usd_per_hour_and_device")
        ),
        "energy" => format!(
            "energy of {} x {} W at {} $ a kWh, the machine being yours",
            f("devices"),
            f("watts_per_device"),
            f("usd_per_kwh")
        ),
        "cost_unknown" => format!("what {} costs is not known", f("device")),
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

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn three_digits_that_count() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.2, "0.2"),
            (12.34, "12.3"),
            (350.0, "350"),
            (1234.5, "1,234"),
            (2_500_000.0, "2,500,000"),
            (-1200.0, "-1,200"),
            (0.00321, "0.0032"),
            (f64::NAN, "unknown"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
