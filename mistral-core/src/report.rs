//! What was measured.

use serde::{Deserialize, Serialize};

use crate::plan::Runtime;
use crate::precision::Precision;

/// One measured run: everything that is needed to repeat it and to compare it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Version of this type's serialised form.
    pub schema: u32,
    /// The command, with its arguments.
    pub command: String,
    /// When, as `YYYY-MM-DD` or RFC 3339; handed in by the caller.
    pub date: String,
    /// Where.
    pub machine: Machine,
    /// Catalogue id or file name.
    pub model: String,
    /// Storage of the weights, when it has a name.
    pub precision: Option<Precision>,
    /// The engine; `None` in reports of engines that no plan is made for.
    #[serde(default)]
    pub runtime: Option<Runtime>,
    /// The path that ran, such as `avx512`, with the engine's name and version.
    pub kernel_path: String,
    /// Shape of the run.
    pub shape: RunShape,
    /// Prompt tokens a second.
    pub prefill_tokens_per_s: Option<f64>,
    /// Generated tokens a second over the batch.
    pub decode_tokens_per_s: Option<f64>,
    /// Time to the first token.
    pub ttft_ms: Option<f64>,
    /// Time to load the weights.
    pub load_ms: Option<f64>,
    /// Greatest resident memory of the process.
    pub peak_rss_bytes: Option<u64>,
    /// Bytes of the weights as stored in memory.
    pub weight_bytes: Option<u64>,
    /// Weight bytes that decoding read, a second.
    pub read_bytes_per_s: Option<f64>,
}

impl RunReport {
    /// Version of the serialised form that this code writes.
    pub const SCHEMA: u32 = 1;

    /// Milliseconds between the tokens of one sequence; `None` when decoding wasn't measured.
    ///
    /// ```
    /// # use mistral_core::report::RunReport;
    /// let report: RunReport = serde_json::from_str(r#"{
    ///     "schema": 1, "command": "bench", "date": "2026-11-23",
    ///     "machine": {"device": "L4", "count": 1, "threads": null},
    ///     "model": "mistral-7b-v0.3", "precision": "bf16", "runtime": "vllm", "kernel_path": "cuda",
    ///     "shape": {"prompt_tokens": 512, "output_tokens": 64, "depth": 0, "batch": 4, "repeats": 3},
    ///     "decode_tokens_per_s": 80.0
    /// }"#)?;
    /// assert_eq!(report.tpot_ms(), Some(50.0));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn tpot_ms(&self) -> Option<f64> {
        let rate = self.decode_tokens_per_s?;
        Some(1e3 * f64::from(self.shape.batch) / rate)
    }
}

/// The machine of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Device, by its own name.
    pub device: String,
    /// Devices used.
    pub count: u32,
    /// Threads used, on a CPU.
    pub threads: Option<u32>,
}

/// What was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunShape {
    /// Prompt tokens a sequence.
    pub prompt_tokens: u32,
    /// Generated tokens a sequence.
    pub output_tokens: u32,
    /// Tokens that were in the cache before.
    pub depth: u32,
    /// Sequences at the same moment.
    pub batch: u32,
    /// Runs that the figures are medians of.
    pub repeats: u32,
}
