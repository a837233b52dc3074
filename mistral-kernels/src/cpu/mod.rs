//! The processor: which instruction set is used, and on how many threads.

#[cfg(target_arch = "x86_64")]
mod amx;
mod isa;
mod pool;
mod shared_mut;

pub(crate) use isa::Live;
pub use isa::{Isa, IsaStatus, available};
pub(crate) use shared_mut::SharedMut;

use mistral_core::schedule::Schedule;

use crate::KernelError;
use pool::Pool;

/// Multiplications, or elements moved, that a thread does in a few microseconds. A fork-join costs
/// one microsecond while all threads spin, some ten when one sleeps, and a time slice when one has
/// lost its core.
const SHARED_FROM: usize = 32 * 1024;

/// A thread pool and the instruction set that operations run on.
///
/// Made once and shared: operations take `&Cpu`. The calling thread takes part in the work, so
/// `threads` of 1 starts no thread at all. Two operations called at once from different threads
/// both run; the second one works on its calling thread alone. Small operations never leave it.
///
/// Between operations threads spin for some hundred microseconds and then sleep. On a machine whose
/// cores other programs want, threads that lose theirs in the middle of an operation are left out
/// for a while.
#[derive(Debug)]
pub struct Cpu {
    pool: Pool,
    live: Live,
    /// Operations of a call from which on other threads take part.
    shared_from: usize,
    schedule: Schedule,
}

/// What is used until somebody says better. Intel's first-level cache waits for few lines at once, so
/// that most of the way is left to the second level: measured. AMD's is asked alone, as a prototype on
/// Zen 5 did; that wasn't measured with these kernels.
fn usual_schedule(isa: Isa) -> Schedule {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => Schedule {
            fetch_near: 6912,
            fetch_far: 0,
            ..Schedule::default()
        },
        _ => Schedule::default(),
    }
}

impl Cpu {
    /// The best instruction set of this processor on `threads` threads (0 counts as 1).
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let live = Live::best();
        Self {
            pool: Pool::new(threads),
            live,
            shared_from: SHARED_FROM,
            schedule: usual_schedule(live.isa()),
        }
    }

    /// A named instruction set, for tests and comparisons.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`] when the processor lacks a feature that `isa` needs.
    pub fn with_isa(threads: usize, isa: Isa) -> Result<Self, KernelError> {
        let live = Live::find(isa)?;
        Ok(Self {
            pool: Pool::new(threads),
            live,
            shared_from: SHARED_FROM,
            schedule: usual_schedule(live.isa()),
        })
    }

    /// Cuts and fetches work in another way from now on. Results are the same bit by bit.
    ///
    /// # Errors
    /// [`KernelError::Schedule`] for a parameter outside of its range; nothing changes then.
    pub fn set_schedule(&mut self, schedule: Schedule) -> Result<(), KernelError> {
        schedule.check()?;
        self.schedule = schedule;
        Ok(())
    }

    /// How work is cut and fetched.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The same, sharing calls of any size, so that tests reach every path with little data.
    pub(crate) fn sharing_all(mut self) -> Self {
        self.shared_from = 0;
        self
    }

    /// Threads that share the work, the calling one included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The instruction set in use.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.live.isa()
    }

    /// The proof of it, for kernels.
    pub(crate) fn live(&self) -> Live {
        self.live
    }

    /// Whether a call of so many multiplications (or elements moved) is worth other threads.
    pub(crate) fn shares(&self, operations: usize) -> bool {
        self.threads() > 1 && operations >= self.shared_from
    }

    /// Runs `work(task, thread)` for every task, of `operations` together; see [`Pool::run`].
    pub(crate) fn run(
        &self,
        tasks: usize,
        operations: usize,
        work: &(dyn Fn(usize, usize) + Sync),
    ) {
        if self.shares(operations) {
            self.pool.run(tasks, work);
        } else {
            (0..tasks).for_each(|task| work(task, 0));
        }
    }

    /// Splits `0..n` into about equal ranges of at least `grain` and runs them.
    pub(crate) fn run_ranges(
        &self,
        n: usize,
        grain: usize,
        work: &(dyn Fn(std::ops::Range<usize>) + Sync),
    ) {
        let most = n / grain.max(1);
        if self.threads() == 1 || most <= 1 {
            if n > 0 {
                work(0..n);
            }
            return;
        }
        // Four pieces a thread even out threads that were taken away for a while.
        let pieces = most.min(self.threads() * 4);
        self.pool.run(pieces, &|piece, _| {
            work(n * piece / pieces..n * (piece + 1) / pieces);
        });
    }
}
