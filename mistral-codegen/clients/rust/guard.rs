//! Money: what was spent, what may still be.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Error;
use crate::types::Usage;

/// Counts tokens times price, and lets no request start that could pass the limit.
///
/// A request reserves the most that it could cost, its prompt counted as a token a byte, and
/// gives back what it didn't use. One whose end isn't known (a cut stream, a lost connection)
/// counts as a whole, so that the limit holds whatever the server bills.
#[derive(Debug)]
pub struct CostGuard {
    limit_usd: f64,
    usd_per_mtok_in: f64,
    usd_per_mtok_out: f64,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    spent: f64,
    reserved: f64,
    usage: Usage,
}

impl CostGuard {
    /// A guard with a limit in dollars and prices in dollars a million tokens.
    pub fn new(limit_usd: f64, usd_per_mtok_in: f64, usd_per_mtok_out: f64) -> Self {
        Self {
            limit_usd,
            usd_per_mtok_in,
            usd_per_mtok_out,
            state: Mutex::default(),
        }
    }

    /// Dollars spent so far, and the tokens of the requests whose end is known.
    pub fn spent(&self) -> (f64, Usage) {
        let state = self.state();
        (state.spent, state.usage)
    }

    /// The limit in dollars.
    pub fn limit_usd(&self) -> f64 {
        self.limit_usd
    }

    /// Dollars for these tokens. Cached ones count in full: they may cost less, never more.
    pub fn usd(&self, prompt_tokens: u64, completion_tokens: u64) -> f64 {
        (prompt_tokens as f64 * self.usd_per_mtok_in
            + completion_tokens as f64 * self.usd_per_mtok_out)
            / 1e6
    }

    /// Sets aside what a request of so many bytes and at most so many new tokens could cost.
    ///
    /// # Errors
    /// [`Error::OverBudget`] when less is left.
    pub fn reserve(&self, request_bytes: usize, max_tokens: u32) -> Result<Reservation<'_>, Error> {
        let usd = self.usd(request_bytes as u64, u64::from(max_tokens));
        let mut state = self.state();
        if state.spent + state.reserved + usd > self.limit_usd {
            return Err(Error::OverBudget {
                limit_usd: self.limit_usd,
                spent_usd: state.spent + state.reserved,
                may_cost_usd: usd,
            });
        }
        state.reserved += usd;
        drop(state);
        Ok(Reservation { guard: self, usd })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Sums are whole after every statement: a panic elsewhere leaves them usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Money set aside for one request; dropped unsettled, all of it counts as spent.
#[derive(Debug)]
pub struct Reservation<'g> {
    guard: &'g CostGuard,
    usd: f64,
}

impl Reservation<'_> {
    /// The request cost this.
    pub fn settle(self, usage: Usage) {
        let usd = self.guard.usd(usage.prompt_tokens, usage.completion_tokens);
        let mut state = self.guard.state();
        state.usage.prompt_tokens += usage.prompt_tokens;
        state.usage.completion_tokens += usage.completion_tokens;
        drop(state);
        self.end(usd);
    }

    /// The server refused the request: it cost nothing.
    pub fn release(self) {
        self.end(0.0);
    }

    fn end(mut self, spent: f64) {
        let mut state = self.guard.state();
        state.reserved -= self.usd;
        state.spent += spent;
        drop(state);
        self.usd = 0.0;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut state = self.guard.state();
        state.reserved -= self.usd;
        state.spent += self.usd;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_pass_the_limit_does_not_start() {
        let guard = CostGuard::new(0.001, 1.0, 2.0);
        let refused = guard.reserve(1, 500).expect_err("0.001001 USD");
        assert!(matches!(refused, Error::OverBudget { .. }), "{refused}");

        let first = guard.reserve(500, 200).expect("0.0009 USD");
        assert!(guard.reserve(101, 0).is_err(), "the first runs still");
        first.settle(Usage {
            prompt_tokens: 100,
            completion_tokens: 50,
        });
        assert!((guard.spent().0 - 0.0002).abs() < 1e-12);

        guard.reserve(100, 50).expect("0.0002 USD").release();
        assert!((guard.spent().0 - 0.0002).abs() < 1e-12);

        drop(guard.reserve(100, 50).expect("0.0002 USD"));
        assert!(
            (guard.spent().0 - 0.0004).abs() < 1e-12,
            "its end is unknown"
        );
    }
}
