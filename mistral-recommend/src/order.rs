//! The candidates that keep all limits, in order.

use std::collections::BTreeMap;

use mistral_core::recommendation::{Choice, Hosting, Lost, MemoryParts};

use crate::candidate::Candidate;
use crate::lost;
use crate::pareto;
use crate::reasons::reasons;
use crate::retrieve::Machines;
use crate::score::{Score, score_by};
use crate::search::{Kept, Search};

/// Most choices shown.
const MOST_CHOICES: usize = 8;

/// A candidate's position among the kept, and its score.
type Ranked = (usize, Score);

impl Search<'_> {
    /// The choices, and the models that were left behind by them.
    pub(crate) fn order(&self, kept: &[Kept]) -> (Vec<Choice>, Vec<Lost>) {
        let candidates: Vec<&Candidate> = kept.iter().map(|k| &k.candidate).collect();
        let scores = self.scores(&candidates);
        let (ranked, mut behind) = undominated(best_of_each(&candidates, &scores), &candidates);
        let mut ranked = ranked;
        let shown = ranked.len().min(MOST_CHOICES);
        show_both_hosts(&mut ranked, shown, &candidates);
        let (first, rest) = ranked.split_at(shown);
        if let (Some(best), Some(last)) = (first.first(), first.last()) {
            behind.extend(
                rest.iter()
                    .map(|(i, s)| lost::outscored(candidates[*i], s, last.1.value, &best.1)),
            );
        }
        let shown = |model: &str| first.iter().any(|r| candidates[r.0].model == model);
        let mut seen = std::collections::BTreeSet::new();
        behind.retain(|l| !shown(&l.model) && seen.insert(l.model.clone()));
        let choices = first
            .iter()
            .filter_map(|(i, s)| {
                let machines = kept[*i].machines.map(|m| &self.machines[m]);
                let pareto = !candidates.iter().any(|c| pareto::beats(c, candidates[*i]));
                self.choice(candidates[*i], s, pareto, machines)
            })
            .collect();
        (choices, behind)
    }

    /// The first of [`order`](Self::order).
    pub(crate) fn best<'k>(&self, kept: &'k [Kept]) -> Option<&'k Candidate> {
        let candidates: Vec<&Candidate> = kept.iter().map(|k| &k.candidate).collect();
        let scores = self.scores(&candidates);
        let (first, _) = best_of_each(&candidates, &scores).into_iter().next()?;
        Some(&kept[first].candidate)
    }

    fn scores(&self, candidates: &[&Candidate]) -> Vec<Option<Score>> {
        let weights = self.context.weights();
        candidates
            .iter()
            .map(|c| {
                let model = self.context.catalog.get(&c.model)?;
                Some(score_by(&weights, c, model, self.need, self.demand))
            })
            .collect()
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

/// The best candidate of each model and host, best first.
fn best_of_each(candidates: &[&Candidate], scores: &[Option<Score>]) -> Vec<Ranked> {
    let mut best: BTreeMap<(&str, Hosting), (usize, &Score)> = BTreeMap::new();
    for (i, (c, s)) in candidates.iter().zip(scores).enumerate() {
        let Some(s) = s else { continue };
        let key = (c.model.as_str(), c.hosting);
        if best.get(&key).is_none_or(|old| s.value > old.1.value) {
            best.insert(key, (i, s));
        }
    }
    let mut ranked: Vec<Ranked> = best.into_values().map(|(i, s)| (i, s.clone())).collect();
    ranked.sort_by(|a, b| {
        b.1.value
            .total_cmp(&a.1.value)
            .then_with(|| candidates[a.0].key().cmp(&candidates[b.0].key()))
    });
    ranked
}

/// Drops what another model equals or beats in everything that decides, weights apart. The first
/// stays: nothing has a higher score.
fn undominated(ranked: Vec<Ranked>, candidates: &[&Candidate]) -> (Vec<Ranked>, Vec<Lost>) {
    let mut kept: Vec<Ranked> = Vec::with_capacity(ranked.len());
    let mut behind = Vec::new();
    for (i, s) in ranked {
        // What was ranked before scores more; a dominating candidate of another model scores more
        // by all but its memory, so looking among the best of each model is enough.
        let by = kept.iter().find(|(other, theirs)| {
            let longer = |part: &str| match (theirs.parts.get(part), s.parts.get(part)) {
                (Some(theirs), Some(own)) => theirs >= own,
                (None, None) => true,
                _ => false,
            };
            candidates[*other].model != candidates[i].model
                && pareto::beats(candidates[*other], candidates[i])
                && ["licence", "longevity", "provenance"]
                    .into_iter()
                    .all(longer)
        });
        match by {
            Some((by, _)) => behind.push(lost::dominated(candidates[i], candidates[*by])),
            None => kept.push((i, s)),
        }
    }
    (kept, behind)
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
fn show_both_hosts(ranked: &mut [Ranked], shown: usize, candidates: &[&Candidate]) {
    let host = |r: &Ranked| candidates[r.0].hosting;
    let Some(first) = ranked.first().map(host) else {
        return;
    };
    let other = ranked.iter().position(|r| host(r) != first);
    if let Some(at) = other.filter(|at| *at >= shown && shown > 1) {
        ranked[shown - 1..=at].rotate_right(1);
    }
}
