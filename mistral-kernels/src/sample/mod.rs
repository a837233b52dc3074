//! From logits to the next token.

mod rng;
mod verify;

use crate::KernelError;
use crate::cpu::Live;
use crate::simd::row::{self, Binary};
use crate::simd::{Kernel, Simd, dispatch, weight};
use rng::Rng;

/// How a token is chosen. The default is greedy: temperature 0 and nothing else.
///
/// Steps run in the order of Hugging Face's generation: penalties, temperature, top-k, top-p,
/// min-p; each sees the distribution that the steps before it left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divisor of the logits; 0 chooses the highest logit (ties to the lower id).
    pub temperature: f32,
    /// Keeps the `k` highest logits and what ties with the last of them; 0 keeps all.
    pub top_k: usize,
    /// Drops the least likely ids as long as their sum is at most `1 - top_p`; 1 keeps all.
    pub top_p: f32,
    /// Drops ids less likely than this share of the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of previous ids (arXiv 1909.05858);
    /// 1 does nothing.
    pub repetition_penalty: f32,
    /// Subtracted from a logit once for each previous occurrence.
    pub frequency_penalty: f32,
    /// Subtracted from a logit once if the id occurred.
    pub presence_penalty: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
        }
    }
}

impl Sampling {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`KernelError::SamplingParameter`] for the first setting outside its range.
    pub fn check(&self) -> Result<(), KernelError> {
        let finite = f32::is_finite;
        let rows = [
            (
                "temperature",
                self.temperature,
                "at least 0",
                finite(self.temperature) && self.temperature >= 0.0,
            ),
            (
                "top_p",
                self.top_p,
                "more than 0 and at most 1",
                self.top_p > 0.0 && self.top_p <= 1.0,
            ),
            (
                "min_p",
                self.min_p,
                "0 to 1",
                self.min_p >= 0.0 && self.min_p <= 1.0,
            ),
            (
                "repetition_penalty",
                self.repetition_penalty,
                "more than 0",
                finite(self.repetition_penalty) && self.repetition_penalty > 0.0,
            ),
            (
                "frequency_penalty",
                self.frequency_penalty,
                "a finite number",
                finite(self.frequency_penalty),
            ),
            (
                "presence_penalty",
                self.presence_penalty,
                "a finite number",
                finite(self.presence_penalty),
            ),
        ];
        match rows.into_iter().find(|(_, _, _, ok)| !ok) {
            None => Ok(()),
            Some((parameter, found, expected, _)) => Err(KernelError::SamplingParameter {
                parameter,
                found: f64::from(found),
                expected,
            }),
        }
    }
}

/// Chooses tokens one after the other from a seeded sequence of random numbers.
///
/// The same settings, seed and logits give the same tokens on every machine that computes the
/// same exponentials.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    rng: Rng,
    candidates: Vec<Candidate>,
    weights: Vec<f32>,
    previous: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
    /// Not divided by the sum.
    weight: f32,
}

impl Sampler {
    /// A sampler that starts at `seed`.
    ///
    /// # Errors
    /// [`KernelError::SamplingParameter`] when a setting is outside its range.
    pub fn new(sampling: Sampling, seed: u64) -> Result<Self, KernelError> {
        sampling.check()?;
        Ok(Self {
            sampling,
            rng: Rng::new(seed),
            candidates: Vec::new(),
            weights: Vec::new(),
            previous: Vec::new(),
        })
    }

    /// The settings.
    #[must_use]
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// Chooses an id. `previous` are the ids that penalties look at (those outside the logits
    /// are ignored); `logits` are changed by the penalties.
    ///
    /// # Errors
    /// When a logit is NaN or +∞, or all are -∞.
    pub fn sample(&mut self, logits: &mut [f32], previous: &[u32]) -> Result<u32, KernelError> {
        check_logits(logits)?;
        self.penalize(logits, previous);
        if self.sampling.temperature == 0.0 {
            return argmax(logits);
        }
        self.filter(logits)?;
        self.draw(logits.len())
    }

    /// Draws one of the candidates by its weight.
    fn draw(&mut self, vocab_size: usize) -> Result<u32, KernelError> {
        let total: f64 = self.candidates.iter().map(|c| f64::from(c.weight)).sum();
        let mut left = self.rng.unit() * total;
        for candidate in &self.candidates {
            left -= f64::from(candidate.weight);
            if left < 0.0 {
                return Ok(candidate.id);
            }
        }
        // Rounding may leave a rest behind the last one.
        self.candidates
            .last()
            .map(|c| c.id)
            .ok_or(KernelError::NoCandidate { vocab_size })
    }

    /// The distribution that [`Sampler::sample`] draws from, `out [logits.len()]`; no random
    /// number is used up.
    ///
    /// # Errors
    /// As [`Sampler::sample`], and when `out` has another length.
    pub fn probabilities(
        &mut self,
        logits: &mut [f32],
        previous: &[u32],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        crate::error::check_len("sample", "out", out.len(), logits.len())?;
        check_logits(logits)?;
        self.penalize(logits, previous);
        out.fill(0.0);
        if self.sampling.temperature == 0.0 {
            out[argmax(logits)? as usize] = 1.0;
            return Ok(());
        }
        self.filter(logits)?;
        let total: f64 = self.candidates.iter().map(|c| f64::from(c.weight)).sum();
        for c in &self.candidates {
            out[c.id as usize] = (f64::from(c.weight) / total) as f32;
        }
        Ok(())
    }

    fn penalize(&mut self, logits: &mut [f32], previous: &[u32]) {
        let s = &self.sampling;
        if s.repetition_penalty == 1.0 && s.frequency_penalty == 0.0 && s.presence_penalty == 0.0 {
            return;
        }
        self.previous.clear();
        self.previous.extend_from_slice(previous);
        self.previous.sort_unstable();
        for same in self.previous.chunk_by(|a, b| a == b) {
            let Some(logit) = logits.get_mut(same[0] as usize) else {
                continue;
            };
            if *logit > 0.0 {
                *logit /= s.repetition_penalty;
            } else {
                *logit *= s.repetition_penalty;
            }
            *logit -= s.frequency_penalty * same.len() as f32 + s.presence_penalty;
        }
    }

    /// Leaves in `candidates` what may be drawn, with weights.
    fn filter(&mut self, logits: &[f32]) -> Result<(), KernelError> {
        let s = self.sampling;
        let highest = logits[argmax(logits)? as usize];
        self.weights.clear();
        self.weights.resize(logits.len(), 0.0);
        // At most 0 before the exponential, so that no temperature overflows upwards.
        let soften = Soften {
            logits,
            highest,
            temperature: s.temperature,
            out: &mut self.weights,
        };
        dispatch(Live::best(), soften);
        let candidates = &mut self.candidates;
        candidates.clear();
        let pairs = logits.iter().zip(&self.weights).enumerate();
        candidates.extend(pairs.filter_map(|(id, (&logit, &weight))| {
            let id = id as u32;
            (weight > 0.0).then_some(Candidate { id, logit, weight })
        }));
        if s.top_k > 0 && s.top_k < candidates.len() {
            candidates.select_nth_unstable_by(s.top_k - 1, |a, b| b.logit.total_cmp(&a.logit));
            let last = candidates[s.top_k - 1].logit;
            candidates.retain(|c| c.logit >= last);
        }
        if s.top_p < 1.0 {
            nucleus(candidates, s.top_p);
        }
        if s.min_p > 0.0 {
            // The likeliest weighs 1.
            candidates.retain(|c| c.weight >= s.min_p);
        }
        Ok(())
    }
}

/// Drops the least likely candidates as long as their sum is at most `1 - top_p`; one stays.
fn nucleus(candidates: &mut Vec<Candidate>, top_p: f32) {
    let total: f64 = candidates.iter().map(|c| f64::from(c.weight)).sum();
    let limit = (1.0 - f64::from(top_p)) * total;
    // What weighs less than an even share of the limit goes in any case: all of it together
    // stays below the limit. The rest is short, so that sorting it is cheap.
    let share = limit / candidates.len() as f64;
    let mut dropped = 0.0;
    candidates.retain(|c| {
        let keep = f64::from(c.weight) >= share || c.weight == 1.0;
        if !keep {
            dropped += f64::from(c.weight);
        }
        keep
    });
    candidates.sort_unstable_by(|a, b| b.weight.total_cmp(&a.weight).then(a.id.cmp(&b.id)));
    while candidates.len() > 1 {
        dropped += f64::from(candidates[candidates.len() - 1].weight);
        if dropped > limit {
            return;
        }
        candidates.pop();
    }
}

/// `e^((logit - highest) / temperature)`.
struct Soften<'a> {
    logits: &'a [f32],
    highest: f32,
    temperature: f32,
    out: &'a mut [f32],
}

impl Kernel for Soften<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let f = Softened {
            highest: self.highest,
            temperature: self.temperature,
        };
        row::map2(s, self.out, self.logits, self.logits, &f);
    }
}

struct Softened {
    highest: f32,
    temperature: f32,
}

impl<S: Simd> Binary<S> for Softened {
    #[inline(always)]
    fn apply(&self, s: S, logit: S::F, _: S::F) -> S::F {
        let below = s.sub(logit, s.splat(self.highest));
        weight(s, s.div(below, s.splat(self.temperature)))
    }
}

fn check_logits(logits: &[f32]) -> Result<(), KernelError> {
    // NaN isn't below infinity either. Counting is a loop that the compiler vectorises.
    let bad = |chunk: &[f32]| -> u32 {
        let finite = |v: &f32| *v < f32::INFINITY;
        chunk.iter().map(|v| u32::from(!finite(v))).sum()
    };
    let Some(chunk) = logits.chunks(CHUNK).position(|chunk| bad(chunk) > 0) else {
        return Ok(());
    };
    let first = (chunk * CHUNK..logits.len()).find(|&id| bad(&logits[id..=id]) > 0);
    let id = first.unwrap_or(chunk * CHUNK);
    Err(KernelError::NonFiniteLogit {
        id,
        value: logits[id],
    })
}

/// Logits that are looked at together before one of them is.
const CHUNK: usize = 512;

/// The highest logit's id, the lowest of a tie.
fn argmax(logits: &[f32]) -> Result<u32, KernelError> {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, chunk) in logits.chunks(CHUNK).enumerate() {
        let highest = highest(chunk);
        if highest > best.1 {
            let at = chunk.iter().position(|&l| l == highest).unwrap_or(0);
            best = (i * CHUNK + at, highest);
        }
    }
    if best.1 == f32::NEG_INFINITY {
        return Err(KernelError::NoCandidate {
            vocab_size: logits.len(),
        });
    }
    Ok(best.0 as u32)
}

/// In lanes, which the compiler turns into vectors.
fn highest(logits: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (whole, rest) = logits.as_chunks::<16>();
    for chunk in whole {
        for (lane, l) in lanes.iter_mut().zip(chunk) {
            *lane = if l > lane { *l } else { *lane };
        }
    }
    let all = lanes.iter().chain(rest);
    all.fold(f32::NEG_INFINITY, |m, &l| if l > m { l } else { m })
}
