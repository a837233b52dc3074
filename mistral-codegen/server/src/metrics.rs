//! Counts for Prometheus, in its text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes from it what was added before.
    pub fn sub(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Gives it a value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the histograms' buckets, in seconds.
const BOUNDS_S: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

/// How often a duration fell below each bound.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_S.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&self, duration: Duration) {
        for (bound, bucket) in BOUNDS_S.iter().zip(&self.buckets) {
            if duration.as_secs_f64() <= *bound {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The mean of all durations, when there are any.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        let count = read(&self.count);
        Some(Duration::from_micros(
            read(&self.micros).checked_div(count)?,
        ))
    }

    fn write(&self, name: &str, help: &str, out: &mut String) {
        head(name, "histogram", help, out);
        for (bound, bucket) in BOUNDS_S.iter().zip(&self.buckets) {
            line(
                out,
                format_args!("{name}_bucket{{le=\"{bound}\"}} {}", read(bucket)),
            );
        }
        line(
            out,
            format_args!("{name}_bucket{{le=\"+Inf\"}} {}", read(&self.count)),
        );
        // A microsecond is exact enough, and an integer can be added to without a lock.
        line(
            out,
            format_args!("{name}_sum {}", read(&self.micros) as f64 / 1e6),
        );
        line(out, format_args!("{name}_count {}", read(&self.count)));
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests in the queue.
    pub waiting: Gauge,
    /// Requests being answered by the model.
    pub running: Gauge,
    /// Requests that can be answered at the same moment.
    pub slots: Gauge,
    /// Tokens of accepted prompts.
    pub prompt_tokens: Gauge,
    /// Tokens generated.
    pub generated_tokens: Gauge,
    /// From a request's acceptance to its first token.
    pub first_token: Histogram,
    /// From one token of an answer to the next.
    pub inter_token: Histogram,
    /// From a request's acceptance to its answer's end.
    pub answer: Histogram,
    /// Answers by route and status.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// Answers by why they ended.
    finished: Mutex<BTreeMap<&'static str, u64>>,
}

impl Metrics {
    /// Counts an answer by its route and status.
    pub fn request(&self, route: &'static str, status: u16) {
        *locked(&self.requests).entry((route, status)).or_default() += 1;
    }

    /// Counts an answer by why it ended.
    pub fn finished(&self, why: &'static str) {
        *locked(&self.finished).entry(why).or_default() += 1;
    }

    /// The page for Prometheus. Names are those that vLLM has for the same things, under a prefix of
    /// our own.
    #[must_use]
    pub fn page(&self) -> String {
        let out = &mut String::new();
        let name = "mistral_http_requests_total";
        head(name, "counter", "HTTP answers by route and status.", out);
        for ((route, status), count) in locked(&self.requests).iter() {
            let labels = format!("route=\"{route}\",status=\"{status}\"");
            line(out, format_args!("{name}{{{labels}}} {count}"));
        }
        let name = "mistral_request_success_total";
        head(name, "counter", "Answers by why they ended.", out);
        for (why, count) in locked(&self.finished).iter() {
            line(
                out,
                format_args!("{name}{{finished_reason=\"{why}\"}} {count}"),
            );
        }
        for (name, kind, help, value) in [
            (
                "mistral_num_requests_waiting",
                "gauge",
                "Requests in the queue.",
                &self.waiting,
            ),
            (
                "mistral_num_requests_running",
                "gauge",
                "Requests being answered by the model.",
                &self.running,
            ),
            (
                "mistral_num_slots",
                "gauge",
                "Requests that can be answered at the same moment.",
                &self.slots,
            ),
            (
                "mistral_prompt_tokens_total",
                "counter",
                "Tokens of prompts.",
                &self.prompt_tokens,
            ),
            (
                "mistral_generation_tokens_total",
                "counter",
                "Tokens generated.",
                &self.generated_tokens,
            ),
        ] {
            head(name, kind, help, out);
            line(out, format_args!("{name} {}", value.get()));
        }
        for (name, help, times) in [
            (
                "mistral_time_to_first_token_seconds",
                "Seconds from a request's acceptance to its first token.",
                &self.first_token,
            ),
            (
                "mistral_inter_token_latency_seconds",
                "Seconds from one token of an answer to the next.",
                &self.inter_token,
            ),
            (
                "mistral_e2e_request_latency_seconds",
                "Seconds from a request's acceptance to its answer's end.",
                &self.answer,
            ),
        ] {
            times.write(name, help, out);
        }
        if let Some(bytes) = resident_bytes() {
            let name = "process_resident_memory_bytes";
            head(name, "gauge", "Resident memory size in bytes.", out);
            line(out, format_args!("{name} {bytes}"));
        }
        std::mem::take(out)
    }
}

/// Memory of this process that is in RAM, where the system says so.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn locked<T>(counts: &Mutex<T>) -> MutexGuard<'_, T> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn head(name: &str, kind: &str, help: &str, out: &mut String) {
    line(out, format_args!("# HELP {name} {help}"));
    line(out, format_args!("# TYPE {name} {kind}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a String doesn't fail");
}
