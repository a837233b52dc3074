//! Counts for Prometheus, in its text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
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

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the histograms' buckets, in seconds.
const BOUNDS_S: [f64; 10] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

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
    /// Tokens of accepted prompts.
    pub prompt_tokens: Gauge,
    /// Tokens generated.
    pub generated_tokens: Gauge,
    /// From a request's acceptance to its first token.
    pub first_token: Histogram,
    /// From a request's acceptance to its answer's end.
    pub answer: Histogram,
    /// Answers by route and status.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
}

impl Metrics {
    /// Counts an answer.
    pub fn request(&self, route: &'static str, status: u16) {
        let mut requests = self
            .requests
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        *requests.entry((route, status)).or_default() += 1;
    }

    /// The page for Prometheus.
    #[must_use]
    pub fn page(&self) -> String {
        let mut out = String::new();
        head(
            "requests_total",
            "counter",
            "HTTP answers by route and status.",
            &mut out,
        );
        let requests = self
            .requests
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        for ((route, status), count) in requests.iter() {
            let labels = format!("route=\"{route}\",status=\"{status}\"");
            line(&mut out, format_args!("requests_total{{{labels}}} {count}"));
        }
        drop(requests);
        for (name, kind, help, value) in [
            (
                "requests_waiting",
                "gauge",
                "Requests in the queue.",
                &self.waiting,
            ),
            (
                "requests_running",
                "gauge",
                "Requests being answered by the model.",
                &self.running,
            ),
            (
                "prompt_tokens_total",
                "counter",
                "Tokens of prompts.",
                &self.prompt_tokens,
            ),
            (
                "generated_tokens_total",
                "counter",
                "Tokens generated.",
                &self.generated_tokens,
            ),
        ] {
            head(name, kind, help, &mut out);
            line(&mut out, format_args!("{name} {}", value.get()));
        }
        let first = "Seconds from a request's acceptance to its first token.";
        self.first_token
            .write("first_token_seconds", first, &mut out);
        let answer = "Seconds from a request's acceptance to its answer's end.";
        self.answer.write("answer_seconds", answer, &mut out);
        out
    }
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
