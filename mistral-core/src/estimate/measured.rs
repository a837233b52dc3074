//! Published measurements in one form, and what the estimate says to each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Coefficients, EngineClass, Setup, Shape, Workload, memory_need, usable_bytes};
use crate::catalog::Catalog;
use crate::hardware::{Device, HardwareTable};
use crate::model::ModelSpec;
use crate::plan::KvPrecision;
use crate::precision::Precision;
use crate::recommendation::Interval;

/// A file of measurements.
#[derive(Debug, Clone, Deserialize)]
pub struct MeasuredFile {
    /// The measurements.
    pub rows: Vec<MeasuredRow>,
    /// Dimensions behind each `model` name.
    #[serde(default)]
    pub models: BTreeMap<String, MeasuredModel>,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredRow {
    /// Its id.
    pub id: String,
    /// A key of [`MeasuredFile::models`], or a name in the catalogue.
    pub model: String,
    /// A name or alias in the hardware table.
    pub device: String,
    /// Devices.
    pub n_devices: u32,
    /// Devices that each layer is cut over; `None` when it wasn't said.
    pub tp: Option<u32>,
    /// The engine's name.
    pub engine: String,
    /// Storage of the weights.
    pub weights: String,
    /// Storage of keys and values.
    pub kv: Option<String>,
    /// Prompt tokens a request.
    pub isl: Option<f64>,
    /// Generated tokens a request.
    pub osl: Option<f64>,
    /// How it was driven.
    pub mode: String,
    /// Requests at once, when the mode fixes them.
    pub batch: Option<f64>,
    /// What was measured; it names the unit of `value`.
    pub metric: String,
    /// The value.
    pub value: f64,
}

/// What a measurement is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Steps.
    Rate,
    /// A prompt.
    Prompt,
}

impl MeasuredRow {
    fn kind(&self) -> Kind {
        if self.metric.contains("ttft") || self.metric.contains("prefill") {
            Kind::Prompt
        } else {
            Kind::Rate
        }
    }
}

/// What is known of a measured model.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct MeasuredModel {
    /// Name in the catalogue.
    pub catalog: Option<String>,
    /// Layers.
    pub n_layers: Option<usize>,
    /// Width.
    pub dim: Option<usize>,
    /// Inner width.
    pub hidden_dim: Option<usize>,
    /// Query heads.
    pub n_heads: Option<usize>,
    /// Key and value heads.
    pub n_kv_heads: Option<usize>,
    /// Width of a head.
    pub head_dim: Option<usize>,
    /// Vocabulary.
    pub vocab_size: Option<usize>,
    /// Whether the embedding is the output.
    #[serde(default)]
    pub tied_embeddings: bool,
    /// Experts, when there are any.
    pub num_experts: Option<usize>,
    /// Experts a token.
    pub num_experts_per_tok: Option<usize>,
}

/// Why a row can't be predicted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unpredictable {
    /// Its model's dimensions aren't known.
    #[error("no dimensions of model {0:?}")]
    Model(String),
    /// Its device isn't in the table.
    #[error("no row of device {0:?}")]
    Device(String),
    /// Its precision has no name here.
    #[error("unknown precision {0:?}")]
    Precision(String),
    /// Its metric isn't one that the estimate gives in that mode.
    #[error("no formula for {metric} in mode {mode}")]
    Metric {
        /// The metric.
        metric: String,
        /// The mode.
        mode: String,
    },
    /// The weights don't fit, and there is no other memory for them.
    #[error("needs {needs_gb} GB a device of {has_gb} GB")]
    Memory {
        /// Need, rounded.
        needs_gb: u32,
        /// The device's memory, rounded.
        has_gb: u32,
    },
}

impl MeasuredFile {
    /// The model behind a row.
    ///
    /// # Errors
    /// [`Unpredictable::Model`] when neither the file nor the catalogue has its dimensions.
    pub fn shape(&self, row: &MeasuredRow) -> Result<Shape, Unpredictable> {
        let unknown = || Unpredictable::Model(row.model.clone());
        let listed = self.models.get(&row.model);
        let name = listed
            .and_then(|m| m.catalog.as_deref())
            .unwrap_or(&row.model);
        let catalog = Catalog::embedded();
        if let Some(shape) = catalog.find(name).and_then(|m| Shape::of(catalog, m)) {
            return Ok(shape.text_only());
        }
        let m = listed.ok_or_else(unknown)?;
        let config = m.config().ok_or_else(unknown)?;
        ModelSpec::from_hf_config(&config)
            .map(Shape::new)
            .map_err(|_| unknown())
    }

    /// What the estimate says to a row, in the row's unit, with the interval that should hold eight
    /// of ten rows.
    ///
    /// # Errors
    /// [`Unpredictable`] when the row's model, device, precision or metric isn't covered.
    pub fn predict(
        &self,
        row: &MeasuredRow,
        coefficients: &Coefficients,
    ) -> Result<Interval, Unpredictable> {
        self.case(row)?.predict(coefficients)
    }

    /// A row with its model's dimensions and its device's figures looked up.
    ///
    /// # Errors
    /// [`Unpredictable`] when the row's model, device or precision isn't known.
    pub fn case<'a>(&self, row: &'a MeasuredRow) -> Result<Case<'a>, Unpredictable> {
        let shape = self.shape(row)?;
        let device = HardwareTable::embedded()
            .find(&row.device)
            .ok_or_else(|| Unpredictable::Device(row.device.clone()))?;
        let precision: Precision = row
            .weights
            .parse()
            .map_err(|_| Unpredictable::Precision(row.weights.clone()))?;
        let engine = engine_class(&row.engine);
        let count = row
            .tp
            .unwrap_or_else(|| fewest(&shape, precision, device, row.n_devices));
        Ok(Case {
            row,
            shape,
            device,
            precision,
            engine,
            count,
        })
    }
}

/// A measurement and what it was made with.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// The measurement.
    pub row: &'a MeasuredRow,
    /// Its model.
    pub shape: Shape,
    /// Its device.
    pub device: &'static Device,
    precision: Precision,
    engine: EngineClass,
    count: u32,
}

impl Case<'_> {
    /// What the estimate says, in the row's unit, with the interval that should hold eight of ten.
    ///
    /// # Errors
    /// [`Unpredictable::Metric`], [`Unpredictable::Memory`].
    pub fn predict(&self, coefficients: &Coefficients) -> Result<Interval, Unpredictable> {
        let setup = self.setup(coefficients);
        let need = memory_need(&setup, 0.0, 0.0).per_device;
        let holds = usable_bytes(self.device, self.engine) * 1.1;
        if self.device.kind.shares_memory() && need > holds {
            return Err(Unpredictable::Memory {
                needs_gb: (need / 1e9) as u32,
                has_gb: self.device.memory_gb as u32,
            });
        }
        let value = value(self.row, &setup).ok_or_else(|| Unpredictable::Metric {
            metric: self.row.metric.clone(),
            mode: self.row.mode.clone(),
        })?;
        Ok(Interval::spread(value, self.spread(&setup)))
    }

    fn spread(&self, setup: &Setup<'_>) -> f64 {
        let rate = setup.rate_spread();
        match self.row.kind() {
            Kind::Rate => rate,
            Kind::Prompt => rate.max(setup.coefficients.spread.prompt),
        }
    }

    /// What kind of measurement by what kind of engine, in the terms of
    /// [`Spread`](super::Spread).
    pub(super) fn class(&self) -> (EngineClass, Kind) {
        (self.engine, self.row.kind())
    }

    fn setup<'a>(&'a self, coefficients: &'a Coefficients) -> Setup<'a> {
        Setup {
            shape: &self.shape,
            precision: self.precision,
            kv: kv_precision(self.row.kv.as_deref()),
            device: self.device,
            count: self.count,
            engine: self.engine,
            coefficients,
        }
    }
}

impl MeasuredModel {
    fn config(&self) -> Option<String> {
        let moe = self.num_experts.is_some();
        let mut config = json!({
            "model_type": if moe { "mixtral" } else { "mistral" },
            "num_hidden_layers": self.n_layers?,
            "hidden_size": self.dim?,
            "intermediate_size": self.hidden_dim?,
            "num_attention_heads": self.n_heads?,
            "num_key_value_heads": self.n_kv_heads?,
            "head_dim": self.head_dim?,
            "vocab_size": self.vocab_size?,
            "tie_word_embeddings": self.tied_embeddings,
            "sliding_window": null,
        });
        if moe {
            config["num_local_experts"] = json!(self.num_experts);
            config["num_experts_per_tok"] = json!(self.num_experts_per_tok?);
        }
        Some(config.to_string())
    }
}

fn engine_class(name: &str) -> EngineClass {
    match name {
        "TensorRT-LLM" | "vLLM" | "SGLang" | "optimum-habana" | "JetStream-PyTorch" | "TGI" => {
            EngineClass::Serving
        }
        _ => EngineClass::Local,
    }
}

fn kv_precision(name: Option<&str>) -> KvPrecision {
    match name {
        Some("fp8" | "int8") => KvPrecision::Fp8,
        Some("q8_0") => KvPrecision::Q8_0,
        Some("f32") => KvPrecision::F32,
        _ => KvPrecision::Auto,
    }
}

/// The fewest devices, a power of two, that hold the weights with a tenth to spare.
fn fewest(shape: &Shape, precision: Precision, device: &Device, most: u32) -> u32 {
    let bytes = shape.weight_bytes(precision);
    let mut n = 1;
    while n < most && bytes / f64::from(n) > device.memory_gb * 1e9 * 0.85 {
        n *= 2;
    }
    n
}

fn value(row: &MeasuredRow, setup: &Setup<'_>) -> Option<f64> {
    let replicas = f64::from(row.n_devices.max(1)) / f64::from(setup.count.max(1));
    let mut work = Workload {
        prompt_tokens: row.isl.unwrap_or(0.0),
        output_tokens: row.osl.unwrap_or(0.0),
    };
    let per_device = match row.metric.as_str() {
        "output_tok_s_per_gpu" => 1.0 / f64::from(row.n_devices.max(1)),
        _ => 1.0,
    };
    let is_total = row.metric.starts_with("output_tok_s");
    let total = match row.mode.as_str() {
        "offline_max_load_inflight_batching" | "mlperf_server" | "mlperf_offline" => {
            if row.isl.is_none() {
                // The mix of OpenOrca, GSM8K and MBXP.
                work.prompt_tokens = 400.0;
            }
            replicas * setup.saturated(work).0
        }
        "static_batch" => replicas * together(setup, work, row.batch?),
        "sharegpt_max" => {
            // Lengths are maxima; ShareGPT's conversations fill about a quarter.
            work = Workload {
                prompt_tokens: work.prompt_tokens / 4.0,
                output_tokens: work.output_tokens / 4.0,
            };
            replicas * together(setup, work, row.batch?)
        }
        mode => match (clients(mode), row.batch) {
            (Some(clients), _) => return closed_loop(row, setup, work, clients),
            (None, Some(batch)) if is_total && batch > 1.0 => {
                replicas * together(setup, work, batch)
            }
            _ => return lone(row, setup, work),
        },
    };
    is_total.then_some(total * per_device)
}

/// Clients of a mode that is called after their number.
fn clients(mode: &str) -> Option<f64> {
    let number = mode.strip_prefix("closed_loop_c")?;
    number.parse::<u32>().ok().filter(|n| *n > 0).map(f64::from)
}

/// Requests that start together and end together.
fn together(setup: &Setup<'_>, work: Workload, batch: f64) -> f64 {
    let context = work.prompt_tokens + work.output_tokens / 2.0;
    let seconds = setup.prefill_s(batch, work.prompt_tokens)
        + work.output_tokens * setup.step_s(batch, context);
    batch * work.output_tokens / seconds
}

/// Clients that each send the next request when the last is answered; all start together.
fn closed_loop(row: &MeasuredRow, setup: &Setup<'_>, work: Workload, clients: f64) -> Option<f64> {
    let tpot = setup.tpot_ms(work, clients);
    let first = 1e3 * setup.prefill_s(clients, work.prompt_tokens) / 2.0 + setup.ttft_ms(work, 1.0);
    match row.metric.as_str() {
        "mean_tpot_ms" => Some(tpot),
        "mean_ttft_ms" | "ttft_ms" => Some(first),
        "output_tok_s_total" => {
            Some(1e3 * clients * work.output_tokens / (first + work.output_tokens * tpot))
        }
        _ => None,
    }
}

/// One request.
fn lone(row: &MeasuredRow, setup: &Setup<'_>, work: Workload) -> Option<f64> {
    let context = work.prompt_tokens + work.output_tokens / 2.0;
    match row.metric.as_str() {
        "ttft_ms" | "mean_ttft_ms" => Some(setup.ttft_ms(work, 1.0)),
        "mean_tpot_ms" => Some(1e3 * setup.step_s(1.0, context)),
        "decode_tok_s" => Some(1.0 / setup.step_s(1.0, context)),
        "prefill_tok_s" => Some(work.prompt_tokens / (setup.ttft_ms(work, 1.0) / 1e3)),
        // One request after the other.
        metric if metric.starts_with("output_tok_s") => Some(together(setup, work, 1.0)),
        _ => None,
    }
}
