//! The thread that runs the backend, and the queue before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use axum::http::StatusCode;

use crate::backend::{Backend, Job};
use crate::error::ApiError;
use crate::metrics::Metrics;

/// The way to the worker. The worker ends when the last of its queues is dropped.
#[derive(Debug, Clone)]
pub struct Queue {
    jobs: SyncSender<Job>,
    ended: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

/// Says that the worker is gone, however its thread ended.
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Queue {
    /// Starts a worker that answers one job at a time while up to `waiting` more wait.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        backend: Arc<dyn Backend>,
        waiting: usize,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, receiver) = sync_channel::<Job>(waiting);
        let ended = Arc::new(AtomicBool::new(false));
        let at_end = Ended(Arc::clone(&ended));
        let counted = Arc::clone(&metrics);
        let thread = std::thread::Builder::new()
            .name("worker".to_owned())
            .spawn(move || {
                let _at_end = at_end;
                let mut busy = false;
                backend.work(&mut || {
                    if std::mem::replace(&mut busy, false) {
                        counted.running.sub(1);
                    }
                    let job = receiver.recv().ok()?;
                    counted.waiting.sub(1);
                    counted.running.add(1);
                    busy = true;
                    Some(job)
                });
            })?;
        Ok((
            Self {
                jobs,
                ended,
                metrics,
            },
            thread,
        ))
    }

    /// Whether the worker still works.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }

    /// Set when the worker has ended. Whoever holds it doesn't keep the worker working.
    #[must_use]
    pub fn ended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ended)
    }

    /// Puts a job into the queue.
    ///
    /// # Errors
    /// Status 429 when the queue is full, 503 when the worker is gone.
    pub fn push(&self, job: Job) -> Result<(), ApiError> {
        // Counted first: the worker may take the job before this thread goes on.
        self.metrics.waiting.add(1);
        self.jobs.try_send(job).map_err(|refused| {
            self.metrics.waiting.sub(1);
            match refused {
                TrySendError::Full(_) => ApiError::server(
                    StatusCode::TOO_MANY_REQUESTS,
                    "queue_full",
                    "too many requests are waiting; try again later",
                ),
                TrySendError::Disconnected(_) => ApiError::server(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "worker_gone",
                    "the model is not running",
                ),
            }
        })
    }
}
