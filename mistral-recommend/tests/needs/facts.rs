//! Every fact of every reason, worked out again from the catalogue, the hardware table and the
//! estimate.

use std::collections::BTreeMap;

use mistral_core::catalog::CatalogModel;
use mistral_core::estimate::{EngineClass, Setup, Shape, memory_need, usable_bytes};
use mistral_core::hardware::Device;
use mistral_core::need::Task;
use mistral_core::plan::KvPrecision;
use mistral_core::reason::{Fact, Reason};
use mistral_core::recommendation::{Choice, Hosting, Lost, Recommendation};
use mistral_recommend::{Context, Demand};

use crate::witness::{Amounts, Mmlu, Witness};

type Facts = BTreeMap<String, Fact>;

fn facts<const N: usize>(list: [(&str, Fact); N]) -> Facts {
    list.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

fn rounded(value: f64, places: f64) -> Fact {
    Fact::Number((value * places).round() / places)
}

/// What a choice's reasons are checked against.
struct Known<'a> {
    c: &'a Choice,
    r: &'a Recommendation,
    model: &'a CatalogModel,
    demand: Demand,
    device: Option<Device>,
    context: &'a Context<'a>,
}

/// Checks all reasons of a choice.
pub(crate) fn choice(c: &Choice, r: &Recommendation, context: &Context<'_>) -> Result<(), String> {
    let model = context.catalog.get(&c.model).ok_or("unknown model")?;
    let listed = c.device.as_deref().and_then(|d| context.device(d)).cloned();
    let known = Known {
        c,
        r,
        model,
        demand: Demand::of(&r.need),
        device: listed.map(|mut d| {
            let same = |h: &&mistral_core::need::HardwareNeed| h.device.as_ref() == Some(&d.name);
            let said = r.need.hardware.iter().find(same);
            d.memory_gb = said.and_then(|h| h.memory_gb).unwrap_or(d.memory_gb);
            d
        }),
        context,
    };
    for reason in &c.reasons {
        let expected = known
            .expected(reason)
            .map_err(|e| format!("{} {}: {e}", c.model, reason.rule))?;
        if !alike(&expected, &reason.facts) {
            return Err(format!(
                "{} {}: {:?}, expected {expected:?}",
                c.model, reason.rule, reason.facts
            ));
        }
    }
    known.predictions()
}

/// The same facts, numbers to the rounding of either.
fn alike(a: &Facts, b: &Facts) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|((k, x), (l, y))| {
            k == l
                && match (x, y) {
                    (Fact::Number(x), Fact::Number(y)) => (x - y).abs() <= 1e-9 * x.abs().max(1.0),
                    _ => x == y,
                }
        })
}

impl Known<'_> {
    /// The facts that a reason should have.
    fn expected(&self, reason: &Reason) -> Result<Facts, String> {
        let (c, p, need) = (self.c, &self.c.predicted, &self.r.need);
        let kept = |name: &str, value: Option<mistral_core::recommendation::Interval>, most| {
            let (value, most) = Option::zip(value, most).ok_or("no such limit")?;
            let (predicted, limit) = (format!("predicted_{name}"), format!("limit_{name}"));
            Ok(facts([
                (predicted.as_str(), rounded(value.value, 100.0)),
                (limit.as_str(), rounded(most, 100.0)),
                ("safe", (value.hi <= most).into()),
            ]))
        };
        match reason.rule.as_str() {
            "fits_memory" => self.fits(),
            "meets_ttft" => kept("ms", p.ttft_ms, need.latency.ttft_ms),
            "meets_tpot" => kept("ms", p.tpot_ms, need.latency.tpot_ms),
            "within_budget" if reason.facts.contains_key("limit_usd_per_month") => {
                kept("usd_per_month", p.usd_per_month, need.budget.usd_per_month)
            }
            "within_budget" => kept("usd_per_mtok", p.usd_per_mtok, need.budget.usd_per_mtok),
            "latency_not_predicted" => {
                let l = &need.latency;
                let limits = [l.ttft_ms, l.tpot_ms, l.answer_ms, l.tokens_per_s];
                let limited = limits.iter().any(Option::is_some);
                (c.hosting == Hosting::Api && p.ttft_ms.is_none() && p.tpot_ms.is_none())
                    .then(|| match limited {
                        true => facts([("limited", true.into())]),
                        false => Facts::new(),
                    })
                    .ok_or("it is predicted".to_owned())
            }
            "quality_for_task" => self.quality(reason),
            "api_price" => self.api_price(),
            "rent" | "energy" | "cost_unknown" => self.machine_cost(&reason.rule),
            "licence" => {
                let licence = self.model.licence.as_ref().ok_or("no licence known")?;
                Ok(facts([
                    ("licence", licence.value.as_str().into()),
                    ("unverified", licence.unverified.into()),
                ]))
            }
            "longevity" => self.longevity(),
            "needs_gguf_conversion" => {
                let gguf = c.precision.is_some_and(|p| p.is_gguf());
                gguf.then(Facts::new).ok_or("not GGUF".to_owned())
            }
            "dimensions_unverified" => {
                let confirmed = self.model.config.as_ref().is_some_and(|c| !c.unverified);
                (!confirmed).then(Facts::new).ok_or("confirmed".to_owned())
            }
            _ => Err("no check for this rule".to_owned()),
        }
    }

    /// The setup behind a choice, its dimensions and engine as the estimate takes them.
    fn with_setup<T>(&self, f: impl FnOnce(&Setup<'_>, f64, f64) -> T) -> Result<T, String> {
        let c = self.c;
        let (Some(precision), Some(runtime), Some(device)) = (c.precision, c.runtime, &self.device)
        else {
            return Err("no machines".to_owned());
        };
        let mut shape = Shape::of(self.context.catalog, self.model).ok_or("no dimensions")?;
        let engine = EngineClass::from(runtime);
        let need = &self.r.need;
        let sees = need.capabilities.iter().any(|c| c.name() == "vision")
            || matches!(
                need.task,
                Some(Task::Vision | Task::Ocr | Task::Transcribe | Task::Speech)
            );
        if engine.is_local() && !sees {
            shape.encoder_parameters = 0;
        }
        let setup = Setup {
            shape: &shape,
            precision,
            kv: KvPrecision::Auto,
            device,
            count: c.tensor_parallel,
            engine,
            coefficients: self.context.coefficients,
        };
        let copies = f64::from(c.count / c.tensor_parallel.max(1)).max(1.0);
        let each = (f64::from(self.demand.concurrency) / copies)
            .ceil()
            .max(1.0);
        Ok(f(&setup, copies, each))
    }

    fn fits(&self) -> Result<Facts, String> {
        self.with_setup(|setup, copies, each| {
            let m = memory_need(setup, f64::from(self.demand.context_tokens), each);
            let usable = usable_bytes(setup.device, setup.engine);
            facts([
                ("needs_gb_per_device", rounded(m.per_device / 1e9, 10.0)),
                ("usable_gb_per_device", rounded(usable / 1e9, 10.0)),
                ("weights_gb", rounded(m.weights * copies / 1e9, 10.0)),
                ("kv_cache_gb", rounded(m.kv * copies / 1e9, 10.0)),
                ("context_tokens", self.demand.context_tokens.into()),
                ("concurrency", self.demand.concurrency.into()),
            ])
        })
    }

    /// The predictions themselves are those of the estimate, and money follows from prices.
    fn predictions(&self) -> Result<(), String> {
        let p = &self.c.predicted;
        if self.c.hosting == Hosting::SelfHosted {
            let forecast = self.with_setup(|s, copies, each| {
                let f = s.forecast(self.demand.work, each);
                (
                    f.ttft_ms.value,
                    f.tpot_ms.value,
                    f.tokens_per_s.value * copies,
                )
            })?;
            let value =
                |i: Option<mistral_core::recommendation::Interval>| i.map_or(f64::NAN, |i| i.value);
            let own = (value(p.ttft_ms), value(p.tpot_ms), value(p.tokens_per_s));
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs();
            if !(near(forecast.0, own.0) && near(forecast.1, own.1) && near(forecast.2, own.2)) {
                return Err(format!("{}: {own:?}, estimated {forecast:?}", self.c.model));
            }
        }
        let Some(month) = p.usd_per_month else {
            return Ok(());
        };
        let expected = self.month().ok_or("a price from nowhere")?;
        if (month.value - expected).abs() > 1e-6 * expected.max(1.0) {
            return Err(format!(
                "{}: {} $ a month, {expected}",
                self.c.model, month.value
            ));
        }
        Ok(())
    }

    /// Dollars a month by the prices of catalogue and hardware table.
    fn month(&self) -> Option<f64> {
        let witness = Witness::of(self.r, self.context);
        match &self.device {
            Some(device) => Some(witness.machine_month(device)? * f64::from(self.c.count)),
            None => witness.api_month(self.model),
        }
    }

    fn api_price(&self) -> Result<Facts, String> {
        let price = self.model.price.as_ref().ok_or("no price")?.value;
        let mtok = self.demand.tokens_per_month() / 1e6;
        let mut list = facts([("mtok_per_month", rounded(mtok, 100.0))]);
        for (name, value) in [
            ("usd_per_mtok_in", price.usd_per_mtok_in),
            ("usd_per_mtok_out", price.usd_per_mtok_out),
            ("usd_per_1000_pages", price.usd_per_1000_pages),
        ] {
            list.extend(value.map(|v| (name.to_owned(), v.into())));
        }
        Ok(list)
    }

    fn machine_cost(&self, rule: &str) -> Result<Facts, String> {
        let device = self.device.as_ref().ok_or("no machine")?;
        let count = self.c.count.into();
        match rule {
            "rent" => {
                let price = device.price.as_ref().ok_or("no rent known")?;
                Ok(facts([
                    ("usd_per_hour_and_device", price.value.into()),
                    ("devices", count),
                    ("hours_per_month", 730.0.into()),
                    ("unverified", price.unverified.into()),
                ]))
            }
            "energy" => Ok(facts([
                (
                    "watts_per_device",
                    device.power_w.ok_or("no power known")?.into(),
                ),
                ("devices", count),
                ("usd_per_kwh", 0.20.into()),
            ])),
            _ if self.c.predicted.usd_per_month.is_none() => {
                Ok(facts([("device", device.name.as_str().into())]))
            }
            _ => Err("its cost is known".to_owned()),
        }
    }

    fn longevity(&self) -> Result<Facts, String> {
        let status = self.model.status.as_ref().ok_or("no status known")?;
        let name = serde_json::to_value(status.value).map_err(|e| e.to_string())?;
        let mut list = facts([("status", name.as_str().unwrap_or_default().into())]);
        let more = [
            ("api_retires", &self.model.retires),
            ("replacement", &self.model.replacement),
        ];
        for (name, value) in more {
            list.extend(
                value
                    .as_ref()
                    .map(|v| (name.to_owned(), v.value.as_str().into())),
            );
        }
        Ok(list)
    }

    /// Quality stands on a published score that the catalogue has, or on what the curve says.
    fn quality(&self, reason: &Reason) -> Result<Facts, String> {
        let task = self.demand.task;
        let published = self
            .model
            .benchmarks
            .iter()
            .find(|b| matches!(b.name.as_str(), "MMLU" | "MMLU 5-shot"));
        let whole = mistral_recommend::quality(self.model, task, None);
        let own = mistral_recommend::quality(self.model, task, self.c.precision);
        let part = self.c.parts.get("quality").copied().unwrap_or(f64::NAN);
        if (own.value - part).abs() > 1e-4 || own.value > whole.value + 1e-9 {
            return Err(format!("{part} of {}", own.value));
        }
        let mut expected = own.reason.facts;
        if let Some(b) = published {
            expected.insert("basis".to_owned(), "published_mmlu".into());
            expected.insert("mmlu".to_owned(), rounded(b.value, 1000.0));
        } else if reason.facts.get("basis") == Some(&"published_mmlu".into()) {
            return Err("nothing is published".to_owned());
        }
        expected.insert("task".to_owned(), task.name().into());
        Ok(expected)
    }
}

/// Checks why a model lost.
pub(crate) fn lost(l: &Lost, r: &Recommendation, context: &Context<'_>) -> Result<(), String> {
    let model = context.catalog.get(&l.model).ok_or("unknown model")?;
    if r.choices.iter().any(|c| c.model == l.model) {
        return Err(format!("{} is a choice and lost", l.model));
    }
    if l.reasons.is_empty() || l.because.is_empty() {
        return Err(format!("{} lost without a reason", l.model));
    }
    let witness = Witness::of(r, context);
    for reason in &l.reasons {
        let text = |name: &str| match reason.facts.get(name) {
            Some(Fact::Text(t)) => Some(t.as_str()),
            _ => None,
        };
        let number = |name: &str| match reason.facts.get(name) {
            Some(Fact::Number(n)) => Some(*n),
            _ => None,
        };
        let licence = model.licence.as_ref().map(|l| l.value.as_str());
        let (limit, needs) = (number("limit"), number("needs"));
        let over = Option::zip(limit, needs);
        let named = &r.need.models;
        let holds = match reason.rule.as_str() {
            "not_asked_for" => !named.is_empty() && !named.contains(&l.model),
            "excluded" => r.need.excluded_models.contains(&l.model),
            "capability" => text("lacks")
                .is_some_and(|lacks| !model.capabilities.value.iter().any(|c| c.name() == lacks)),
            "made_for" => model
                .capabilities
                .value
                .iter()
                .any(|c| c.name() == "audio_input"),
            "retired" => !model.is_served(&context.today) && !model.has_open_weights(),
            "hosting" => {
                !model.is_served(&context.today)
                    || r.need.hosting.is_some()
                    || !model.has_open_weights()
            }
            "price" => true,
            "dimensions" => Shape::of(context.catalog, model).is_none(),
            "score" => {
                let last = r.choices.last().map(|c| c.score);
                number("score")
                    .zip(last)
                    .is_some_and(|(own, last)| own <= last)
            }
            "dominated" => dominated(model, reason, &witness),
            "context_tokens" => {
                let own = model.context_tokens.as_ref().map(|t| f64::from(t.value));
                needs == own && over.is_some_and(|(limit, own)| own < limit)
            }
            rule if rule.starts_with("licence") => {
                text("licence") == licence && text("licence") != Some("Apache-2.0")
                    || rule == "licence.open_weights" && !model.has_open_weights()
            }
            rule @ ("hardware.memory_gb"
            | "latency.ttft_ms"
            | "latency.tpot_ms"
            | "latency.answer_ms"
            | "latency.tokens_per_s"
            | "load"
            | "budget.usd_per_month"
            | "budget.usd_per_hour"
            | "budget.usd_per_mtok") => text("nearest")
                .zip(over)
                .is_some_and(|(how, over)| missed(rule, model, how, over, &witness)),
            "runtime" => text("limit") == r.need.runtime.map(|x| x.name()),
            "precision" => text("limit") == r.need.precision.map(|x| x.name()),
            _ => false,
        };
        let said = since(reason).is_none_or(|day| {
            model.retires.as_ref().is_some_and(|r| r.value == day) && day <= context.today.as_str()
        });
        if !holds || !said {
            return Err(format!("{}: {reason:?} is not so", l.model));
        }
    }
    Ok(())
}

fn since(reason: &Reason) -> Option<&str> {
    match reason.facts.get("since") {
        Some(Fact::Text(day)) => Some(day),
        _ => None,
    }
}

fn fact<'a>(reason: &'a Reason, name: &str) -> &'a str {
    match reason.facts.get(name) {
        Some(Fact::Text(t)) => t,
        _ => "",
    }
}

/// A model lost to another one that is as good in all: both are predicted once more.
fn dominated(model: &CatalogModel, reason: &Reason, witness: &Witness<'_>) -> bool {
    let Some(by) = witness.context.catalog.get(fact(reason, "by")) else {
        return false;
    };
    let winners = witness.options(by, fact(reason, "by_how"));
    let losers = witness.options(model, fact(reason, "this"));
    let covers = |w: &Amounts| losers.iter().any(|l| w.covers(l));
    let open = |m: &CatalogModel| {
        let licence = m.licence.as_ref().map(|l| l.value.as_str());
        matches!(licence, Some("Apache-2.0" | "MIT"))
    };
    let supported = |m: &CatalogModel| {
        use mistral_core::catalog::Status;
        let status = m.status.as_ref().map(|s| s.value);
        status.is_none_or(|s| s == Status::Available)
    };
    by.id != model.id
        && winners.iter().any(covers)
        && (open(by) || !open(model))
        && (supported(by) || !supported(model))
}

/// A limit that was missed: it is the need's, and what is needed is what the estimate says of one
/// of the ways that the description can mean.
fn missed(
    rule: &str,
    model: &CatalogModel,
    how: &str,
    (limit, needs): (f64, f64),
    witness: &Witness<'_>,
) -> bool {
    let (demand, need) = (&witness.demand, witness.need);
    let said = match rule {
        "latency.ttft_ms" => need.latency.ttft_ms,
        "latency.tpot_ms" => need.latency.tpot_ms,
        "latency.answer_ms" => need.latency.answer_ms,
        "latency.tokens_per_s" => need.latency.tokens_per_s,
        "budget.usd_per_month" => need.budget.usd_per_month,
        "budget.usd_per_hour" => need.budget.usd_per_hour,
        "budget.usd_per_mtok" => need.budget.usd_per_mtok,
        "load" => Some(demand.output_tokens_per_month / (730.0 * 3600.0) * 1.2),
        _ => how
            .split_once(" x ")
            .and_then(|(_, device)| witness.device(device))
            .map(|d| d.memory_gb),
    };
    let near = |a: f64, b: f64| (a - b).abs() <= 0.1 + 0.01 * b.abs();
    if !said.is_some_and(|said| near(limit, said)) {
        return false;
    }
    let value = |a: &Amounts| match rule {
        "latency.ttft_ms" => a.ttft_ms,
        "latency.tpot_ms" => a.tpot_ms,
        "latency.answer_ms" => {
            Option::zip(a.ttft_ms, a.tpot_ms).map(|(f, e)| f + e * demand.work.output_tokens)
        }
        "latency.tokens_per_s" | "load" => a.tokens_per_s,
        "budget.usd_per_month" => a.usd_per_month,
        "budget.usd_per_hour" => a.usd_per_month.map(|m| m / 730.0),
        "budget.usd_per_mtok" => a.usd_per_month.map(|m| m / demand.tokens_per_month() * 1e6),
        _ => a.memory.map(|(needed, usable)| limit * needed / usable),
    };
    let least = matches!(rule, "latency.tokens_per_s" | "load");
    let options = witness.options(model, how);
    let mut values = options.iter().filter_map(value);
    values.any(|v| {
        // Amounts are rounded to the side that lets the candidate through.
        let step = match rule {
            "hardware.memory_gb" | "latency.tokens_per_s" | "load" => 0.1,
            _ if v < 10.0 => 0.01,
            _ => 1.0,
        };
        let bound = said.unwrap_or(limit);
        (needs - v).abs() <= step + 1e-9 && if least { v < bound } else { v > bound }
    })
}

/// The quality that a choice is ranked by, from published scores and what the reason itself names.
pub(crate) fn stands_on(c: &Choice, mmlu: &Mmlu, context: &Context<'_>) -> Result<(), String> {
    let model = context.catalog.get(&c.model).ok_or("unknown model")?;
    let mut reasons = c.reasons.iter();
    let reason = reasons
        .find(|r| r.rule == "quality_for_task")
        .ok_or("no reason for its quality")?;
    let number = |name: &str| match reason.facts.get(name) {
        Some(Fact::Number(n)) => Some(*n),
        _ => None,
    };
    let (own, kept) = (number("mmlu"), number("kept_by_precision"));
    let (own, kept) = Option::zip(own, kept).ok_or("no numbers for its quality")?;
    // Three digits of a curve whose constants are written with four.
    if mmlu
        .of(model)
        .is_some_and(|expected| (expected - own).abs() > 2e-3)
    {
        return Err(format!("{}: MMLU {own}, {:?}", c.model, mmlu.of(model)));
    }
    let native = model.native_precision.as_ref().map(|n| n.value);
    let whole = c.precision.is_none_or(|p| Some(p) == native);
    if !(0.0..=1.0).contains(&kept) || whole && c.precision.is_some() && kept != 1.0 {
        return Err(format!("{}: {kept} kept of {native:?}", c.model));
    }
    let made = number("made_for_task").unwrap_or(0.0);
    let expected = (((own - 0.25) / 0.70 + made) * kept).clamp(0.0, 1.0);
    let part = c.parts.get("quality").copied().unwrap_or(f64::NAN);
    // Both factors are told to three digits.
    if (expected - part).abs() <= 2e-3 {
        Ok(())
    } else {
        Err(format!(
            "{}: quality {part}, its facts give {expected}",
            c.model
        ))
    }
}
