//! A need with one of its values replaced.

use mistral_core::need::{HostingNeed, Need};
use mistral_core::reason::Fact;

/// `need` with the value at `constraint`, the path of a
/// [`Change`](mistral_core::recommendation::Change), replaced; `None` as value drops a limit.
/// Returns `None` when there is no such path or the value is of another kind.
///
/// ```
/// use mistral_core::need::Need;
/// use mistral_recommend::with;
///
/// let need = with(&Need::default(), "budget.usd_per_month", Some(&50.0.into()));
/// assert_eq!(need.and_then(|n| n.budget.usd_per_month), Some(50.0));
/// assert_eq!(with(&Need::default(), "colour", None), None);
/// ```
#[must_use]
pub fn with(need: &Need, constraint: &str, value: Option<&Fact>) -> Option<Need> {
    let mut need = need.clone();
    let number = match value {
        None => None,
        Some(Fact::Number(n)) => Some(*n),
        _ => None,
    };
    let flag = match value {
        None => None,
        Some(Fact::Bool(b)) => Some(*b),
        _ => None,
    };
    let right = match constraint.split_once('.') {
        Some(("licence", _)) => flag.is_some() || value.is_none(),
        Some(_) => number.is_some() || value.is_none(),
        None => true,
    };
    if !right {
        return None;
    }
    match constraint {
        "budget.usd_per_month" => need.budget.usd_per_month = number,
        "budget.usd_per_hour" => need.budget.usd_per_hour = number,
        "budget.usd_per_mtok" => need.budget.usd_per_mtok = number,
        "latency.ttft_ms" => need.latency.ttft_ms = number,
        "latency.tpot_ms" => need.latency.tpot_ms = number,
        "latency.answer_ms" => need.latency.answer_ms = number,
        "latency.tokens_per_s" => need.latency.tokens_per_s = number,
        "load.requests_per_day" => need.load.requests_per_day = number,
        "load.requests_per_s" => need.load.requests_per_s = number,
        "load.tokens_per_month" => need.load.tokens_per_month = number,
        "context_tokens" => need.context_tokens = whole(number)?,
        "hardware.memory_gb" => need.hardware.iter_mut().for_each(|h| h.memory_gb = number),
        "hardware.count" => {
            let count = whole(number)??;
            need.hardware.iter_mut().for_each(|h| h.count = count);
        }
        "licence.commercial" => need.licence.commercial = flag,
        "licence.open_source" => need.licence.open_source = flag,
        "licence.open_weights" => need.licence.open_weights = flag,
        "hosting" => need.hosting = hosting(value)?,
        "runtime" if value.is_none() => need.runtime = None,
        "precision" if value.is_none() => need.precision = None,
        "models" if value.is_none() => need.models.clear(),
        "excluded_models" if value.is_none() => need.excluded_models.clear(),
        _ => return None,
    }
    Some(need)
}

/// A number as a count; the outer `None` when it isn't one.
fn whole(number: Option<f64>) -> Option<Option<u32>> {
    match number {
        None => Some(None),
        Some(n) if n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&n) => {
            Some(Some(n as u32))
        }
        Some(_) => None,
    }
}

fn hosting(value: Option<&Fact>) -> Option<Option<HostingNeed>> {
    match value {
        None => Some(None),
        Some(Fact::Text(t)) => match t.as_str() {
            "api" => Some(Some(HostingNeed::Api)),
            "self_hosted" => Some(Some(HostingNeed::SelfHosted)),
            "offline" => Some(Some(HostingNeed::Offline)),
            _ => None,
        },
        Some(_) => None,
    }
}
