//! Fork-join on threads that spin for a moment before they sleep.
//!
//! A decode step is some hundred joins, each over microseconds of work: waking a thread costs
//! more than most of them. Workers therefore spin for [`SPIN`] after a job, and a caller never
//! waits for a worker that hasn't started: it takes the remaining tasks itself, closes the job,
//! and waits only for those that are inside.
//!
//! When other programs want the cores, a worker that is inside may lose its own for a time slice,
//! a hundred times the job. The caller then sends it to rest, longer each time it happens again
//! soon, and goes on with the others.

#![expect(unsafe_code, reason = "a job borrows the caller's stack")]

use std::cell::UnsafeCell;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an idle worker looks for work before it sleeps: longer than the serial parts between
/// two operations of a decode step, far shorter than a scheduler's time slice.
const SPIN: Duration = Duration::from_micros(400);

/// How long a caller looks for the end of a worker's task before it gives its core away: longer
/// than most tasks.
const PATIENCE: Duration = Duration::from_micros(200);

/// How long it then sleeps before it looks again.
const NAP: Duration = Duration::from_micros(50);

/// Rests of a worker that kept its caller waiting, in microseconds: about a time slice first, and
/// at most so long that a core that was given back isn't left idle for a human to notice.
const REST_US: RangeInclusive<u64> = 2_000..=250_000;

/// A worker that keeps its caller waiting again within so many times its last rest rests for twice
/// as long.
const SOON: u64 = 8;

/// Set in [`Shared::state`] when no further worker may enter the job.
const CLOSED: u64 = 1 << 31;
const ACTIVE: u64 = CLOSED - 1;

type Work<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// On its own cache line, so that one thread's writes don't slow another's reads.
#[repr(align(128))]
struct Line<T>(T);

struct Shared {
    /// Job number in the upper half, then [`CLOSED`], then the number of workers inside.
    state: Line<AtomicU64>,
    /// Next task to take.
    next: Line<AtomicUsize>,
    /// Held by the thread whose job runs.
    busy: AtomicBool,
    panicked: AtomicBool,
    shutdown: AtomicBool,
    /// The job. Written only by the holder of `busy` while the state is closed with no worker
    /// inside; read only by workers inside an open job.
    job: UnsafeCell<Job>,
    seats: Vec<Line<Seat>>,
    /// What rests are counted from.
    epoch: Instant,
}

/// What a worker and its callers tell each other.
#[derive(Default)]
struct Seat {
    /// It sleeps and wants to be woken by the next job.
    asleep: AtomicBool,
    /// It is inside a job.
    inside: AtomicBool,
    /// Rest that its caller has sent it to and that it hasn't begun, in microseconds.
    owed_us: AtomicU64,
    /// When its last rest ends, in microseconds after the epoch.
    rest_end_us: AtomicU64,
    /// Length of its last rest. Used by the holder of `busy` alone.
    rest_us: AtomicU64,
}

#[derive(Clone, Copy)]
struct Job {
    work: *const Work<'static>,
    tasks: usize,
}

// SAFETY: `job` is the only field that isn't Sync by itself; its doc states who writes and reads
// it when, and `state` (release on open, acquire on entry) orders the two.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is only followed while the job that it belongs to is open.
unsafe impl Send for Shared {}

pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads())
            .finish()
    }
}

impl Pool {
    /// Starts `threads - 1` workers; fewer when the system refuses to start one.
    pub(super) fn new(threads: usize) -> Self {
        let wanted = threads.saturating_sub(1);
        let idle: &Work<'static> = &|_, _| {};
        let shared = Arc::new(Shared {
            state: Line(AtomicU64::new(CLOSED)),
            next: Line(AtomicUsize::new(0)),
            busy: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            shutdown: AtomicBool::new(false),
            job: UnsafeCell::new(Job {
                work: idle,
                tasks: 0,
            }),
            seats: (0..wanted).map(|_| Line(Seat::default())).collect(),
            epoch: Instant::now(),
        });
        let mut workers = Vec::with_capacity(wanted);
        for index in 0..wanted {
            let shared = Arc::clone(&shared);
            let spawned = std::thread::Builder::new()
                .name(format!("mistral-kernels-{}", index + 1))
                .spawn(move || shared.serve(index));
            match spawned {
                Ok(handle) => workers.push(handle),
                Err(_) => break,
            }
        }
        Self { shared, workers }
    }

    pub(super) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `work(task, thread)` once for each task below `tasks`, and returns when all are done.
    ///
    /// `thread` is below [`Pool::threads`] and never the same for two tasks at the same time. A
    /// task must not wait for another one. A call from inside a task, or while another thread's
    /// job runs, works through its tasks alone as thread 0: scratch belongs to a call, so there
    /// is no conflict.
    pub(super) fn run(&self, tasks: usize, work: &Work<'_>) {
        let shared = &*self.shared;
        let alone = tasks <= 1 || self.workers.is_empty();
        if alone || shared.busy.swap(true, Ordering::Acquire) {
            (0..tasks).for_each(|task| work(task, 0));
            return;
        }
        // SAFETY: only the lifetime changes; `Open` closes the job and waits for the workers
        // inside before this frame ends, also when `work` panics.
        let work = unsafe { std::mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        // SAFETY: this thread holds `busy`, and the previous job was left closed and empty.
        unsafe { *shared.job.get() = Job { work, tasks } };
        shared.next.0.store(0, Ordering::Relaxed);
        let number = (shared.state.0.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        // SeqCst pairs with the sleeper's flag: either it sees this job or we see its flag.
        shared.state.0.store(number << 32, Ordering::SeqCst);
        let open = Open {
            shared,
            since: Instant::now(),
        };
        for (seat, worker) in shared.seats.iter().zip(&self.workers).take(tasks - 1) {
            if seat.0.asleep.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        shared.take_tasks(work, tasks, 0);
        drop(open);
    }
}

/// An open job; closes it and waits for its workers when dropped.
struct Open<'a> {
    shared: &'a Shared,
    since: Instant,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let shared = self.shared;
        // Tasks that nobody took are left when `work` panicked: nobody shall start them.
        shared.next.0.fetch_add(usize::MAX / 2, Ordering::Relaxed);
        shared.state.0.fetch_or(CLOSED, Ordering::AcqRel);
        if shared.is_active() {
            shared.wait_for_workers(self.since.elapsed());
        }
        let panicked = shared.panicked.swap(false, Ordering::Relaxed);
        shared.busy.store(false, Ordering::Release);
        assert!(
            !panicked || std::thread::panicking(),
            "an operation panicked on a worker thread"
        );
    }
}

impl Shared {
    fn take_tasks(&self, work: &Work<'_>, tasks: usize, thread: usize) {
        loop {
            let task = self.next.0.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                return;
            }
            work(task, thread);
        }
    }

    /// Whether workers are inside the job.
    fn is_active(&self) -> bool {
        self.state.0.load(Ordering::Acquire) & ACTIVE != 0
    }

    /// Waits until no worker is inside. `own` is how long the caller worked on the job: who takes
    /// longer than that for a last task has probably lost its core.
    fn wait_for_workers(&self, own: Duration) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            for _ in 0..64 {
                if !self.is_active() {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        let mut rests = false;
        while self.is_active() {
            if !rests && start.elapsed() > own {
                self.send_to_rest();
                rests = true;
            }
            std::thread::sleep(NAP);
        }
    }

    /// Tells the workers that are inside to rest afterwards.
    fn send_to_rest(&self) {
        let now = self.now_us();
        for Line(seat) in &self.seats {
            if !seat.inside.load(Ordering::Relaxed) {
                continue;
            }
            let last = seat.rest_us.load(Ordering::Relaxed);
            let soon = seat.rest_end_us.load(Ordering::Relaxed) + SOON * last;
            let rest = if now < soon { 2 * last } else { 0 };
            let rest = rest.clamp(*REST_US.start(), *REST_US.end());
            seat.rest_us.store(rest, Ordering::Relaxed);
            seat.owed_us.store(rest, Ordering::Relaxed);
        }
    }

    /// A worker's rest, if its caller has sent it there.
    fn rest(&self, seat: &Seat) {
        let owed = seat.owed_us.load(Ordering::Relaxed);
        if owed == 0 {
            return;
        }
        seat.owed_us.store(0, Ordering::Relaxed);
        let end = self.now_us() + owed;
        seat.rest_end_us.store(end, Ordering::Relaxed);
        while !self.shutdown.load(Ordering::Relaxed) {
            match end.saturating_sub(self.now_us()) {
                0 => return,
                left => std::thread::park_timeout(Duration::from_micros(left)),
            }
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A worker's life.
    fn serve(&self, index: usize) {
        let Line(seat) = &self.seats[index];
        let mut seen = 0;
        loop {
            self.rest(seat);
            let state = self.wait_for_job(seen, seat);
            if self.shutdown.load(Ordering::Relaxed) {
                return;
            }
            seen = state >> 32;
            if !self.enter(state) {
                continue;
            }
            seat.inside.store(true, Ordering::Relaxed);
            // SAFETY: the job is open and counts this worker as inside, so its fields don't
            // change and the closure is alive until the count drops.
            let job = unsafe { *self.job.get() };
            let done = catch_unwind(AssertUnwindSafe(|| {
                // SAFETY: as above.
                let work = unsafe { &*job.work };
                self.take_tasks(work, job.tasks, index + 1);
            }));
            if done.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            seat.inside.store(false, Ordering::Relaxed);
            self.state.0.fetch_sub(1, Ordering::Release);
        }
    }

    /// Counts this worker in, unless the job of `state` is over.
    fn enter(&self, mut state: u64) -> bool {
        let number = state >> 32;
        while state & CLOSED == 0 && state >> 32 == number {
            match self.state.0.compare_exchange_weak(
                state,
                state + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Returns the state once its number isn't `seen`.
    fn wait_for_job(&self, seen: u64, seat: &Seat) -> u64 {
        let fresh = || Some(self.state.0.load(Ordering::SeqCst)).filter(|s| s >> 32 != seen);
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                if let Some(state) = fresh() {
                    return state;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() > SPIN {
                break;
            }
        }
        seat.asleep.store(true, Ordering::SeqCst);
        let state = loop {
            if let Some(state) = fresh() {
                break state;
            }
            std::thread::park();
        };
        seat.asleep.store(false, Ordering::Relaxed);
        state
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shutdown.store(true, Ordering::Relaxed);
        self.shared.state.0.fetch_add(1 << 32, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches its panics; there is nothing to learn from the result.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [0, 1, 2, 3, 7] {
            let pool = Pool::new(threads);
            for tasks in [0, 1, 2, 5, 64, 1000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|task, thread| {
                    assert!(thread < pool.threads());
                    counts[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn jobs_follow_each_other_and_sleepers_wake() {
        let pool = Pool::new(3);
        let sum = AtomicUsize::new(0);
        for round in 0..2000 {
            if round % 500 == 0 {
                std::thread::sleep(SPIN * 4);
            }
            pool.run(4, &|task, _| {
                sum.fetch_add(task, Ordering::Relaxed);
            });
        }
        assert_eq!(sum.load(Ordering::Relaxed), 2000 * 6);
    }

    /// A worker that is inside for longer than its caller rests, for longer if it happens again;
    /// jobs run without it meanwhile, and it comes back.
    #[test]
    fn a_worker_that_keeps_its_caller_waiting_rests() {
        let pool = Pool::new(2);
        let run = |tasks: usize, worker_ms: u64| {
            let by_thread = [const { AtomicUsize::new(0) }; 2];
            pool.run(tasks, &|_, thread| {
                by_thread[thread].fetch_add(1, Ordering::Relaxed);
                let ms = if thread == 0 { 1 } else { worker_ms };
                std::thread::sleep(Duration::from_millis(ms));
            });
            let [own, its] = by_thread.map(AtomicUsize::into_inner);
            assert_eq!(own + its, tasks);
            its
        };
        let Line(seat) = &pool.shared.seats[0];
        while seat.rest_us.load(Ordering::Relaxed) < 4 * REST_US.start() {
            run(2, 30);
        }
        assert_eq!(run(2, 0), 0, "it rests");
        while run(8, 1) == 0 {}
    }

    #[test]
    fn a_job_inside_a_job_and_two_callers_both_finish() {
        let pool = Pool::new(2);
        let count = AtomicUsize::new(0);
        let add = |_: usize, _: usize| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        pool.run(8, &|_, _| pool.run(8, &add));
        assert_eq!(count.load(Ordering::Relaxed), 64);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..100).for_each(|_| pool.run(4, &add)));
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 64 + 1200);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        for bad in [0, 7] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(8, &|task, _| assert_ne!(task, bad, "expected by the test"));
            }));
            assert!(caught.is_err());
        }
        let count = AtomicUsize::new(0);
        pool.run(8, &|_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 8);
    }
}
