//! What the catalogue, the hardware table and the estimate say of a way to run a model, worked out
//! without the recommender: quality, predictions, money, memory.

use mistral_core::catalog::CatalogModel;
use mistral_core::estimate::{EngineClass, Setup, Shape, memory_need, usable_bytes};
use mistral_core::hardware::Device;
use mistral_core::need::{Need, Ownership, Task};
use mistral_core::plan::{KvPrecision, Runtime};
use mistral_core::precision::Precision;
use mistral_core::recommendation::Recommendation;
use mistral_recommend::{Context, Demand};

/// What one way to run a model gives; the latencies of the API aren't known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amounts {
    pub(crate) quality: f64,
    pub(crate) ttft_ms: Option<f64>,
    pub(crate) tpot_ms: Option<f64>,
    pub(crate) tokens_per_s: Option<f64>,
    pub(crate) usd_per_month: Option<f64>,
    /// Bytes needed and usable on one device.
    pub(crate) memory: Option<(f64, f64)>,
}

impl Amounts {
    /// Whether this is at least as good as `other` in all that the recommender compares, to
    /// rounding.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let most = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => a <= b * (1.0 + 1e-9),
            (a, b) => a.is_none() && b.is_none(),
        };
        self.quality >= other.quality - 1e-9
            && most(self.ttft_ms, other.ttft_ms)
            && most(self.tpot_ms, other.tpot_ms)
            && most(other.tokens_per_s, self.tokens_per_s)
            && most(self.usd_per_month, other.usd_per_month)
    }
}

/// A need and what it is answered from.
pub(crate) struct Witness<'a> {
    pub(crate) need: &'a Need,
    pub(crate) demand: Demand,
    pub(crate) context: &'a Context<'a>,
}

impl<'a> Witness<'a> {
    pub(crate) fn of(r: &'a Recommendation, context: &'a Context<'a>) -> Self {
        Self {
            need: &r.need,
            demand: Demand::of(&r.need),
            context,
        }
    }

    /// The device with the memory that the need says.
    pub(crate) fn device(&self, name: &str) -> Option<Device> {
        let mut device = self.context.device(name)?.clone();
        let machines = self.need.hardware.iter();
        let mut said = machines.filter(|h| h.device.as_deref() == Some(name));
        let memory = said.next().and_then(|h| h.memory_gb);
        device.memory_gb = memory.unwrap_or(device.memory_gb);
        Some(device)
    }

    /// All that a description such as `q4_k_m on 2 x L4` or `the API` may mean: engines and cuts
    /// aren't part of it.
    pub(crate) fn options(&self, model: &CatalogModel, how: &str) -> Vec<Amounts> {
        if how == "the API" {
            return vec![Amounts {
                quality: quality(model, self.demand.task, None),
                ttft_ms: None,
                tpot_ms: None,
                tokens_per_s: None,
                usd_per_month: self.api_month(model),
                memory: None,
            }];
        }
        let parsed = how.split_once(" on ").and_then(|(precision, machines)| {
            let (count, device) = machines.split_once(" x ")?;
            let precision = Precision::ALL.iter().find(|p| p.name() == precision)?;
            Some((*precision, count.parse().ok()?, self.device(device)?))
        });
        let Some((precision, count, device)) = parsed else {
            return Vec::new();
        };
        let mut list = Vec::new();
        let runtimes: &[Runtime] = match precision {
            p if p.is_gguf() => &[Runtime::LlamaServer],
            Precision::Mlx4 => &[Runtime::Mlx],
            _ => &[Runtime::Vllm, Runtime::MistralInfer],
        };
        for &runtime in runtimes {
            for cut in (0..5).map(|p| 1u32 << p).filter(|cut| count % cut == 0) {
                list.extend(self.own(model, precision, runtime, &device, (count, cut)));
            }
        }
        list
    }

    fn own(
        &self,
        model: &CatalogModel,
        precision: Precision,
        runtime: Runtime,
        device: &Device,
        (count, cut): (u32, u32),
    ) -> Option<Amounts> {
        let mut shape = Shape::of(self.context.catalog, model)?;
        let engine = EngineClass::from(runtime);
        if engine.is_local() && !self.encodes() {
            shape.encoder_parameters = 0;
        }
        let setup = Setup {
            shape: &shape,
            precision,
            kv: KvPrecision::Auto,
            device,
            count: cut,
            engine,
            coefficients: self.context.coefficients,
        };
        let copies = f64::from(count / cut);
        let each = (f64::from(self.demand.concurrency) / copies)
            .ceil()
            .max(1.0);
        let forecast = setup.forecast(self.demand.work, each);
        let memory = memory_need(&setup, f64::from(self.demand.context_tokens), each);
        Some(Amounts {
            quality: quality(model, self.demand.task, Some(precision)),
            ttft_ms: Some(forecast.ttft_ms.value),
            tpot_ms: Some(forecast.tpot_ms.value),
            tokens_per_s: Some(forecast.tokens_per_s.value * copies),
            usd_per_month: self.machine_month(device).map(|m| m * f64::from(count)),
            memory: Some((memory.per_device, usable_bytes(device, engine))),
        })
    }

    /// Whether an image or audio encoder is loaded.
    pub(crate) fn encodes(&self) -> bool {
        self.need.capabilities.iter().any(|c| c.name() == "vision")
            || matches!(
                self.need.task,
                Some(Task::Vision | Task::Ocr | Task::Transcribe | Task::Speech)
            )
    }

    /// Dollars a month of one device.
    pub(crate) fn machine_month(&self, device: &Device) -> Option<f64> {
        let mut machines = self.need.hardware.iter();
        let owned = machines
            .find(|h| h.device.as_ref() == Some(&device.name))
            .is_some_and(|h| h.ownership == Ownership::Owned);
        match owned {
            false => Some(device.price.as_ref()?.value * 730.0),
            true => Some(device.power_w? / 1000.0 * 730.0 * 0.20),
        }
    }

    /// Dollars a month through the API.
    pub(crate) fn api_month(&self, model: &CatalogModel) -> Option<f64> {
        let price = model.price.as_ref()?.value;
        let d = &self.demand;
        match (price.usd_per_mtok_in, price.usd_per_1000_pages) {
            (Some(input), _) => Some(
                (d.prompt_tokens_per_month * input
                    + d.output_tokens_per_month * price.usd_per_mtok_out.unwrap_or(0.0))
                    / 1e6,
            ),
            (None, Some(pages)) => {
                Some(d.prompt_tokens_per_month / d.work.prompt_tokens / 1000.0 * pages)
            }
            _ => None,
        }
    }
}

fn quality(model: &CatalogModel, task: Task, precision: Option<Precision>) -> f64 {
    mistral_recommend::quality(model, task, precision).value
}

/// `a + b x + c y` through points by least squares: the normal equations by Cramer's rule.
fn plane(points: &[(f64, f64, f64)]) -> [f64; 3] {
    let mut m = [[0.0; 3]; 3];
    let mut v = [0.0; 3];
    for &(x, y, z) in points {
        let row = [1.0, x, y];
        for i in 0..3 {
            for j in 0..3 {
                m[i][j] += row[i] * row[j];
            }
            v[i] += row[i] * z;
        }
    }
    let det = |m: &[[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let whole = det(&m);
    std::array::from_fn(|k| {
        let mut with = m;
        for i in 0..3 {
            with[i][k] = v[i];
        }
        det(&with) / whole
    })
}

/// MMLU as published, or from the curve through all published ones, fitted here once more.
pub(crate) struct Mmlu {
    curve: [f64; 3],
}

impl Mmlu {
    pub(crate) fn fitted(context: &Context<'_>) -> Self {
        let points: Vec<(f64, f64, f64)> = context
            .catalog
            .iter()
            .filter_map(|m| {
                let value = published(m)?;
                let p = m.parameters()?;
                let size = (p.total as f64 * p.active as f64).sqrt() / 1e9;
                Some((size.ln(), years(m)?, (value / (1.0 - value)).ln()))
            })
            .collect();
        assert!(points.len() >= 8, "{} published", points.len());
        Self {
            curve: plane(&points),
        }
    }

    /// `None` for models of which neither a score nor a size is known.
    pub(crate) fn of(&self, model: &CatalogModel) -> Option<f64> {
        if let Some(value) = published(model) {
            return Some(value);
        }
        let size = match model.parameters() {
            Some(p) => (p.total as f64 * p.active as f64).sqrt() / 1e9,
            None => (model.price.as_ref()?.value.usd_per_mtok_out? * 20.0).clamp(1.0, 400.0),
        };
        let [a, b, c] = self.curve;
        let z = a + b * size.max(0.1).ln() + c * years(model).unwrap_or(3.0);
        Some(1.0 / (1.0 + (-z).exp()))
    }
}

fn published(model: &CatalogModel) -> Option<f64> {
    let mut list = model.benchmarks.iter();
    list.find(|b| matches!(b.name.as_str(), "MMLU" | "MMLU 5-shot"))
        .map(|b| b.value)
}

/// Years from the first model's release, by the calendar.
fn years(model: &CatalogModel) -> Option<f64> {
    let date = &model.released.as_ref()?.value;
    let mut parts = date.split('-').map(|p| p.parse::<f64>().unwrap_or(1.0));
    let (year, month) = (parts.next()?, parts.next()?);
    let day = parts.next().unwrap_or(1.0);
    Some(year - 2023.0 + (month - 9.0) / 12.0 + (day - 27.0) / 365.25)
}
