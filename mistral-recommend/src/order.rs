//! The candidates that keep all limits, in order.

use std::collections::BTreeMap;

use mistral_core::recommendation::{Choice, Hosting, Lost, MemoryParts};

use crate::candidate::Candidate;
use crate::lost;
use crate::pareto;
use crate::reasons::reasons;
use crate::retrieve::Machines;
use crate::score::{Score, Standing};
use crate::search::{Kept, Search};

/// Most choices shown.
const MOST_CHOICES: usize = 8;

/// A candidate's position among the kept, and its score.
type Ranked = (usize, Score);

impl Search<'_> {
    /// The choices, and the models that were left behind by them.
    pub(crate) fn order(&self, kept: &[Kept]) -> (Vec<Choice>, Vec<Lost>) {
        let scorer = self.scorer();
        let ranked = best_of_each(kept).into_iter().filter_map(|i| {
            let c = &kept[i].candidate;
            let model = self.context.catalog.get(&c.model)?;
            Some((i, scorer.score(c, Standing::of(model))))
        });
        let (mut ranked, mut behind) = undominated(ranked.collect(), kept);
        let shown = ranked.len().min(MOST_CHOICES);
        show_both_hosts(&mut ranked, shown, kept);
        let (first, rest) = ranked.split_at(shown);
        if let (Some(best), Some(last)) = (first.first(), first.last()) {
            behind.extend(
                rest.iter()
                    .map(|(i, s)| lost::outscored(&kept[*i].candidate, s, last.1.value, &best.1)),
            );
        }
        let shown = |model: &str| first.iter().any(|r| *kept[r.0].candidate.model == *model);
        let mut seen = std::collections::BTreeSet::new();
        behind.retain(|l| !shown(&l.model) && seen.insert(l.model.clone()));
        let choices = first
            .iter()
            .filter_map(|(i, s)| {
                let machines = kept[*i].machines.map(|m| &self.machines[m]);
                let own = &kept[*i].candidate;
                let pareto = !kept.iter().any(|k| pareto::beats(&k.candidate, own));
                self.choice(own, s, pareto, machines)
            })
            .collect();
        (choices, behind)
    }

    /// The first of [`order`](Self::order).
    pub(crate) fn best<'k>(&self, kept: &'k [Kept]) -> Option<&'k Candidate> {
        let first = best_of_each(kept).into_iter().next()?;
        Some(&kept[first].candidate)
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
        let mut reasons = reasons(c, model, machines, self.need, demand, source);
        reasons.extend(context.learned_reasons(c));
        Some(Choice {
            model: c.model.to_string(),
            precision: c.precision,
            hosting: c.hosting,
            device: c.device.as_deref().map(str::to_owned),
            count: c.count,
            tensor_parallel: c.tensor_parallel,
            runtime: c.runtime,
            context_tokens: demand.context_tokens,
            concurrency: demand.concurrency,
            predicted: c.predicted,
            memory: memory(c, machines),
            licence: licence.unwrap_or_else(|| "unknown".to_owned()),
            capabilities: model.capabilities.value.clone(),
            score: s.value,
            parts: s.parts.clone(),
            reasons,
            pareto,
        })
    }
}

/// The best candidate of each model and host, best first; of equals the one with the smaller key.
fn best_of_each(kept: &[Kept]) -> Vec<usize> {
    let mut best: BTreeMap<(&str, Hosting), usize> = BTreeMap::new();
    let mut start = 0;
    // One look-up a run, not one a candidate: what is kept is in the order of its keys.
    for run in kept.chunk_by(|a, b| kind(a) == kind(b)) {
        let top = (1..run.len()).fold(0, |top, i| {
            if run[i].score > run[top].score {
                i
            } else {
                top
            }
        });
        let slot = best.entry(kind(&run[0])).or_insert(start + top);
        if run[top].score > kept[*slot].score {
            *slot = start + top;
        }
        start += run.len();
    }
    let mut ranked: Vec<usize> = best.into_values().collect();
    ranked.sort_by(|a, b| {
        let (a, b) = (&kept[*a], &kept[*b]);
        b.score
            .total_cmp(&a.score)
            .then_with(|| a.candidate.key().cmp(&b.candidate.key()))
    });
    ranked
}

fn kind(kept: &Kept) -> (&str, Hosting) {
    (&kept.candidate.model, kept.candidate.hosting)
}

/// Drops what another model equals or beats in everything that decides, weights apart. The first
/// stays: nothing has a higher score.
fn undominated(ranked: Vec<Ranked>, kept: &[Kept]) -> (Vec<Ranked>, Vec<Lost>) {
    let candidate = |i: usize| &kept[i].candidate;
    let mut front: Vec<Ranked> = Vec::with_capacity(ranked.len());
    let mut behind = Vec::new();
    for (i, s) in ranked {
        // What was ranked before scores more; a dominating candidate of another model scores more
        // by all but its memory, so looking among the best of each model is enough.
        let by = front.iter().find(|(other, theirs)| {
            let longer = |part: &str| match (theirs.parts.get(part), s.parts.get(part)) {
                (Some(theirs), Some(own)) => theirs >= own,
                (None, None) => true,
                _ => false,
            };
            candidate(*other).model != candidate(i).model
                && pareto::beats(candidate(*other), candidate(i))
                && ["licence", "longevity", "provenance"]
                    .into_iter()
                    .all(longer)
        });
        match by {
            Some((by, _)) => behind.push(lost::dominated(candidate(i), candidate(*by))),
            None => front.push((i, s)),
        }
    }
    (front, behind)
}

fn memory(c: &Candidate, machines: Option<&Machines>) -> Option<MemoryParts> {
    let m = c.memory.as_ref()?;
    Some(MemoryParts {
        weights_gb: m.weights / 1e9,
        kv_cache_gb: m.kv / 1e9,
        overhead_gb: m.overhead / 1e9,
        per_device_gb: m.per_device / 1e9,
        usable_gb_per_device: c.usable_bytes / 1e9,
        device_gb: machines?.device.memory_gb,
    })
}

/// When all that is shown has one host and the other is possible too, its best takes the last
/// place: the reader sees what the other way costs.
fn show_both_hosts(ranked: &mut [Ranked], shown: usize, kept: &[Kept]) {
    let host = |r: &Ranked| kept[r.0].candidate.hosting;
    let Some(first) = ranked.first().map(host) else {
        return;
    };
    let other = ranked.iter().position(|r| host(r) != first);
    if let Some(at) = other.filter(|at| *at >= shown && shown > 1) {
        ranked[shown - 1..=at].rotate_right(1);
    }
}
