//! The search: every model in every way it could run, against the limits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mistral_core::catalog::CatalogModel;
use mistral_core::estimate::{EngineClass, Shape};
use mistral_core::need::Need;
use mistral_core::reason::Reason;
use mistral_core::recommendation::Hosting;

use crate::Context;
use crate::candidate::{self, Candidate, Effort};
use crate::demand::Demand;
use crate::limits::{self, Violation};
use crate::lost::{self, Miss};
use crate::quality::{Grader, Quality, quality};
use crate::retrieve::{self, Config, Machines};
use crate::score::{Scorer, Standing};

/// Most threads that a search takes.
const MOST_THREADS: usize = 8;
/// Machines from which on further threads are worth their start.
const WORTH_THREADS: usize = 4;

/// What candidates are looked for with.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a> {
    pub(crate) need: &'a Need,
    pub(crate) demand: &'a Demand,
    pub(crate) machines: &'a [Machines],
    pub(crate) context: &'a Context<'a>,
}

/// A candidate that keeps all limits, and the machines that it uses.
pub(crate) struct Kept {
    pub(crate) candidate: Candidate,
    /// Its score's value.
    pub(crate) score: f64,
    pub(crate) machines: Option<usize>,
}

/// What the search found.
#[derive(Default)]
pub(crate) struct Found {
    /// Configurations that were looked at.
    pub(crate) tried: usize,
    pub(crate) kept: Vec<Kept>,
    /// Of each model that didn't get through, its nearest miss.
    pub(crate) missed: BTreeMap<String, Miss>,
    /// Models that can't do the job at all, with the rule.
    pub(crate) unable: BTreeMap<String, Reason>,
    /// Of every limit, the smallest change that alone lets something through.
    pub(crate) nearest: BTreeMap<&'static str, Violation>,
    /// Of models that fit no machine on offer that was tried, the nearest. The user isn't bound to
    /// one of these machines, so it counts only when nothing else stands in the way.
    too_big: BTreeMap<String, Miss>,
}

impl Search<'_> {
    /// Everything that can be found. The work is shared by threads; the result doesn't depend on
    /// how.
    pub(crate) fn run(&self, effort: Effort) -> Found {
        let models: Vec<&CatalogModel> = self.context.catalog.iter().collect();
        let next = AtomicUsize::new(0);
        let parts = Mutex::new(Vec::with_capacity(models.len()));
        let work = || {
            while let Some(model) = models.get(next.fetch_add(1, Ordering::Relaxed)) {
                let part = self.one(model, effort);
                if let Ok(mut parts) = parts.lock() {
                    parts.push((model.id.as_str(), part));
                }
            }
        };
        let threads = if self.machines.len() < WORTH_THREADS {
            1
        } else {
            std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST_THREADS))
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // A thread that can't be had leaves its work to the others.
                let _ = std::thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        let mut parts = parts.into_inner().unwrap_or_default();
        parts.sort_by_key(|(id, _)| *id);
        let mut found = Found::default();
        for (_, part) in parts {
            found.join(part);
        }
        found.settle();
        found
    }

    /// Scores for this need.
    pub(crate) fn scorer(&self) -> Scorer<'_> {
        Scorer::new(self.context.weights(), self.need, self.demand)
    }

    /// All ways to run one model.
    fn one(&self, model: &CatalogModel, effort: Effort) -> Found {
        let mut found = Found::default();
        match self.unable(model) {
            Some(because) => drop(found.unable.insert(model.id.clone(), because)),
            None => {
                self.api(model, &mut found);
                self.own(model, effort, &mut found);
            }
        }
        found
            .kept
            .sort_unstable_by(|a, b| a.candidate.key().cmp(&b.candidate.key()));
        found
    }

    /// Why a model can't do the job, however it runs.
    fn unable(&self, model: &CatalogModel) -> Option<Reason> {
        let need = self.need;
        if !need.models.is_empty() && !need.models.contains(&model.id) {
            return Some(Reason::new("not_asked_for"));
        }
        if need.excluded_models.contains(&model.id) {
            return Some(Reason::new("excluded"));
        }
        if let Some(c) = retrieve::lacking(model, need, self.demand.task) {
            let reason = Reason::new("capability").fact("lacks", c.name());
            return Some(reason.source(&model.capabilities.source));
        }
        retrieve::made_for_speech(model, need, self.demand.task)
            .then(|| Reason::new("made_for").fact("made_for", "speech"))
    }

    fn api(&self, model: &CatalogModel, found: &mut Found) {
        let (need, demand) = (self.need, self.demand);
        let put = |found: &mut Found, because: Reason| {
            found.unable.entry(model.id.clone()).or_insert(because);
        };
        if !model.is_served(&self.context.today) {
            return put(found, lost::not_served(model, &self.context.today));
        }
        let Some(c) = candidate::api(model, demand, quality(model, demand.task, None)) else {
            return put(found, Reason::new("price"));
        };
        let mut broken = limits::of_model(model, Hosting::Api, need, demand);
        broken.extend(limits::of_candidate(&c, 0.0, need, demand));
        let score = self.scorer().value(&c, Standing::of(model));
        found.file(c, score, None, broken);
    }

    fn own(&self, model: &CatalogModel, effort: Effort, found: &mut Found) {
        if !model.has_open_weights() {
            return;
        }
        let Some(whole) = Shape::of(self.context.catalog, model) else {
            let because = Reason::new("dimensions");
            found.unable.insert(model.id.clone(), because);
            return;
        };
        let own = Own {
            model: model.id.as_str().into(),
            scorer: self.scorer(),
            standing: Standing::of(model),
            text_only: whole.text_only(),
            whole,
            grader: Grader::new(model, self.demand.task),
            broken: limits::of_model(model, Hosting::SelfHosted, self.need, self.demand),
        };
        let architecture = own.whole.spec.architecture;
        for (index, group) in self.machines.iter().enumerate() {
            let formats = retrieve::formats(model, architecture, &group.device, self.need);
            for (runtime, precision) in formats {
                let grade = Arc::new(own.grader.at(Some(precision)));
                for (count, tensor_parallel) in retrieve::layouts(group.count) {
                    let config = Config {
                        precision,
                        runtime,
                        tensor_parallel,
                        count,
                    };
                    let enough = self.try_on(&own, config, &grade, index, effort, found);
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
        grade: &Arc<Quality>,
        index: usize,
        effort: Effort,
        found: &mut Found,
    ) -> bool {
        let (need, demand, group) = (self.need, self.demand, &self.machines[index]);
        let local = EngineClass::from(config.runtime).is_local();
        let shape = if local && !retrieve::encodes(need) {
            &own.text_only
        } else {
            &own.whole
        };
        found.tried += 1;
        let setup = candidate::setup(shape, config, &group.device, self.context);
        let fit = candidate::fit(&setup, config, demand);
        let fits = fit.need.per_device <= fit.usable;
        if !fits && (effort == Effort::IfItFits || !group.named) {
            let mut broken = own.broken.clone();
            broken.push(limits::too_big(
                fit.need.per_device,
                fit.usable,
                group.device.memory_gb,
            ));
            let device = &group.device.name;
            let how = || format!("{} on {} x {device}", config.precision, config.count);
            found.miss(&own.model, broken, group.named, how);
            return false;
        }
        let c = candidate::own(&own.model, &setup, config, group, demand, fit, grade)
            .corrected(self.context, demand);
        let mut broken = own.broken.clone();
        broken.extend(limits::of_candidate(
            &c,
            group.device.memory_gb,
            need,
            demand,
        ));
        let enough = fits && broken.iter().all(|v| v.constraint.starts_with("budget"));
        let score = own.scorer.value(&c, own.standing);
        found.file(c, score, Some(index), broken);
        enough
    }
}

/// What every configuration of one model shares.
struct Own<'a> {
    model: Arc<str>,
    scorer: Scorer<'a>,
    standing: Standing,
    whole: Shape,
    /// Local engines keep the encoder in a file of its own, which text alone doesn't load.
    text_only: Shape,
    grader: Grader<'a>,
    broken: Vec<Violation>,
}

impl Found {
    /// Files a candidate under what it broke.
    fn file(
        &mut self,
        candidate: Candidate,
        score: f64,
        machines: Option<usize>,
        broken: Vec<Violation>,
    ) {
        if broken.is_empty() {
            self.kept.push(Kept {
                candidate,
                score,
                machines,
            });
        } else {
            self.miss(&candidate.model, broken, true, || lost::how(&candidate));
        }
    }

    /// Notes a miss; `bound` says whether the user is bound to what it would run on.
    fn miss(
        &mut self,
        model: &str,
        broken: Vec<Violation>,
        bound: bool,
        how: impl FnOnce() -> String,
    ) {
        if let ([one], true) = (broken.as_slice(), bound) {
            let nearer = self
                .nearest
                .get(one.constraint)
                .is_none_or(|n| one.excess < n.excess);
            if nearer {
                self.nearest.insert(one.constraint, one.clone());
            }
        }
        let misses = if bound {
            &mut self.missed
        } else {
            &mut self.too_big
        };
        let new = lost::distance(&broken);
        if misses.get(model).is_none_or(|old| new < old.distance()) {
            let how = how();
            misses.insert(model.to_owned(), Miss { broken, how });
        }
    }

    /// Takes in what was found for another model, whose id comes later.
    fn join(&mut self, other: Self) {
        self.tried += other.tried;
        self.kept.extend(other.kept);
        self.missed.extend(other.missed);
        self.unable.extend(other.unable);
        self.too_big.extend(other.too_big);
        for (constraint, v) in other.nearest {
            let nearer = self
                .nearest
                .get(constraint)
                .is_none_or(|n| v.excess < n.excess);
            if nearer {
                self.nearest.insert(constraint, v);
            }
        }
    }

    /// Leaves each model that none of the kept is of in one list.
    fn settle(&mut self) {
        for (id, miss) in std::mem::take(&mut self.too_big) {
            self.missed.entry(id).or_insert(miss);
        }
        let models = self
            .kept
            .chunk_by(|a, b| a.candidate.model == b.candidate.model);
        for model in models.filter_map(|kept| kept.first()) {
            self.missed.remove(&*model.candidate.model);
            self.unable.remove(&*model.candidate.model);
        }
        let missed = &self.missed;
        self.unable.retain(|id, _| !missed.contains_key(id));
    }
}
