//! Times of prompts and steps.

use super::coefficients::{Coefficients, EngineClass, Shares};
use crate::catalog::{Catalog, CatalogModel};
use crate::hardware::Device;
use crate::model::{AttentionKind, ModelSpec};
use crate::plan::KvPrecision;
use crate::precision::{Format, Precision};
use crate::recommendation::Interval;
use crate::sizing;

/// What a desktop computer's processor reads of weights that a card has no room for: two channels,
/// 50 GB/s (llmfit's constant), times the share that processors reach in the measurements.
const HOST_BYTES_PER_S: f64 = 50e9 * 0.56;

/// What llama.cpp reads and multiplies of what our runtime does on the same machine, from
/// `benches/record` of 2026-11-23, a processor with AMX: it decoded at 0.77 (7B, one thread) to 1.0
/// (its 4-layer slice, two) of our rate, and took prompts at 0.29.
const LOCAL_READ: f64 = 0.85;
const LOCAL_OPERATIONS: f64 = 0.29;

/// What the roofline reads of a model: its dimensions, and a factor when only its size is known
/// and a model of other size lends them.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Dimensions.
    pub spec: ModelSpec,
    /// Factor on weights and matrix operations; 1 when the dimensions are the model's own.
    pub scale: f64,
    /// Parameters besides the text decoder, kept in 16 bits.
    pub encoder_parameters: u64,
    counts: sizing::Counts,
}

impl Shape {
    /// A model of these dimensions, text only.
    #[must_use]
    pub fn new(spec: ModelSpec) -> Self {
        Self {
            counts: sizing::Counts::new(&spec),
            spec,
            scale: 1.0,
            encoder_parameters: 0,
        }
    }

    /// The same without an encoder.
    #[must_use]
    pub fn text_only(&self) -> Self {
        Self {
            encoder_parameters: 0,
            ..self.clone()
        }
    }

    /// A model of the catalogue; `None` when neither dimensions nor a stand-in are known.
    #[must_use]
    pub fn of(catalog: &Catalog, model: &CatalogModel) -> Option<Self> {
        let encoder_parameters = model.encoder_parameters.as_ref().map_or(0, |e| e.value);
        if let Ok(Some(spec)) = model.spec() {
            return Some(Self {
                encoder_parameters,
                ..Self::new(spec)
            });
        }
        let like = catalog.get(&model.dimensions_like.as_ref()?.value)?;
        let spec = like.spec().ok()??;
        let own = model.parameters()?.total as f64;
        let scale = own / sizing::parameters(&spec).total.max(1) as f64;
        Some(Self {
            scale,
            encoder_parameters,
            ..Self::new(spec)
        })
    }

    /// Bytes of all weights.
    #[must_use]
    pub fn weight_bytes(&self, precision: Precision) -> f64 {
        self.counts.weight_bytes(precision) as f64 * self.scale
            + 2.0 * self.encoder_parameters as f64
    }

    /// Bytes of keys and values of one sequence of `tokens` tokens.
    #[must_use]
    pub fn kv_bytes(&self, tokens: usize, kv: KvPrecision) -> f64 {
        self.counts.kv_bytes(&self.spec, tokens, kv)
    }

    /// Over how many of `count` devices keys and values are divided: their heads, and not at all
    /// a latent.
    #[must_use]
    pub fn kv_shards(&self, count: u32) -> u32 {
        match &self.spec.attention {
            AttentionKind::Gqa(g) => {
                let heads = u32::try_from(g.n_kv_heads).unwrap_or(u32::MAX);
                count.clamp(1, heads.max(1))
            }
            AttentionKind::Mla(_) => 1,
        }
    }
}

/// Tokens of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Prompt.
    pub prompt_tokens: f64,
    /// Answer.
    pub output_tokens: f64,
}

/// What requests should see, with the interval of the fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Time to the first token, in milliseconds.
    pub ttft_ms: Interval,
    /// Time between tokens, in milliseconds.
    pub tpot_ms: Interval,
    /// Tokens generated a second, over all requests.
    pub tokens_per_s: Interval,
}

/// A model in some precision on devices with an engine.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The model.
    pub shape: &'a Shape,
    /// Storage of the weights.
    pub precision: Precision,
    /// Storage of keys and values.
    pub kv: KvPrecision,
    /// The device.
    pub device: &'a Device,
    /// Devices that every layer is cut over.
    pub count: u32,
    /// The engine.
    pub engine: EngineClass,
    /// The constants.
    pub coefficients: &'a Coefficients,
}

/// What one pass reads and computes.
struct Pass {
    tokens: f64,
    sequences: f64,
    read_bytes: f64,
    flops: f64,
}

impl Setup<'_> {
    fn shares(&self) -> Shares {
        let moe = self.shape.spec.moe.is_some();
        self.coefficients.shares(self.device, self.engine, moe)
    }

    /// Operations a second that matrices of this precision reach on one device.
    fn flops_per_s(&self) -> f64 {
        let rates = &self.device.tera_ops;
        let shares = self.shares();
        // A device without a known rate is taken at 40 operations a byte of bandwidth, as the
        // table's unified devices have.
        let sixteen =
            rates.bf16.unwrap_or(self.device.bandwidth_gb_per_s * 0.04) * shares.compute_16;
        let eight = match self.precision.base() {
            Format::F8E4M3 | Format::F8E5M2 => rates.fp8,
            Format::Nvfp4 | Format::Mxfp4 if self.engine == EngineClass::Serving => {
                rates.fp4.or(rates.fp8)
            }
            Format::Int8 if self.engine == EngineClass::Serving => rates.int8,
            _ => None,
        };
        match eight {
            Some(rate) => (rate * shares.compute_8).max(sixteen) * 1e12,
            None => sixteen * 1e12,
        }
    }

    /// Share of the weights that a card has no room for, so that they lie in the computer's memory:
    /// local engines run those layers on the processor. 0 where all fits, and where there is no
    /// other memory.
    #[must_use]
    pub fn offloaded(&self) -> f64 {
        if self.engine == EngineClass::Serving || self.device.kind.shares_memory() {
            return 0.0;
        }
        let need = super::memory_need(self, 0.0, 0.0);
        let missing = need.per_device - super::usable_bytes(self.device, self.engine);
        let weights = need.weights / f64::from(self.count.max(1));
        (missing / weights.max(1.0)).clamp(0.0, 1.0)
    }

    /// The time of a pass where this machine was measured; `None` elsewhere.
    fn measured_seconds(&self, pass: &Pass) -> Option<f64> {
        let rates = self.device.rates.as_ref()?;
        let (reads, multiplies) = match self.engine {
            EngineClass::Serving => return None,
            EngineClass::Local => (LOCAL_READ, LOCAL_OPERATIONS),
            EngineClass::Native => (1.0, 1.0),
        };
        let spec = &self.shape.spec;
        let base = self.precision.base();
        let of = match (base.block().items, base.bits_per_weight()) {
            (1, _) => &rates.floats,
            (_, 8.0..) => &rates.bytes,
            _ => &rates.blocks,
        };
        let dim = spec.dim as f64;
        let read = of.read_at(self.shape.weight_bytes(self.precision), dim)?;
        let each = spec.moe.as_ref().map_or(1.0, |m| {
            m.num_experts_per_tok as f64 / m.num_experts.max(1) as f64
        });
        let operations = of.operations_at(dim, pass.tokens * each)?;
        let (step, token) = match spec.moe {
            None => (rates.layer_s, rates.prompt_token_layer_s),
            Some(_) => (rates.expert_layer_s, rates.expert_prompt_token_layer_s),
        };
        let prompt = (pass.tokens - pass.sequences).max(0.0);
        let layer = if pass.sequences > 0.0 { step } else { 0.0 } + prompt * token;
        let weights = (pass.read_bytes / read / reads).max(pass.flops / operations / multiplies);
        Some(weights + layer * spec.n_layers as f64)
    }

    fn seconds(&self, pass: &Pass) -> f64 {
        if let Some(seconds) = self.measured_seconds(pass) {
            return seconds;
        }
        let shares = self.shares();
        let n = f64::from(self.count.max(1));
        let own = n * self.device.bandwidth_gb_per_s * 1e9 * shares.bandwidth;
        let elsewhere = self.offloaded();
        let memory = pass.read_bytes * (1.0 - elsewhere) / own
            + pass.read_bytes * elsewhere / HOST_BYTES_PER_S;
        let compute = pass.flops / (n * self.flops_per_s());
        // A serving engine's step has phases of both kinds one after the other; a local engine's
        // single stream waits for whichever is longer.
        let both = match self.engine {
            EngineClass::Serving => memory + compute,
            EngineClass::Local | EngineClass::Native => memory.max(compute),
        };
        let layers = shares.layer_s * self.shape.spec.n_layers as f64;
        both + layers + self.exchange_s(pass.tokens) + shares.sequence_s * pass.sequences
    }

    /// Two all-reduces a layer of 16-bit activations.
    fn exchange_s(&self, tokens: f64) -> f64 {
        if self.count <= 1 {
            return 0.0;
        }
        let n = f64::from(self.count);
        // PCIe 4.0 x16 where the table has no link.
        let both = self.device.interconnect_gb_per_s.unwrap_or(64.0);
        let rate = both / 2.0 * 1e9 * self.coefficients.link;
        let bytes = 2.0 * (n - 1.0) / n * tokens * self.shape.spec.dim as f64 * 2.0;
        2.0 * self.shape.spec.n_layers as f64 * (bytes / rate + self.coefficients.all_reduce_s)
    }

    fn weights_read(&self, tokens: f64) -> f64 {
        let counts = &self.shape.counts;
        counts.decode_read_bytes(self.precision, tokens) * self.shape.scale
    }

    /// Seconds to compute `sequences` prompts of `tokens` tokens together, engine cost left out.
    #[must_use]
    pub fn prefill_s(&self, sequences: f64, tokens: f64) -> f64 {
        let shape = self.shape;
        let flops = (shape.counts).prefill_flops(&shape.spec, tokens.max(1.0) as usize, 0);
        self.seconds(&Pass {
            tokens: sequences * tokens,
            sequences: 0.0,
            read_bytes: self.weights_read(sequences * tokens),
            flops: flops * self.shape.scale * sequences,
        })
    }

    /// Seconds of one step that gives each of `sequences` sequences a token at `context` tokens.
    #[must_use]
    pub fn step_s(&self, sequences: f64, context: f64) -> f64 {
        self.mixed_step_s(sequences, context, 0.0, 0.0)
    }

    /// The same, with `prompt_share` prompts of `prompt_tokens` tokens computed in the step, as
    /// engines with continuous scheduling do.
    #[must_use]
    pub fn mixed_step_s(
        &self,
        sequences: f64,
        context: f64,
        prompt_share: f64,
        prompt_tokens: f64,
    ) -> f64 {
        let spec = &self.shape.spec;
        let depth = context.max(0.0) as usize;
        let prompts = if prompt_share > 0.0 {
            self.shape
                .counts
                .prefill_flops(spec, prompt_tokens.max(1.0) as usize, 0)
                * prompt_share
        } else {
            0.0
        };
        let tokens = sequences + prompt_share * prompt_tokens;
        let counts = &self.shape.counts;
        let kv = counts.kv_read_bytes(spec, depth, self.kv) * sequences;
        self.seconds(&Pass {
            tokens,
            // Tokens of prompts cost the scheduler about half of a sequence's step.
            sequences: sequences + 0.5 * prompt_share * prompt_tokens,
            read_bytes: self.weights_read(tokens) + kv,
            flops: (self.shape.counts.decode_flops(spec, depth) * sequences + prompts)
                * self.shape.scale,
        }) + self.shares().step_s
    }

    /// Milliseconds between tokens when `concurrency` requests are always in flight.
    #[must_use]
    pub fn tpot_ms(&self, work: Workload, concurrency: f64) -> f64 {
        let output = work.output_tokens.max(1.0);
        let context = work.prompt_tokens + output / 2.0;
        let lone = concurrency <= 1.0;
        let share = if lone { 0.0 } else { concurrency / output };
        1e3 * self.mixed_step_s(concurrency.max(1.0), context, share, work.prompt_tokens)
    }

    /// Milliseconds to the first token when `concurrency` requests are always in flight: the
    /// prompt, the step it waits for, and prompts that are ahead of it.
    #[must_use]
    pub fn ttft_ms(&self, work: Workload, concurrency: f64) -> f64 {
        let tpot = if concurrency <= 1.0 {
            0.0
        } else {
            self.tpot_ms(work, concurrency)
        };
        self.ttft_beside(work, concurrency, tpot)
    }

    /// The same where the time between tokens is known; alone it doesn't matter.
    fn ttft_beside(&self, work: Workload, concurrency: f64, tpot_ms: f64) -> f64 {
        let own = self.prefill_s(1.0, work.prompt_tokens) + self.shares().first_token_s;
        if concurrency <= 1.0 {
            return 1e3 * own;
        }
        let tpot = tpot_ms / 1e3;
        // The server computes prompts for this share of the time, so this many queue.
        let busy = (concurrency * own / (work.output_tokens.max(1.0) * tpot + own)).min(0.95);
        1e3 * (own / (1.0 - busy) + tpot / 2.0)
    }

    /// Tokens generated a second, over all requests, when `concurrency` are always in flight.
    #[must_use]
    pub fn tokens_per_s(&self, work: Workload, concurrency: f64) -> f64 {
        self.expected(work, concurrency).2
    }

    /// Milliseconds to the first token and between tokens, and tokens a second over all requests.
    fn expected(&self, work: Workload, concurrency: f64) -> (f64, f64, f64) {
        let tpot = self.tpot_ms(work, concurrency);
        let ttft = self.ttft_beside(work, concurrency, tpot);
        let answer = ttft + work.output_tokens * tpot;
        (
            ttft,
            tpot,
            1e3 * concurrency.max(1.0) * work.output_tokens / answer,
        )
    }

    /// What each of `concurrency` requests in flight should see.
    #[must_use]
    pub fn forecast(&self, work: Workload, concurrency: f64) -> Forecast {
        let rate = self.rate_spread();
        let prompt = rate.max(self.coefficients.spread.prompt);
        let (ttft, tpot, tokens) = self.expected(work, concurrency);
        Forecast {
            ttft_ms: Interval::spread(ttft, prompt),
            tpot_ms: Interval::spread(tpot, rate),
            tokens_per_s: Interval::spread(tokens, rate),
        }
    }

    /// Factor on either side of a predicted rate that should hold eight of ten measurements; see
    /// [`Spread`](super::Spread).
    #[must_use]
    pub fn rate_spread(&self) -> f64 {
        let spread = self.coefficients.rate_spread(self.device, self.engine);
        if self.shape.scale == 1.0 {
            spread
        } else {
            spread.max(self.coefficients.spread.unseen)
        }
    }

    /// Tokens generated a second with as many requests in flight as memory and engine take, and
    /// that number.
    #[must_use]
    pub fn saturated(&self, work: Workload) -> (f64, f64) {
        let sequences = self.max_sequences(work.prompt_tokens + work.output_tokens);
        let tpot = self.tpot_ms(work, sequences.max(1.0 + f64::EPSILON));
        (1e3 * sequences / tpot, sequences)
    }

    /// Sequences of `tokens` tokens that fit beside the weights, at least one.
    #[must_use]
    pub fn max_sequences(&self, tokens: f64) -> f64 {
        let need = super::memory_need(self, 0.0, 0.0);
        let free = super::usable_bytes(self.device, self.engine) - need.per_device;
        let each = (self.shape).kv_bytes(tokens.max(1.0) as usize, self.kv)
            / f64::from(self.shape.kv_shards(self.count));
        let most = match self.engine {
            EngineClass::Serving => self.coefficients.serving.max_sequences,
            EngineClass::Local | EngineClass::Native => 64.0,
        };
        (free / each.max(1.0)).floor().clamp(1.0, most)
    }
}
