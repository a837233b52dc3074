//! Timing that can't be cheated by accident.

use std::time::{Duration, Instant};

/// An input with what must come out.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The input.
    pub input: Vec<f32>,
    /// The output by the definition, in f64.
    pub expected: Vec<f64>,
    /// The magnitudes that the error of each output is measured by.
    pub scale: Vec<f64>,
}

/// Why a time doesn't count.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Wrong {
    /// An output was not written when the call returned: it is late, or left out.
    #[error("output {at} was not written when the call returned")]
    NotWritten {
        /// Its index.
        at: usize,
    },
    /// An output is further from the definition than allowed.
    #[error("output {at} is {found}, expected {expected} within {allowed}")]
    Far {
        /// Its index.
        at: usize,
        /// The value.
        found: f32,
        /// The definition.
        expected: f64,
        /// How far it may be.
        allowed: f64,
    },
    /// There is nothing to run.
    #[error("there are no cases")]
    NoCases,
}

/// What outputs hold before each run: a NaN that no kernel makes.
const POISON: u32 = 0x7fc0_dead;

/// Runs a kernel on cases in turn and times it.
///
/// Each run has another input than the one before, so that kept outputs are wrong ones; outputs are
/// poisoned before the run and looked at before anything else happens, so that work that goes on
/// after the call is found; errors are held to `tolerance` of each output's own magnitude, so that a
/// lower precision is found.
#[derive(Debug)]
pub struct Guard<'a> {
    cases: &'a [Case],
    tolerance: f64,
    next: usize,
    output: Vec<f32>,
}

impl<'a> Guard<'a> {
    /// For these cases, each output of which may be off by `tolerance` times its scale.
    #[must_use]
    pub fn new(cases: &'a [Case], tolerance: f64) -> Self {
        Self {
            cases,
            tolerance,
            next: 0,
            output: Vec::new(),
        }
    }

    /// The time of one run on the next case.
    ///
    /// # Errors
    /// [`Wrong`] when the time doesn't count.
    pub fn time(&mut self, run: &mut dyn FnMut(&[f32], &mut [f32])) -> Result<Duration, Wrong> {
        let case = self.cases.get(self.next).ok_or(Wrong::NoCases)?;
        self.next = (self.next + 1) % self.cases.len();
        self.output.clear();
        self.output
            .resize(case.expected.len(), f32::from_bits(POISON));
        let start = Instant::now();
        run(&case.input, &mut self.output);
        let time = start.elapsed();
        let unwritten = self.output.iter().position(|y| y.to_bits() == POISON);
        if let Some(at) = unwritten {
            return Err(Wrong::NotWritten { at });
        }
        for (at, &found) in self.output.iter().enumerate() {
            let (expected, allowed) = (case.expected[at], self.tolerance * case.scale[at]);
            let difference = (f64::from(found) - expected).abs();
            if difference.is_nan() || difference > allowed {
                return Err(Wrong::Far {
                    at,
                    found,
                    expected,
                    allowed,
                });
            }
        }
        Ok(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Doubles each input.
    fn cases() -> Vec<Case> {
        let case = |k: usize| {
            let input: Vec<f32> = (0..64)
                .map(|i| 1.0 + (i * 7 + k * 13) as f32 / 97.0)
                .collect();
            Case {
                expected: input.iter().map(|&x| 2.0 * f64::from(x)).collect(),
                scale: input.iter().map(|&x| f64::from(x)).collect(),
                input,
            }
        };
        (0..3).map(case).collect()
    }

    fn first_error(run: &mut dyn FnMut(&[f32], &mut [f32])) -> Option<Wrong> {
        let cases = cases();
        let mut guard = Guard::new(&cases, 1e-6);
        (0..6).find_map(|_| guard.time(run).err())
    }

    fn double(x: &[f32], y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = 2.0 * x);
    }

    #[test]
    fn an_honest_kernel_passes() {
        assert_eq!(first_error(&mut double), None);
    }

    #[test]
    fn kept_outputs_are_found() {
        let mut kept: Option<Vec<f32>> = None;
        let found = first_error(&mut |x, y| match &kept {
            Some(kept) => y.copy_from_slice(kept),
            None => {
                double(x, y);
                kept = Some(y.to_vec());
            }
        });
        assert!(matches!(found, Some(Wrong::Far { .. })), "{found:?}");
    }

    #[test]
    fn work_left_for_later_is_found() {
        // The outputs of a run are ready with the next one, as without a synchronisation.
        let mut later: Vec<f32> = Vec::new();
        let found = first_error(&mut |x, y| {
            let half = y.len() / 2;
            double(&x[..half], &mut y[..half]);
            later = x.to_vec();
        });
        assert_eq!(found, Some(Wrong::NotWritten { at: 32 }));
        assert!(!later.is_empty());
    }

    #[test]
    fn outputs_of_the_run_before_are_found() {
        let mut before = [0.0; 64];
        let found = first_error(&mut |x, y| {
            y.copy_from_slice(&before);
            double(x, &mut before);
        });
        assert!(matches!(found, Some(Wrong::Far { at: 0, .. })), "{found:?}");
    }

    #[test]
    fn lower_precision_is_found() {
        let found = first_error(&mut |x, y| {
            for (y, x) in y.iter_mut().zip(x) {
                // As bf16 would: the upper half of the bits.
                *y = f32::from_bits((2.0 * x).to_bits() & 0xffff_0000);
            }
        });
        assert!(matches!(found, Some(Wrong::Far { .. })), "{found:?}");
    }

    #[test]
    fn no_cases_no_time() {
        let found = Guard::new(&[], 1.0).time(&mut |_, _| {});
        assert_eq!(found, Err(Wrong::NoCases));
    }
}
