//! Need in, recommendation out.

use mistral_core::need::{HostingNeed, Need};
use mistral_core::recommendation::{Failure, Hosting, Infeasible, Lost, Recommendation, Relax};

use crate::candidate::{Candidate, Effort};
use crate::changes;
use crate::check::check;
use crate::demand::Demand;
use crate::limits::Violation;
use crate::lost;
use crate::retrieve;
use crate::search::{Found, Search};
use crate::understand::{Understood, understand};
use crate::{Context, RecommendError};

/// Answers a need in words: at most eight choices, one a model and host, best first.
///
/// # Errors
/// As [`understand`] and [`answer`].
pub fn recommend_text(text: &str, context: &Context<'_>) -> Result<Recommendation, RecommendError> {
    answer(understand(text, context)?, context)
}

/// Answers a need that was not said in words, as [`answer`] does.
///
/// # Errors
/// As [`answer`].
pub fn recommend(need: Need, context: &Context<'_>) -> Result<Recommendation, RecommendError> {
    answer(Understood::from(need), context)
}

/// The object that says that a need can't be served.
#[must_use]
pub fn failed(need: Need, error: &RecommendError) -> Recommendation {
    Recommendation {
        schema: Recommendation::SCHEMA,
        need,
        assumed: Vec::new(),
        question: None,
        choices: Vec::new(),
        lost: Vec::new(),
        infeasible: None,
        error: Some(Failure {
            code: error.code().to_owned(),
            message: error.to_string(),
        }),
        changes: Vec::new(),
        break_even: Vec::new(),
    }
}

/// All candidates that keep all limits, in the order of their keys.
///
/// # Errors
/// As [`recommend`].
pub fn feasible(need: &Need, context: &Context<'_>) -> Result<Vec<Candidate>, RecommendError> {
    searched(need, context, |search| {
        let found = search.run(Effort::IfItFits);
        found.kept.into_iter().map(|k| k.candidate).collect()
    })
}

/// How many configurations of own machines are looked at for a need, and how many candidates keep
/// all limits. `whole` predicts also what doesn't fit the machines that the need names.
///
/// # Errors
/// As [`recommend`].
pub fn considered(
    need: &Need,
    context: &Context<'_>,
    whole: bool,
) -> Result<(usize, usize), RecommendError> {
    let effort = if whole {
        Effort::Whole
    } else {
        Effort::IfItFits
    };
    searched(need, context, |search| {
        let found = search.run(effort);
        (found.tried, found.kept.len())
    })
}

/// The candidate that [`answer`] would put first, without everything around it.
pub(crate) fn first(need: &Need, context: &Context<'_>) -> Option<Candidate> {
    let best = searched(need, context, |search| {
        search.best(&search.run(Effort::IfItFits).kept).cloned()
    });
    best.ok()?
}

/// What `work` makes of the search for a checked need.
fn searched<T>(
    need: &Need,
    context: &Context<'_>,
    work: impl FnOnce(&Search<'_>) -> T,
) -> Result<T, RecommendError> {
    let need = check(need.clone(), context)?;
    Ok(work(&Search {
        need: &need,
        demand: &Demand::of(&need),
        machines: &retrieve::machines(&need, context)?,
        context,
    }))
}

/// Answers a need that was read, with what its reading left open.
///
/// [`Recommendation::changes`] and [`Recommendation::break_even`] are empty: they take many times
/// as long as the rest, see [`explain`].
///
/// # Errors
/// [`RecommendError`] when the need names an unknown device or model, or has amounts that can't be
/// meant. A need that nothing satisfies isn't an error: see [`Recommendation::infeasible`].
pub fn answer(
    understood: Understood,
    context: &Context<'_>,
) -> Result<Recommendation, RecommendError> {
    let Understood {
        need,
        assumed: read,
        question,
        language,
    } = understood;
    let need = check(need, context)?;
    let demand = Demand::of(&need);
    let machines = retrieve::machines(&need, context)?;
    let search = Search {
        need: &need,
        demand: &demand,
        machines: &machines,
        context,
    };
    let found = search.run(Effort::IfItFits);
    let (choices, behind) = search.order(&found.kept);
    let infeasible = found.kept.is_empty().then(|| Infeasible {
        // Once more, this time also with what doesn't fit or isn't allowed.
        relax: relax(&search.run(Effort::Whole)),
    });
    let mut lost = behind;
    lost.extend(never_tried(&found, context));
    let mut assumed = assumed(read, &need, &demand);
    let l = &need.latency;
    let limited = l.ttft_ms.or(l.tpot_ms).or(l.answer_ms).or(l.tokens_per_s);
    if limited.is_some() && choices.iter().any(|c| c.hosting == Hosting::Api) {
        assumed
            .push("latency.api: not predicted, so a limit on time is not known to hold".to_owned());
    }
    let question =
        question.or_else(|| crate::question::ask(&need, found.kept.is_empty(), language));
    Ok(Recommendation {
        schema: Recommendation::SCHEMA,
        need,
        assumed,
        question,
        choices,
        lost,
        infeasible,
        error: None,
        changes: Vec::new(),
        break_even: Vec::new(),
    })
}

/// Fills [`Recommendation::changes`] and [`Recommendation::break_even`]: what would change the
/// first choice, found by asking again with changed needs. Nothing is changed when there is no
/// first choice.
pub fn explain(recommendation: &mut Recommendation, context: &Context<'_>) {
    recommendation.changes = changes::changes(recommendation, context);
    recommendation.break_even = changes::break_even(recommendation, context);
}

/// The models that broke limits, and those that can't do the job.
fn never_tried<'a>(found: &'a Found, context: &'a Context<'_>) -> impl Iterator<Item = Lost> + 'a {
    let model = |id: &str| context.catalog.get(id);
    let missed = found
        .missed
        .iter()
        .filter_map(move |(id, miss)| Some(lost::missed(model(id)?, miss)));
    let unable = found
        .unable
        .iter()
        .filter_map(move |(id, reason)| Some(lost::unable(model(id)?, reason)));
    missed.chain(unable)
}

/// What was assumed: by the reading, for the load, and about licences and machines.
fn assumed(read: Vec<String>, need: &Need, demand: &Demand) -> Vec<String> {
    let mut assumed = read;
    assumed.extend(demand.assumed.iter().cloned());
    if need.licence.commercial.is_none() {
        assumed.push("licence.commercial: true".to_owned());
    }
    match need.hosting {
        _ if !need.hardware.is_empty() => {}
        Some(HostingNeed::Api) => {}
        Some(HostingNeed::Offline) => {
            assumed.push("hardware: to be bought; rent stands for its price".to_owned());
        }
        _ => assumed.push("hardware: any rented device with a known price".to_owned()),
    }
    assumed
}

/// The changes that alone would do, smallest first; when no single one does, all that the nearest
/// model needs.
fn relax(all: &Found) -> Vec<Relax> {
    let mut changes: Vec<&Violation> = all.nearest.values().collect();
    if changes.is_empty() {
        let nearest = all
            .missed
            .values()
            .min_by(|a, b| a.distance().total_cmp(&b.distance()));
        changes = nearest.into_iter().flat_map(|m| &m.broken).collect();
    }
    changes.sort_by(|a, b| a.excess.total_cmp(&b.excess));
    changes
        .into_iter()
        .map(|v| Relax {
            constraint: v.constraint.to_owned(),
            from: v.from.clone(),
            to: v.to.clone(),
        })
        .collect()
}
