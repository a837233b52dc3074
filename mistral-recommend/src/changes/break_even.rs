//! The load at which own machines cost what the API does.

use mistral_core::need::{HostingNeed, Need};
use mistral_core::recommendation::{BreakEven, Hosting, Recommendation};

use super::{requests_per_day, winner};
use crate::Context;
use crate::answer::feasible;
use crate::candidate::Candidate;
use crate::demand::Demand;

/// Rounds of fitting the machines to the load that they would break even at.
const ROUNDS: usize = 8;
/// Most requests a day that are told: beyond these nobody plans with one API key.
const MOST_PER_DAY: f64 = 1e8;

/// Break-evens of the API's best choice and of the machines' best, each against the same model on
/// the other side where there is one, and of the two bests against each other. Empty when the need
/// itself rules one of the sides out.
pub(crate) fn break_even(r: &Recommendation, context: &Context<'_>) -> Vec<BreakEven> {
    let assumed_host = r.assumed.iter().any(|a| a == "hosting: self_hosted");
    let mut need = r.need.clone();
    match need.hosting {
        Some(HostingNeed::Offline) => return Vec::new(),
        Some(HostingNeed::SelfHosted) if !assumed_host => return Vec::new(),
        _ => need.hosting = None,
    }
    // What is compared is money, so money doesn't limit the comparison.
    need.budget = Default::default();
    let Ok(now) = feasible(&need, context) else {
        return Vec::new();
    };
    let api_of = |model: &str| {
        now.iter()
            .find(|c| c.hosting == Hosting::Api && *c.model == *model)
    };
    let best = |hosting| r.choices.iter().find(|c| c.hosting == hosting);
    let mut pairs: Vec<(&Candidate, String)> = Vec::new();
    let mut pair = |api: Option<&'_ Candidate>, own: &str| {
        if let Some(api) = api.and_then(|a| api_of(&a.model))
            && !pairs.iter().any(|(a, o)| a.model == api.model && o == own)
        {
            pairs.push((api, own.to_owned()));
        }
    };
    let api = best(Hosting::Api).and_then(|c| api_of(&c.model));
    if let Some(own) = best(Hosting::SelfHosted) {
        pair(api_of(&own.model), &own.model);
        pair(api, &own.model);
    }
    if let Some(api) = api {
        pair(Some(api), &api.model);
    }
    pairs
        .into_iter()
        .filter_map(|(api, own)| one(api, &own, &need, context))
        .collect()
}

/// The cheapest way to run a model on the user's side at a load.
fn cheapest(need: &Need, model: &str, per_day: f64, context: &Context<'_>) -> Option<Candidate> {
    let mut need = need.clone();
    need.load.requests_per_day = Some(per_day);
    need.models = vec![model.to_owned()];
    let all = feasible(&need, context).ok()?;
    all.into_iter()
        .filter(|c| c.hosting == Hosting::SelfHosted)
        .filter_map(|c| Some((month(&c)?, c)))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}

fn month(c: &Candidate) -> Option<f64> {
    c.predicted.usd_per_month.map(|i| i.value)
}

/// Machines large enough for a load cost a fixed amount, the API a price a request: the load at
/// which both are equal may need larger machines, so it is fitted until it doesn't move.
fn one(api: &Candidate, own: &str, need: &Need, context: &Context<'_>) -> Option<BreakEven> {
    let demand = Demand::of(need);
    let now = requests_per_day(&demand);
    let a_request = month(api)? / now;
    if a_request <= 0.0 {
        return None;
    }
    let mut load = now.min(1.0);
    for _ in 0..ROUNDS {
        let machines = cheapest(need, own, load, context)?;
        let even = month(&machines)? / a_request;
        if even > MOST_PER_DAY || even <= 0.0 {
            return None;
        }
        // What is large enough for the break-even itself is what breaks even there.
        let there = cheapest(need, own, even, context)?;
        if month(&there)? <= month(&machines)? {
            return Some(BreakEven {
                api: winner(api),
                own: winner(&there),
                requests_per_day: even,
                usd_per_month: month(&machines)?,
                now_requests_per_day: now,
                prompt_tokens: demand.work.prompt_tokens,
                output_tokens: demand.work.output_tokens,
                sources: sources(api, &there, context),
            });
        }
        load = even;
    }
    None
}

/// Where both prices are written.
fn sources(api: &Candidate, own: &Candidate, context: &Context<'_>) -> Vec<String> {
    let dated = |source: &str, date: Option<&String>| match date {
        Some(date) => format!("{source} ({date})"),
        None => source.to_owned(),
    };
    let price = context
        .catalog
        .get(&api.model)
        .and_then(|m| m.price.as_ref());
    let rent = own.device.as_deref().and_then(|d| context.device(d));
    let rent = rent.and_then(|d| d.price.as_ref());
    let mut list: Vec<String> = Vec::new();
    list.extend(price.map(|p| dated(&p.source, p.date.as_ref())));
    list.extend(rent.map(|p| dated(&p.source, p.date.as_ref())));
    list
}
