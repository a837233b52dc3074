//! What a row asks of its answer, and what any need asks of every choice.

use mistral_core::need::{HostingNeed, Ownership};
use mistral_core::recommendation::{Choice, Hosting, Recommendation};
use mistral_recommend::{Context, RecommendError};
use serde_json::Value;

type Check = Result<(), String>;

fn names(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// Checks a row's own bounds.
pub(crate) fn row(expect: &Value, got: &Result<Recommendation, RecommendError>) -> Check {
    let object = expect.as_object().ok_or("no expectations")?;
    let r = match (got, expect["error"].as_str()) {
        (Err(e), Some(code)) if e.code() == code => return Ok(()),
        (Err(_), None) if expect["asks_or_error"] == true => return Ok(()),
        (Err(e), _) => return Err(format!("error {}: {e}", e.code())),
        (Ok(r), Some(code)) => {
            let first = r.choices.first().map(|c| &c.model);
            return Err(format!("expected the error {code}, found {first:?}"));
        }
        (Ok(r), None) => r,
    };
    if expect["infeasible"] == true {
        let relax = r.infeasible.as_ref().ok_or_else(|| {
            let first = r.choices.first().map(|c| (&c.model, c.precision));
            format!("expected nothing, found {first:?}")
        })?;
        let wanted = names(&expect["relax"]);
        let told = |w: &&str| relax.relax.iter().any(|x| x.constraint == *w);
        if !wanted.is_empty() && !wanted.iter().any(told) {
            return Err(format!("{wanted:?} not in {:?}", relax.relax));
        }
    } else if r.choices.is_empty() && object.get("capability_or_infeasible").is_none() {
        return Err(format!("nothing: {:?}", r.infeasible));
    }
    for (key, value) in object {
        one(key, value, r).map_err(|e| format!("{key}: {e}"))?;
    }
    Ok(())
}

fn one(key: &str, value: &Value, r: &Recommendation) -> Check {
    let every = |holds: &dyn Fn(&Choice) -> bool| match r.choices.iter().find(|c| !holds(c)) {
        Some(c) => Err(format!("{} {:?} {:?}", c.model, c.hosting, c.predicted)),
        None => Ok(()),
    };
    let most = value.as_f64().unwrap_or(f64::NAN);
    let list = names(value);
    let within = |amount: Option<f64>| amount.is_none_or(|a| a <= most);
    match key {
        "error" | "infeasible" | "relax" => Ok(()),
        "asks_or_error" => r
            .question
            .as_ref()
            .map(drop)
            .ok_or("no question".to_owned()),
        "ask" => match &r.question {
            Some(q) if list.contains(&q.topic.as_str()) => Ok(()),
            other => Err(format!("{other:?}")),
        },
        "task" => match r.need.task {
            Some(t) if Some(t.name()) == value.as_str() => Ok(()),
            other => Err(format!("{other:?}")),
        },
        "need" => {
            let need = serde_json::to_value(&r.need).map_err(|e| e.to_string())?;
            contains(&need, value)
        }
        "hosting" => every(&|c| host(c) == value.as_str().unwrap_or_default()),
        "hostings" => list
            .iter()
            .try_for_each(|h| match r.choices.iter().any(|c| host(c) == *h) {
                true => Ok(()),
                false => Err(format!("no {h}")),
            }),
        "devices" => every(&|c| c.device.as_deref().is_none_or(|d| list.contains(&d))),
        "runtimes" => every(&|c| c.runtime.is_some_and(|x| list.contains(&x.name()))),
        "precisions" => every(&|c| c.precision.is_some_and(|x| list.contains(&x.name()))),
        "count_max" => every(&|c| f64::from(c.count) <= most),
        "usd_per_month_max" => every(&|c| within(c.predicted.usd_per_month.map(|i| i.value))),
        "usd_per_hour_max" => {
            every(&|c| within(c.predicted.usd_per_month.map(|i| i.value / 730.0)))
        }
        "usd_per_mtok_max" => every(&|c| within(c.predicted.usd_per_mtok.map(|i| i.value))),
        "ttft_ms_max" => every(&|c| within(c.predicted.ttft_ms.map(|i| i.value))),
        "tpot_ms_max" => every(&|c| within(c.predicted.tpot_ms.map(|i| i.value))),
        "answer_ms_max" => every(&|c| within(c.predicted.ttft_ms.map(|i| i.value))),
        "tokens_per_s_min" => every(&|c| c.predicted.tokens_per_s.is_none_or(|i| i.value >= most)),
        "memory_gb_max" => every(&|c| {
            c.predicted
                .memory_gb
                .is_none_or(|i| i.value <= most * f64::from(c.count.max(1)))
        }),
        "context_min" => every(&|c| f64::from(c.context_tokens) >= most),
        "concurrency_min" => every(&|c| f64::from(c.concurrency) >= most),
        "licences" => every(&|c| list.contains(&c.licence.as_str())),
        "capability" | "capability_or_infeasible" => every(&|c| {
            list.iter()
                .all(|w| c.capabilities.iter().any(|k| k.name() == *w))
        }),
        "models_in" => every(&|c| list.contains(&c.model.as_str())),
        "models_not" => every(&|c| value.get(&c.model).is_none()),
        "first_in" => match r.choices.first() {
            Some(c) if list.contains(&c.model.as_str()) => Ok(()),
            other => Err(format!("{:?}", other.map(|c| &c.model))),
        },
        other => Err(format!("no check called {other}")),
    }
}

fn host(c: &Choice) -> &'static str {
    match c.hosting {
        Hosting::Api => "api",
        Hosting::SelfHosted => "self",
    }
}

/// Whether all of `part` stands in `whole`.
fn contains(whole: &Value, part: &Value) -> Check {
    match part {
        Value::Object(map) => map
            .iter()
            .try_for_each(|(k, v)| contains(&whole[k], v).map_err(|e| format!("{k}.{e}"))),
        _ if whole.as_f64().is_some() && whole.as_f64() == part.as_f64() => Ok(()),
        _ if whole == part => Ok(()),
        _ => Err(format!("expected {part}, found {whole}")),
    }
}

/// Checks every hard limit of the need against the values of a choice.
pub(crate) fn limits(c: &Choice, r: &Recommendation, context: &Context<'_>) -> Check {
    let (need, p) = (&r.need, &c.predicted);
    let v = |i: Option<mistral_core::recommendation::Interval>| i.map(|i| i.value);
    let model = context.catalog.get(&c.model).ok_or("unknown model")?;
    let answer = v(p.ttft_ms).zip(v(p.tpot_ms)).map(|(first, each)| {
        let tokens = mistral_recommend::Demand::of(need).work.output_tokens;
        first + each * tokens
    });
    for (name, limit, value) in [
        ("ttft", need.latency.ttft_ms, v(p.ttft_ms)),
        ("tpot", need.latency.tpot_ms, v(p.tpot_ms)),
        ("answer", need.latency.answer_ms, answer),
        ("month", need.budget.usd_per_month, v(p.usd_per_month)),
        (
            "hour",
            need.budget.usd_per_hour,
            v(p.usd_per_month).map(|m| m / 730.0),
        ),
        ("mtok", need.budget.usd_per_mtok, v(p.usd_per_mtok)),
        ("rate", v(p.tokens_per_s), need.latency.tokens_per_s),
    ] {
        if let (Some(limit), Some(value)) = (limit, value)
            && value > limit
        {
            return Err(format!("{name}: {value} over {limit}"));
        }
    }
    let allowed = match need.hosting {
        Some(HostingNeed::Api) => c.hosting == Hosting::Api,
        Some(HostingNeed::SelfHosted | HostingNeed::Offline) => c.hosting == Hosting::SelfHosted,
        _ => true,
    };
    let commercial = need.licence.commercial != Some(false);
    let research = ["LicenseRef-MRL", "LicenseRef-MNPL", "CC-BY-NC-4.0"];
    let named = need.models.is_empty() || need.models.contains(&c.model);
    let context_tokens = model.context_tokens.as_ref().map_or(u32::MAX, |t| t.value);
    let pages = matches!(
        need.task.map(|t| t.name()),
        Some("ocr" | "transcribe" | "speech")
    );
    for (name, holds) in [
        ("hosting", allowed),
        ("named", named && !need.excluded_models.contains(&c.model)),
        (
            "precision",
            need.precision.is_none() || need.precision == c.precision,
        ),
        (
            "runtime",
            need.runtime.is_none() || need.runtime == c.runtime,
        ),
        ("context", pages || context_tokens >= c.context_tokens),
        (
            "asked context",
            need.context_tokens.is_none_or(|t| c.context_tokens >= t),
        ),
        (
            "open source",
            need.licence.open_source != Some(true)
                || matches!(c.licence.as_str(), "Apache-2.0" | "MIT"),
        ),
        (
            "commercial",
            c.hosting == Hosting::Api || !commercial || !research.contains(&c.licence.as_str()),
        ),
        (
            "open weights",
            need.licence.open_weights != Some(true) || model.has_open_weights(),
        ),
    ] {
        if !holds {
            return Err(name.to_owned());
        }
    }
    machine(c, r, context)
}

/// The machines are among those named, and what is needed fits them.
fn machine(c: &Choice, r: &Recommendation, context: &Context<'_>) -> Check {
    let Some(name) = &c.device else {
        return Ok(());
    };
    let device = context.device(name).ok_or("unknown device")?;
    let parts = c.memory.as_ref().ok_or("no memory")?;
    let listed = r
        .need
        .hardware
        .iter()
        .find(|h| h.device.as_deref() == Some(name));
    let gb = listed.and_then(|h| h.memory_gb).unwrap_or(device.memory_gb);
    let sum = parts.weights_gb + parts.kv_cache_gb + parts.overhead_gb;
    let total = c.predicted.memory_gb.ok_or("no memory")?.value;
    for (what, holds) in [
        ("named", r.need.hardware.is_empty() || listed.is_some()),
        ("count", listed.is_none_or(|h| c.count <= h.count)),
        (
            "rented",
            listed.is_none_or(|h| {
                h.ownership == Ownership::Owned
                    || device.price.is_some()
                    || c.predicted.usd_per_month.is_none()
            }),
        ),
        (
            "memory",
            parts.per_device_gb <= gb && parts.per_device_gb <= parts.usable_gb_per_device,
        ),
        ("device memory", (parts.device_gb - gb).abs() < 1e-9),
        ("sum of parts", (sum - total).abs() <= 1e-6 * total),
    ] {
        if !holds {
            return Err(format!("{what}: {} x {name}, {parts:?}", c.count));
        }
    }
    Ok(())
}
