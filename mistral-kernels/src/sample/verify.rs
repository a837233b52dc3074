//! Speculative sampling: a cheap distribution proposes, the real one decides (Leviathan et al.,
//! arXiv 2211.17192; Chen et al., arXiv 2302.01318).

use super::{Candidate, Sampler};
use crate::KernelError;
use crate::error::check_len;

impl Sampler {
    /// Draws as [`Sampler::sample`] does and leaves in `out [logits.len()]` the distribution that
    /// the id was drawn from, for [`Sampler::verify`].
    ///
    /// # Errors
    /// As [`Sampler::probabilities`].
    pub fn propose(
        &mut self,
        logits: &mut [f32],
        previous: &[u32],
        out: &mut [f32],
    ) -> Result<u32, KernelError> {
        self.probabilities(logits, previous, out)?;
        if self.sampling.temperature == 0.0 {
            return super::argmax(logits);
        }
        // `probabilities` left them.
        self.draw(logits.len())
    }

    /// Decides on the id `drafted`, which was drawn from the distribution `proposal
    /// [logits.len()]` by other random numbers than this sampler's. Returns `drafted`, with
    /// probability `min(1, p / q)`, or an id from the normalised `max(0, p - q)`, where `drafted`
    /// doesn't occur. So the result is distributed as [`Sampler::sample`]'s.
    ///
    /// # Errors
    /// As [`Sampler::sample`], and when `proposal` has another length or `drafted` isn't an id.
    pub fn verify(
        &mut self,
        logits: &mut [f32],
        previous: &[u32],
        drafted: u32,
        proposal: &[f32],
    ) -> Result<u32, KernelError> {
        check_len("sample", "proposal", proposal.len(), logits.len())?;
        if drafted as usize >= logits.len() {
            return Err(KernelError::Parameter {
                op: "sample",
                parameter: "drafted id",
                found: drafted as usize,
                expected: "an id of the vocabulary",
            });
        }
        if self.sampling.temperature == 0.0 {
            return self.sample(logits, previous);
        }
        super::check_logits(logits)?;
        self.penalize(logits, previous);
        self.filter(logits)?;
        let total: f64 = self.candidates.iter().map(|c| f64::from(c.weight)).sum();
        let p = |c: &Candidate| f64::from(c.weight) / total;
        let q = |id: u32| f64::from(proposal[id as usize]);
        let wanted = self
            .candidates
            .iter()
            .find(|c| c.id == drafted)
            .map_or(0.0, p);
        if self.rng.unit() * q(drafted) < wanted {
            return Ok(drafted);
        }
        let residual = |c: &Candidate| (p(c) - q(c.id)).max(0.0) as f32;
        // Where both distributions are nearly the same, rounding may leave nothing: then there is
        // nothing to correct either.
        if self.candidates.iter().any(|c| residual(c) > 0.0) {
            for c in &mut self.candidates {
                c.weight = residual(c);
            }
            self.candidates.retain(|c| c.weight > 0.0);
        }
        self.draw(logits.len())
    }
}
