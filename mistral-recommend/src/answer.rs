//! Need in, recommendation out.

use std::collections::{BTreeMap, BTreeSet};

use mistral_core::catalog::CatalogModel;
use mistral_core::estimate::{EngineClass, Shape};
use mistral_core::need::{HostingNeed, Need};
use mistral_core::recommendation::{
    Choice, Failure, Hosting, Infeasible, Lost, Recommendation, Relax,
};

use crate::candidate::{self, Candidate, Effort};
use crate::check::check;
use crate::demand::Demand;
use crate::limits::{self, Violation};
use crate::pareto;
use crate::quality::{Grader, quality};
use crate::reasons::reasons;
use crate::retrieve::{self, Config, Machines};
use crate::score::{Score, score};
use crate::understand::{Understood, understand};
use crate::{Context, RecommendError};

/// Most choices shown.
const MOST_CHOICES: usize = 8;

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
    }
}

/// All candidates that keep all limits, in the order of their keys.
///
/// # Errors
/// As [`recommend`].
pub fn feasible(need: &Need, context: &Context<'_>) -> Result<Vec<Candidate>, RecommendError> {
    let need = check(need.clone(), context)?;
    let search = Search {
        need: &need,
        demand: &Demand::of(&need),
        machines: &retrieve::machines(&need, context)?,
        context,
    };
    let found = search.run(Effort::IfItFits);
    Ok(found.kept.into_iter().map(|k| k.candidate).collect())
}

/// What candidates are looked for with.
#[derive(Clone, Copy)]
struct Search<'a> {
    need: &'a Need,
    demand: &'a Demand,
    machines: &'a [Machines],
    context: &'a Context<'a>,
}

/// A candidate that keeps all limits, and the machines that it uses.
struct Kept {
    candidate: Candidate,
    machines: Option<usize>,
}

/// What the search found.
struct Found {
    kept: Vec<Kept>,
    /// Of each model that didn't get through, its nearest miss.
    missed: BTreeMap<String, Vec<Violation>>,
    /// Models that can't do the job at all, with the rule.
    unable: BTreeMap<String, String>,
    /// Of every limit, the smallest change that alone lets something through.
    nearest: BTreeMap<&'static str, Violation>,
}

impl Search<'_> {
    fn run(&self, effort: Effort) -> Found {
        let mut found = Found {
            kept: Vec::new(),
            missed: BTreeMap::new(),
            unable: BTreeMap::new(),
            nearest: BTreeMap::new(),
        };
        for model in self.context.catalog.iter() {
            match self.unable(model) {
                Some(because) => drop(found.unable.insert(model.id.clone(), because)),
                None => {
                    self.api(model, &mut found);
                    self.own(model, effort, &mut found);
                }
            }
        }
        found
            .kept
            .sort_by(|a, b| a.candidate.key().cmp(&b.candidate.key()));
        let through: BTreeSet<String> = found
            .kept
            .iter()
            .map(|k| k.candidate.model.clone())
            .collect();
        found.missed.retain(|id, _| !through.contains(id));
        found
            .unable
            .retain(|id, _| !through.contains(id) && !found.missed.contains_key(id));
        found
    }

    /// Why a model can't do the job, however it runs.
    fn unable(&self, model: &CatalogModel) -> Option<String> {
        let need = self.need;
        if !need.models.is_empty() && !need.models.contains(&model.id) {
            return Some("not_asked_for".to_owned());
        }
        if need.excluded_models.contains(&model.id) {
            return Some("excluded".to_owned());
        }
        if let Some(c) = retrieve::lacking(model, need, self.demand.task) {
            return Some(format!("capability: lacks={}", c.name()));
        }
        retrieve::made_for_speech(model, need, self.demand.task)
            .then(|| "made_for: speech".to_owned())
    }

    fn api(&self, model: &CatalogModel, found: &mut Found) {
        let (need, demand) = (self.need, self.demand);
        let put = |found: &mut Found, because: &str| {
            found
                .unable
                .entry(model.id.clone())
                .or_insert_with(|| because.to_owned());
        };
        if !model.is_served(&self.context.today) {
            let open = model.has_open_weights();
            return put(found, if open { "machines: none" } else { "retired" });
        }
        let Some(c) = candidate::api(model, demand, quality(model, demand.task, None)) else {
            return put(found, "price: unknown");
        };
        let mut broken = limits::of_model(model, Hosting::Api, need, demand);
        broken.extend(limits::of_candidate(&c, need, demand));
        found.file(c, None, broken);
    }

    fn own(&self, model: &CatalogModel, effort: Effort, found: &mut Found) {
        if !model.has_open_weights() {
            return;
        }
        let Some(whole) = Shape::of(self.context.catalog, model) else {
            let because = "dimensions: unknown".to_owned();
            found.unable.insert(model.id.clone(), because);
            return;
        };
        let own = Own {
            model,
            text_only: Shape {
                encoder_parameters: 0,
                ..whole.clone()
            },
            whole,
            grader: Grader::new(model, self.demand.task),
            broken: limits::of_model(model, Hosting::SelfHosted, self.need, self.demand),
        };
        let architecture = own.whole.spec.architecture;
        for (index, group) in self.machines.iter().enumerate() {
            let formats = retrieve::formats(model, architecture, &group.device, self.need);
            for (runtime, precision) in formats {
                for (count, tensor_parallel) in retrieve::layouts(group.count) {
                    let config = Config {
                        precision,
                        runtime,
                        tensor_parallel,
                        count,
                    };
                    let enough = self.try_on(&own, config, index, effort, found);
                    // Of machines on offer the smallest number that does the work is enough.
                    if enough && !group.named {
                        break;
                    }
                }
            }
        }
    }

    /// Files one configuration on one group of machines; returns whether it does the work, whatever
    /// it costs.
    fn try_on(
        &self,
        own: &Own<'_>,
        config: Config,
        index: usize,
        effort: Effort,
        found: &mut Found,
    ) -> bool {
        let (need, demand, group) = (self.need, self.demand, &self.machines[index]);
        let local = EngineClass::from(config.runtime) == EngineClass::Local;
        let shape = if local && !retrieve::encodes(need) {
            &own.text_only
        } else {
            &own.whole
        };
        let setup = candidate::setup(shape, config, &group.device, self.context);
        let fit = candidate::fit(&setup, config, demand);
        let fits = fit.need.per_device <= fit.usable;
        if !fits && effort == Effort::IfItFits {
            let mut broken = own.broken.clone();
            broken.push(limits::too_big(fit.need.per_device, fit.usable));
            found.miss(&own.model.id, broken);
            return false;
        }
        let grade = own.grader.at(Some(config.precision));
        let c = candidate::own(own.model, &setup, config, group, demand, fit, grade);
        let mut broken = own.broken.clone();
        broken.extend(limits::of_candidate(&c, need, demand));
        let enough = fits && broken.iter().all(|v| v.constraint.starts_with("budget"));
        found.file(c, Some(index), broken);
        enough
    }
}

/// What every configuration of one model shares.
struct Own<'a> {
    model: &'a CatalogModel,
    whole: Shape,
    /// Local engines keep the encoder in a file of its own, which text alone doesn't load.
    text_only: Shape,
    grader: Grader<'a>,
    broken: Vec<Violation>,
}

impl Found {
    /// Files a candidate under what it broke.
    fn file(&mut self, candidate: Candidate, machines: Option<usize>, broken: Vec<Violation>) {
        if broken.is_empty() {
            self.kept.push(Kept {
                candidate,
                machines,
            });
        } else {
            self.miss(&candidate.model, broken);
        }
    }

    fn miss(&mut self, model: &str, broken: Vec<Violation>) {
        if let [one] = broken.as_slice() {
            let nearer = self
                .nearest
                .get(one.constraint)
                .is_none_or(|n| one.excess < n.excess);
            if nearer {
                self.nearest.insert(one.constraint, one.clone());
            }
        }
        let nearer = self
            .missed
            .get(model)
            .is_none_or(|old| distance(&broken) < distance(old));
        if nearer {
            self.missed.insert(model.to_owned(), broken);
        }
    }
}

/// How far a candidate is from being let through. Another host than the one asked for is farther
/// than any amount: a user's own machines explain more about a model than that the API has it.
fn distance(broken: &[Violation]) -> f64 {
    let far = |v: &Violation| {
        if v.constraint == "hosting" {
            1e9
        } else {
            v.excess
        }
    };
    broken.iter().map(far).product()
}

/// Answers a need that was read, with what its reading left open.
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
    lost.extend(found.missed.iter().map(|(id, broken)| Lost {
        model: id.clone(),
        because: broken.iter().map(describe).collect::<Vec<_>>().join("; "),
    }));
    lost.extend(found.unable.iter().map(|(id, why)| Lost {
        model: id.clone(),
        because: why.clone(),
    }));
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
    })
}

fn describe(v: &Violation) -> String {
    let show = |f: &Option<mistral_core::reason::Fact>| {
        f.as_ref()
            .and_then(|f| serde_json::to_string(f).ok())
            .unwrap_or_else(|| "-".to_owned())
    };
    format!(
        "{}: limit={} needs={}",
        v.constraint,
        show(&v.from),
        show(&v.to)
    )
}

/// The changes that alone would do, smallest first; when no single one does, all that the nearest
/// model needs.
fn relax(all: &Found) -> Vec<Relax> {
    let mut changes: Vec<&Violation> = all.nearest.values().collect();
    if changes.is_empty() {
        let nearest = all
            .missed
            .values()
            .min_by(|a, b| distance(a).total_cmp(&distance(b)));
        changes = nearest.into_iter().flatten().collect();
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

impl Search<'_> {
    /// The best of each model and host, best first; and the models that were left behind.
    fn order(&self, kept: &[Kept]) -> (Vec<Choice>, Vec<Lost>) {
        let candidates: Vec<&Candidate> = kept.iter().map(|k| &k.candidate).collect();
        let mut ranked = self.rank(&candidates);
        let shown = ranked.len().min(MOST_CHOICES);
        show_both_hosts(&mut ranked, shown, &candidates);
        let (first, rest) = ranked.split_at(shown);
        let last = first.last().map_or(0.0, |r| r.1.value);
        let model = |r: &(usize, Score)| candidates[r.0].model.as_str();
        let behind = rest
            .iter()
            .filter(|r| !first.iter().any(|s| model(s) == model(r)))
            .map(|r| Lost {
                model: model(r).to_owned(),
                because: format!("score: {} below={last}", r.1.value),
            })
            .collect();
        let front = pareto::front(&candidates);
        let choices = first
            .iter()
            .filter_map(|(i, s)| {
                let machines = kept[*i].machines.map(|m| &self.machines[m]);
                self.choice(candidates[*i], s, front[*i], machines)
            })
            .collect();
        (choices, behind)
    }

    /// The best candidate of each model and host with its score, best first.
    fn rank(&self, candidates: &[&Candidate]) -> Vec<(usize, Score)> {
        let mut best: BTreeMap<(&str, Hosting), (usize, Score)> = BTreeMap::new();
        for (i, c) in candidates.iter().enumerate() {
            let Some(model) = self.context.catalog.get(&c.model) else {
                continue;
            };
            let s = score(c, model, self.need, self.demand);
            let key = (c.model.as_str(), c.hosting);
            if best.get(&key).is_none_or(|old| s.value > old.1.value) {
                best.insert(key, (i, s));
            }
        }
        let mut ranked: Vec<(usize, Score)> = best.into_values().collect();
        ranked.sort_by(|a, b| {
            b.1.value
                .total_cmp(&a.1.value)
                .then_with(|| candidates[a.0].key().cmp(&candidates[b.0].key()))
        });
        ranked
    }

    fn choice(
        &self,
        c: &Candidate,
        s: &Score,
        pareto: bool,
        machines: Option<&Machines>,
    ) -> Option<Choice> {
        let (demand, context) = (self.demand, self.context);
        let model = context.catalog.get(&c.model)?;
        let source = &context.coefficients.source;
        let licence = model.licence.as_ref().map(|l| l.value.clone());
        Some(Choice {
            model: c.model.clone(),
            precision: c.precision,
            hosting: c.hosting,
            device: c.device.clone(),
            count: c.count,
            tensor_parallel: c.tensor_parallel,
            runtime: c.runtime,
            context_tokens: demand.context_tokens,
            concurrency: demand.concurrency,
            predicted: c.predicted,
            licence: licence.unwrap_or_else(|| "unknown".to_owned()),
            capabilities: model.capabilities.value.clone(),
            score: s.value,
            parts: s.parts.clone(),
            reasons: reasons(c, model, machines, self.need, demand, source),
            pareto,
        })
    }
}

/// When all that is shown has one host and the other is possible too, its best takes the last
/// place: the reader sees what the other way costs.
fn show_both_hosts(ranked: &mut [(usize, Score)], shown: usize, candidates: &[&Candidate]) {
    let host = |r: &(usize, Score)| candidates[r.0].hosting;
    let Some(first) = ranked.first().map(host) else {
        return;
    };
    let other = ranked.iter().position(|r| host(r) != first);
    if let Some(at) = other.filter(|at| *at >= shown && shown > 1) {
        ranked[shown - 1..=at].rotate_right(1);
    }
}
