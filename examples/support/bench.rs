//! The line that a program measuring a whole model prints, and what it is made of.

use mistral_core::hardware::Hardware;
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::time::Instant;

/// Figures of one model on one machine; medians over the repeats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchLine {
    /// Prompt tokens processed in a second.
    pub prefill_tokens_per_s: f64,
    /// Tokens generated in a second after the first.
    pub decode_tokens_per_s: f64,
    /// Milliseconds from the prompt to the first token.
    pub ttft_ms: f64,
    /// The same for the first prompt after loading, its session made on the way: pages of weights
    /// and buffers are met for the first time. 0 where not measured: for more than 64 tokens.
    #[serde(default)]
    pub first_ttft_ms: f64,
    /// Milliseconds from the path to a model that is ready.
    pub load_ms: f64,
    /// From the path to the first token: loading and the first prompt. 0 where not measured.
    #[serde(default)]
    pub load_and_ttft_ms: f64,
    /// The largest resident set of the process.
    pub peak_rss_bytes: u64,
    /// Bytes of all weights as stored.
    pub weight_bytes: u64,
    /// Bytes of weights that one decoded token reads, times the decode speed.
    pub read_bytes_per_s: f64,
    /// What as many threads read of plain memory in a second, in the same process; 0 where not measured.
    #[serde(default)]
    pub plain_read_bytes_per_s: f64,
    /// Which kernels ran.
    pub kernel_path: String,
}

/// The median of `values`; the mean of the middle two when their number is even. `None` without values.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The largest resident set that this process has had, in bytes; 0 where the system does not tell.
#[must_use]
pub fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Bytes that `threads` threads read in a second when they do nothing else: the median of five passes
/// over a gigabyte, which is more than caches hold.
///
/// It counts towards [`peak_rss_bytes`], so ask for that first.
#[must_use]
pub fn plain_read_bytes_per_s(threads: usize) -> f64 {
    let data = vec![1u64; 1 << 27];
    let pass = || {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in data.chunks(data.len().div_ceil(threads.max(1))) {
                scope.spawn(move || black_box(part.iter().fold(0, |all, word| all ^ word)));
            }
        });
        size_of_val(data.as_slice()) as f64 / start.elapsed().as_secs_f64()
    };
    let rates: Vec<f64> = (0..5).map(|_| pass()).collect();
    median(&rates).unwrap_or(0.0)
}

/// The processor of this machine and its threads, such as `AMD EPYC 9654 (8 threads)`.
#[must_use]
pub fn machine() -> String {
    let cpu = Hardware::detect().cpu;
    format!("{} ({} threads)", cpu.model, cpu.threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_even_and_none() {
        let rows: [(&[f64], Option<f64>); 4] = [
            (&[], None),
            (&[3.0], Some(3.0)),
            (&[3.0, 1.0, 2.0], Some(2.0)),
            (&[4.0, 1.0, 2.0, 3.0], Some(2.5)),
        ];
        for (values, expected) in rows {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }
}
