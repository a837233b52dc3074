//! The processor: which instruction set is used, and on how many threads.

mod isa;
mod pool;

pub(crate) use isa::Live;
pub use isa::{Isa, IsaStatus, available};
pub(crate) use pool::SharedMut;

use crate::KernelError;
use pool::Pool;

/// A thread pool and the instruction set that operations run on.
///
/// Made once and shared: operations take `&Cpu`. The calling thread takes part in the work, so
/// `threads` of 1 starts no thread at all. Two operations called at once from different threads
/// both run; the second one works on its calling thread alone.
#[derive(Debug)]
pub struct Cpu {
    pool: Pool,
    live: Live,
}

impl Cpu {
    /// The best instruction set of this processor on `threads` threads (0 counts as 1).
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self {
            pool: Pool::new(threads),
            live: Live::best(),
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
        })
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

    /// Runs `work(task, thread)` for every task; see [`Pool::run`].
    pub(crate) fn run(&self, tasks: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        self.pool.run(tasks, work);
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
        self.run(pieces, &|piece, _| {
            work(n * piece / pieces..n * (piece + 1) / pieces);
        });
    }
}
