//! One candidate: a model, how and where it runs, and what that gives.

use std::sync::Arc;

use mistral_core::catalog::CatalogModel;
use mistral_core::estimate::{EngineClass, MemoryNeed, Setup, Shape, memory_need, usable_bytes};
use mistral_core::hardware::Device;
use mistral_core::need::Ownership;
use mistral_core::plan::{KvPrecision, Runtime};
use mistral_core::precision::Precision;
use mistral_core::recommendation::{Hosting, Interval, Predicted};

use crate::Context;
use crate::demand::Demand;
use crate::quality::Quality;
use crate::retrieve::{Config, Machines};

/// Hours of a mean month.
pub(crate) const HOURS_PER_MONTH: f64 = 730.0;
/// US dollars a kilowatt-hour, for machines that are owned.
pub(crate) const USD_PER_KWH: f64 = 0.20;

/// A model, how and where it runs, and what that gives.
///
/// A search makes a hundred thousand of them: what many have in common is shared.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Catalogue id.
    pub model: Arc<str>,
    /// Who runs it.
    pub hosting: Hosting,
    /// Storage of the weights.
    pub precision: Option<Precision>,
    /// Engine.
    pub runtime: Option<Runtime>,
    /// Name in the hardware table.
    pub device: Option<Arc<str>>,
    /// Devices in all.
    pub count: u32,
    /// Devices that each layer is cut over; 0 for the API.
    pub tensor_parallel: u32,
    /// What it should do.
    pub predicted: Predicted,
    /// Memory of the whole and of one device, in bytes; `None` for the API.
    pub memory: Option<MemoryNeed>,
    /// Bytes that an engine may plan with on one device.
    pub usable_bytes: f64,
    /// How good its answers should be.
    pub quality: Arc<Quality>,
    /// Requests at once that this was predicted for.
    pub concurrency: u32,
}

impl Candidate {
    /// What distinguishes it from all others, in the order of ties.
    pub(crate) fn key(
        &self,
    ) -> (
        &str,
        Option<Precision>,
        Option<Runtime>,
        Option<&str>,
        u32,
        u32,
    ) {
        (
            &self.model,
            self.precision,
            self.runtime,
            self.device.as_deref(),
            self.count,
            self.tensor_parallel,
        )
    }
}

impl Candidate {
    /// With the forecast moved by what measured runs on this device and engine say.
    pub(crate) fn corrected(mut self, context: &Context<'_>, demand: &Demand) -> Self {
        if let (Some(learned), Some(device), Some(runtime)) =
            (&context.learned, &self.device, self.runtime)
        {
            let answer = demand.work.output_tokens;
            learned
                .corrections
                .apply(device, runtime, answer, &mut self.predicted);
        }
        self
    }
}

/// How much is computed: whether the model fits decides whether its speed is worth knowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Nothing more when the memory isn't there.
    IfItFits,
    /// Everything.
    Whole,
}

/// Memory of a setup, before anything else is known.
pub(crate) struct Fit {
    pub(crate) need: MemoryNeed,
    pub(crate) usable: f64,
}

pub(crate) fn setup<'a>(
    shape: &'a Shape,
    config: Config,
    device: &'a Device,
    context: &'a Context<'_>,
) -> Setup<'a> {
    Setup {
        shape,
        precision: config.precision,
        kv: KvPrecision::Auto,
        device,
        count: config.tensor_parallel,
        engine: EngineClass::from(config.runtime),
        coefficients: context.coefficients,
    }
}

/// Requests at once that each copy of the model serves.
fn share(demand: &Demand, config: Config) -> f64 {
    let copies = f64::from(config.count / config.tensor_parallel.max(1)).max(1.0);
    (f64::from(demand.concurrency) / copies).ceil().max(1.0)
}

/// Memory on each device at the demanded context and number of requests.
pub(crate) fn fit(setup: &Setup<'_>, config: Config, demand: &Demand) -> Fit {
    let need = memory_need(
        setup,
        f64::from(demand.context_tokens),
        share(demand, config),
    );
    Fit {
        need,
        usable: usable_bytes(setup.device, setup.engine),
    }
}

/// Everything about one way to run a model.
pub(crate) fn own(
    model: &Arc<str>,
    setup: &Setup<'_>,
    config: Config,
    machines: &Machines,
    demand: &Demand,
    fit: Fit,
    quality: &Arc<Quality>,
) -> Candidate {
    let copies = f64::from(config.count / config.tensor_parallel.max(1)).max(1.0);
    let forecast = setup.forecast(demand.work, share(demand, config));
    let times = |i: Interval, f: f64| Interval {
        value: i.value * f,
        lo: i.lo * f,
        hi: i.hi * f,
    };
    let memory = MemoryNeed {
        weights: fit.need.weights * copies,
        kv: fit.need.kv * copies,
        overhead: fit.need.overhead * copies,
        per_device: fit.need.per_device,
        total: fit.need.total * copies,
    };
    let usd_per_month = month_of(machines, config.count);
    let mtok = demand.tokens_per_month() / 1e6;
    Candidate {
        model: Arc::clone(model),
        hosting: Hosting::SelfHosted,
        precision: Some(config.precision),
        runtime: Some(config.runtime),
        device: Some(Arc::clone(&machines.name)),
        count: config.count,
        tensor_parallel: config.tensor_parallel,
        predicted: Predicted {
            ttft_ms: Some(forecast.ttft_ms),
            tpot_ms: Some(forecast.tpot_ms),
            tokens_per_s: Some(times(forecast.tokens_per_s, copies)),
            // Weights and cache are exact; what an engine takes besides varies by about a GB.
            memory_gb: Some(Interval {
                value: memory.total / 1e9,
                lo: (memory.total - 0.5 * memory.overhead) / 1e9,
                hi: (memory.total + 0.5 * memory.overhead) / 1e9,
            }),
            usd_per_month: usd_per_month.map(Interval::exact),
            usd_per_mtok: usd_per_month
                .filter(|_| mtok > 0.0)
                .map(|m| Interval::exact(m / mtok)),
            joules_per_token: joules(machines, config.count, times(forecast.tokens_per_s, copies)),
        },
        memory: Some(memory),
        usable_bytes: fit.usable,
        quality: Arc::clone(quality),
        concurrency: demand.concurrency,
    }
}

/// Energy of a generated token at full power; `None` where the power isn't known.
fn joules(machines: &Machines, count: u32, tokens_per_s: Interval) -> Option<Interval> {
    let watts = machines.device.power_w? * f64::from(count);
    (tokens_per_s.lo > 0.0).then(|| Interval {
        value: watts / tokens_per_s.value,
        lo: watts / tokens_per_s.hi,
        hi: watts / tokens_per_s.lo,
    })
}

/// Dollars a month for machines that run all the time: rent, or the energy of full load.
fn month_of(machines: &Machines, count: u32) -> Option<f64> {
    let each = match machines.ownership {
        Ownership::Rented => machines.device.price.as_ref()?.value * HOURS_PER_MONTH,
        Ownership::Owned => machines.device.power_w? / 1e3 * HOURS_PER_MONTH * USD_PER_KWH,
    };
    Some(each * f64::from(count))
}

/// A model through Mistral's API; `None` when its price for this job isn't known.
pub(crate) fn api(model: &CatalogModel, demand: &Demand, quality: Quality) -> Option<Candidate> {
    let price = model.price.as_ref()?.value;
    let usd = match (price.usd_per_mtok_in, price.usd_per_mtok_out) {
        (Some(input), output) => {
            (demand.prompt_tokens_per_month * input
                + demand.output_tokens_per_month * output.unwrap_or(0.0))
                / 1e6
        }
        _ => {
            // One page a request.
            let pages = demand.prompt_tokens_per_month / demand.work.prompt_tokens.max(1.0);
            price.usd_per_1000_pages? * pages / 1e3
        }
    };
    let mtok = demand.tokens_per_month() / 1e6;
    Some(Candidate {
        model: model.id.as_str().into(),
        hosting: Hosting::Api,
        precision: None,
        runtime: None,
        device: None,
        count: 0,
        tensor_parallel: 0,
        predicted: Predicted {
            usd_per_month: Some(Interval::exact(usd)),
            usd_per_mtok: (mtok > 0.0).then(|| Interval::exact(usd / mtok)),
            ..Predicted::default()
        },
        memory: None,
        usable_bytes: 0.0,
        quality: Arc::new(quality),
        concurrency: demand.concurrency,
    })
}
