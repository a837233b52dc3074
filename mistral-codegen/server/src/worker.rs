//! The thread that runs the backend, and the queue before it.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use crate::backend::{Backend, Event, Job};
use crate::error::ApiError;
use crate::metrics::Metrics;

/// Bounds on the time after which a refused client is told to come back.
const RETRY_S: std::ops::RangeInclusive<u64> = 1..=60;

/// The way to the worker. The worker ends when the last of its queues is dropped.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Door>);

/// Closes the queue when the last one who could fill it is gone.
#[derive(Debug)]
struct Door(Arc<Shared>);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.filled.notify_all();
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    /// Most jobs that wait.
    most: usize,
    /// Jobs that the backend runs at the same moment.
    slots: usize,
    stopping: AtomicBool,
    ended: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes those out of the queue who aren't waiting any more, and tells those who are late.
    fn sweep(&self, state: &mut State) {
        let now = Instant::now();
        state.waiting.retain(|job| match self.end_of(job, now) {
            None => true,
            Some(end) => {
                end.tell(job);
                false
            }
        });
        self.metrics.waiting.set(state.waiting.len() as u64);
    }

    fn end_of(&self, job: &Job, now: Instant) -> Option<End> {
        if job.events.is_closed() {
            Some(End::Gone)
        } else if self.stopping.load(Ordering::Acquire) {
            Some(End::Stopping)
        } else if now >= job.deadline {
            Some(End::Late)
        } else {
            None
        }
    }

    /// When a place in the queue will probably be free, in seconds.
    fn retry_s(&self) -> u64 {
        let mean = self.metrics.answer.mean().unwrap_or_default();
        let seconds = mean.as_secs_f64() / self.slots.max(1) as f64;
        // Rounded up to whole seconds, as the header wants them.
        (seconds.ceil() as u64).clamp(*RETRY_S.start(), *RETRY_S.end())
    }
}

/// Why a job is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// No one waits for it.
    Gone,
    /// Its time is up.
    Late,
    /// The server ends.
    Stopping,
}

impl End {
    /// Tells whoever waits for the job.
    pub fn tell(self, job: &Job) {
        let error = match self {
            Self::Gone => return,
            Self::Late => ApiError::late(),
            Self::Stopping => ApiError::stopping(),
        };
        // A client that left in the meantime needs no answer.
        let _ = job.events.send(Event::Failed(error));
    }
}

/// Where a backend gets its jobs.
#[derive(Debug)]
pub struct Jobs(Arc<Shared>);

impl Jobs {
    /// The next job; waits for one. `None` when there will be none any more.
    pub fn wait(&self) -> Option<Taken> {
        let mut state = self.0.state();
        loop {
            if let Some(job) = self.next(&mut state) {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = (self.0.filled.wait(state)).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next job, if one is waiting.
    #[must_use]
    pub fn ready(&self) -> Option<Taken> {
        self.next(&mut self.0.state())
    }

    fn next(&self, state: &mut State) -> Option<Taken> {
        self.0.sweep(state);
        let job = state.waiting.pop_front()?;
        let metrics = Arc::clone(&self.0.metrics);
        metrics.waiting.set(state.waiting.len() as u64);
        metrics.running.add(1);
        Some(Taken { job, metrics })
    }

    /// Whether a job is to be given up, and why. Looked at between steps.
    #[must_use]
    pub fn end_of(&self, job: &Job) -> Option<End> {
        self.0.end_of(job, Instant::now())
    }
}

/// A job that the backend runs. It counts as running until it is dropped.
#[derive(Debug)]
pub struct Taken {
    job: Job,
    metrics: Arc<Metrics>,
}

impl Deref for Taken {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.job
    }
}

impl Taken {
    /// Takes what decides about the answer's tokens out of the job.
    #[must_use]
    pub fn constraint(&mut self) -> Option<Box<dyn mistral_infer::Constraint>> {
        self.job.constraint.take()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.metrics.running.sub(1);
    }
}

/// Says that the worker is gone, however its thread ended.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        // Those who wait learn it from their channels.
        let mut state = self.0.state();
        state.closed = true;
        state.waiting.clear();
        self.0.metrics.waiting.set(0);
    }
}

impl Queue {
    /// Starts a worker that answers up to `slots` jobs at the same moment while up to `most` more
    /// wait.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        backend: Arc<dyn Backend>,
        slots: usize,
        most: usize,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        metrics.slots.set(slots as u64);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            most,
            slots,
            stopping: AtomicBool::new(false),
            ended: Arc::default(),
            metrics,
        });
        let at_end = Ended(Arc::clone(&shared));
        let jobs = Jobs(Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("worker".to_owned())
            .spawn(move || {
                let _at_end = at_end;
                backend.work(&jobs);
            })?;
        Ok((Self(Arc::new(Door(shared))), thread))
    }

    /// Whether the worker still works.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.0.0.ended.load(Ordering::Acquire)
    }

    /// Set when the worker has ended. Whoever holds it doesn't keep the worker working.
    #[must_use]
    pub fn ended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.0.ended)
    }

    /// Gives up every job, those that run among them; their clients are told that the server ends.
    pub fn stop(&self) {
        self.0.0.stopping.store(true, Ordering::Release);
        self.0.0.sweep(&mut self.0.0.state());
    }

    /// Puts a job into the queue.
    ///
    /// # Errors
    /// Status 429 when the queue is full, 503 when the worker is gone or the server ends.
    pub fn push(&self, job: Job) -> Result<(), ApiError> {
        let shared = &self.0.0;
        if shared.stopping.load(Ordering::Acquire) {
            return Err(ApiError::stopping());
        }
        let mut state = shared.state();
        if state.closed {
            return Err(ApiError::server(
                StatusCode::SERVICE_UNAVAILABLE,
                "worker_gone",
                "the model is not running",
            ));
        }
        if state.waiting.len() >= shared.most {
            // The places of clients that have left are free.
            shared.sweep(&mut state);
        }
        if state.waiting.len() >= shared.most {
            let error = ApiError::server(
                StatusCode::TOO_MANY_REQUESTS,
                "queue_full",
                "too many requests are waiting; try again later",
            );
            return Err(ApiError {
                retry: Some(Duration::from_secs(shared.retry_s())),
                ..error
            });
        }
        state.waiting.push_back(job);
        shared.metrics.waiting.set(state.waiting.len() as u64);
        drop(state);
        shared.filled.notify_one();
        Ok(())
    }
}
