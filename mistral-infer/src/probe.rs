//! What this processor does with our kernels, measured on made-up models.
//!
//! Small, middle and wide decoders with weights in blocks and in bf16 run a prompt and some steps
//! each. From the small ones comes what a layer costs besides its weights, from the others how fast
//! weights are read and multiplied.

use mistral_core::hardware::{LocalRates, RatesOf};
use mistral_core::model::ModelSpec;
use mistral_core::precision::{Format, Precision};
use mistral_core::sizing;
use serde_json::json;

use crate::error::InferError;
use crate::measure::{MeasureOptions, Provenance, measure};
use crate::model::Model;
use crate::weights::Checkpoint;

/// Dimensions of a made-up model.
#[derive(Debug, Clone, Copy)]
struct Made {
    dim: usize,
    hidden_dim: usize,
    n_layers: usize,
    n_heads: usize,
    num_experts: usize,
}

/// Tokens of the prompt that is timed.
const PROMPT: usize = 128;
/// Tokens of a short one.
const SHORT: usize = 32;
/// Steps that are timed.
const STEPS: usize = 16;

/// Seconds of prompts of each length asked for, and of a step.
struct Times {
    prompts: Vec<f64>,
    step: f64,
}

impl Times {
    /// Of the first length.
    fn prompt(&self) -> f64 {
        self.prompts.first().copied().unwrap_or(f64::NAN)
    }
}

/// What a line through two small models says: they differ in their inner width alone.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Seconds of a layer that has no weights.
    layer: f64,
    /// Bytes, or operations, a second of what is added.
    rate: f64,
}

/// Measures this processor with `threads` threads. It takes about 550 MB of memory and some
/// twelve seconds; `progress` hears which part is being measured.
///
/// # Errors
/// [`InferError`] when memory is short or `threads` is 0.
pub fn probe(threads: usize, progress: &mut dyn FnMut(&str)) -> Result<LocalRates, InferError> {
    progress("weights in 16 bits");
    let (floats, step, prompt) = rates(Format::Bf16, threads, 128, 1)?;
    // Rows of blocks are at least 256 wide.
    progress("weights in blocks of few bits");
    let (blocks, _, _) = rates(Format::Q4K, threads, 256, 3)?;
    progress("weights in bytes");
    let (bytes, _, _) = rates(Format::Q8_0, threads, 256, 2)?;
    progress("experts");
    let made = Made {
        num_experts: 8,
        ..small(128, 64)
    };
    let times = run(made, Format::Bf16, threads, &[PROMPT])?;
    let spec = made.spec()?;
    let layers = made.n_layers as f64;
    let read = sizing::decode_read_bytes(&spec, Precision::Bf16, 1.0) / step.rate;
    // Two of eight experts a token.
    let rate = floats.operations_at(made.dim as f64, PROMPT as f64 / 4.0);
    let multiplied = sizing::prefill_flops(&spec, PROMPT, 0) / rate.unwrap_or(prompt.rate);
    Ok(LocalRates {
        blocks,
        bytes,
        floats,
        layer_s: step.layer,
        expert_layer_s: (times.step - read).max(0.0) / layers,
        prompt_token_layer_s: prompt.layer / PROMPT as f64,
        expert_prompt_token_layer_s: (times.prompt() - multiplied).max(0.0)
            / (layers * PROMPT as f64),
    })
}

fn small(dim: usize, hidden_dim: usize) -> Made {
    Made {
        dim,
        hidden_dim,
        n_layers: 8,
        n_heads: 4,
        num_experts: 0,
    }
}

/// Rates of one kind of weights, from small, middle and wide models; and what a layer costs besides
/// its weights at a step and at the whole prompt.
fn rates(
    format: Format,
    threads: usize,
    least_dim: usize,
    wide_layers: usize,
) -> Result<(RatesOf, Line, Line), InferError> {
    let [thin, thick] = [small(least_dim, 256), small(least_dim, 2048)];
    let [thin_times, thick_times] = [
        run(thin, format, threads, &[PROMPT])?,
        run(thick, format, threads, &[PROMPT])?,
    ];
    let (thin_spec, thick_spec) = (thin.spec()?, thick.spec()?);
    let bytes =
        |spec: &ModelSpec| sizing::parameters(spec).total as f64 * format.bits_per_weight() / 8.0;
    let operations = |spec: &ModelSpec| sizing::prefill_flops(spec, PROMPT, 0);
    let layers = thin.n_layers as f64;
    let step = line(
        (bytes(&thin_spec), thin_times.step),
        (bytes(&thick_spec), thick_times.step),
        layers,
    );
    let prompt = line(
        (operations(&thin_spec), thin_times.prompt()),
        (operations(&thick_spec), thick_times.prompt()),
        layers,
    );
    let mut found = RatesOf {
        read: vec![(bytes(&thick_spec), step.rate)],
        operations: vec![(least_dim as f64, prompt.rate)],
        ..RatesOf::default()
    };
    let middle = Made {
        dim: 1024,
        hidden_dim: 2816,
        n_heads: 16,
        ..thin
    };
    let wide = Made {
        dim: 4096,
        hidden_dim: 14_336,
        n_layers: wide_layers,
        n_heads: 32,
        num_experts: 0,
    };
    let net = |made: Made, time: f64, line: Line| {
        (time - made.n_layers as f64 * line.layer).max(0.2 * time)
    };
    let wide_bytes = bytes(&wide.spec()?);
    // As much to read as of the wide one, in narrow rows.
    let long = Made {
        n_layers: (wide_bytes / bytes(&middle.spec()?) * middle.n_layers as f64) as usize,
        ..middle
    };
    for (made, prompts) in [
        (middle, &[PROMPT][..]),
        (long, &[]),
        (wide, &[PROMPT, SHORT]),
    ] {
        let (spec, times) = (made.spec()?, run(made, format, threads, prompts)?);
        let rate = bytes(&spec) / net(made, times.step, step);
        if made.dim == wide.dim {
            found.wide = (made.dim as f64, rate);
        } else {
            found.read.push((bytes(&spec), rate));
        }
        if !prompts.is_empty() {
            let rate = operations(&spec) / net(made, times.prompt(), prompt);
            found.operations.push((made.dim as f64, rate));
        }
        if let [long, short] = times.prompts[..] {
            let share = SHORT as f64 / PROMPT as f64;
            found.half_tokens = half_tokens(long * share / short);
        }
    }
    found.narrow_dim = middle.dim as f64;
    Ok((found, step, prompt))
}

/// Tokens that reach half the rate of endlessly many, when the rate is as `n / (n + half)` and a
/// short prompt reaches the `share` of the long one's.
fn half_tokens(share: f64) -> f64 {
    let (short, long) = (SHORT as f64, PROMPT as f64);
    let share = share.clamp(1.5 * short / long, 1.0);
    short * long * (1.0 - share) / (long * share - short)
}

/// The line through two measured times, each of some amount of work and `layers` layers. Noise that
/// would tilt it backwards is taken for a layer that costs a tenth of the time.
fn line((less, short): (f64, f64), (more, long): (f64, f64), layers: f64) -> Line {
    let each = (long - short) / (more - less);
    let most = 0.9 * short / less;
    let each = each.clamp(0.01 * most, most);
    Line {
        layer: (short - less * each) / layers,
        rate: 1.0 / each,
    }
}

impl Made {
    fn spec(self) -> Result<ModelSpec, InferError> {
        let moe = self.num_experts > 0;
        let mut config = json!({
            "model_type": if moe { "mixtral" } else { "mistral" },
            "num_hidden_layers": self.n_layers,
            "hidden_size": self.dim,
            "intermediate_size": self.hidden_dim,
            "num_attention_heads": self.n_heads,
            "num_key_value_heads": self.n_heads.div_ceil(4),
            "head_dim": self.dim / self.n_heads,
            "vocab_size": 1024,
            "tie_word_embeddings": false,
            "sliding_window": null,
        });
        if moe {
            config["num_local_experts"] = json!(self.num_experts);
            config["num_experts_per_tok"] = json!(2);
        }
        Ok(ModelSpec::from_hf_config(&config.to_string())?)
    }
}

fn run(made: Made, format: Format, threads: usize, prompts: &[usize]) -> Result<Times, InferError> {
    let spec = made.spec()?;
    let checkpoint = Checkpoint::made_up(&spec, format)?;
    let model = Model::from_parts(spec, &checkpoint, None, threads)?;
    drop(checkpoint);
    let mut times = Times {
        prompts: Vec::new(),
        step: f64::NAN,
    };
    // A step follows some prompt: without one that is timed, the shortest.
    for (i, &prompt) in prompts
        .iter()
        .chain(prompts.is_empty().then_some(&1))
        .enumerate()
    {
        let options = MeasureOptions {
            prompt,
            generate: if i == 0 { STEPS } else { 0 },
            repeat: 3,
            ..MeasureOptions::default()
        };
        let report = measure(&model, &options, &nowhere(), &mut |_| {})?;
        if let Some(rate) = report.prefill_tokens_per_s {
            times.prompts.push(prompt as f64 / rate);
        }
        if let Some(rate) = report.decode_tokens_per_s {
            times.step = 1.0 / rate;
        }
    }
    Ok(times)
}

fn nowhere() -> Provenance {
    Provenance {
        command: String::new(),
        date: String::new(),
        device: String::new(),
        model: String::new(),
        load_ms: None,
        peak_rss_bytes: || None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_through_their_points() {
        let l = line((10.0, 3.0), (30.0, 5.0), 4.0);
        assert!(
            (l.rate - 10.0).abs() < 1e-9 && (l.layer - 0.5).abs() < 1e-9,
            "{l:?}"
        );
        // Noise: more work in less time.
        for l in [
            line((10.0, 3.0), (30.0, 2.0), 4.0),
            line((10.0, 3.0), (30.0, 90.0), 4.0),
        ] {
            assert!(l.layer > 0.0 && l.rate > 0.0 && l.rate.is_finite(), "{l:?}");
        }
    }

    #[test]
    fn short_prompts_tell_how_rates_grow() {
        let rate = |n: f64, half: f64| n / (n + half);
        for half in [0.0, 10.0, 48.0] {
            let share = rate(SHORT as f64, half) / rate(PROMPT as f64, half);
            assert!((half_tokens(share) - half).abs() < 1e-9, "{half}");
        }
        assert!(half_tokens(0.0).is_finite() && half_tokens(7.0) == 0.0);
    }

    #[test]
    fn made_up_models_run() {
        for (experts, format) in [(0, Format::Q4K), (8, Format::Bf16), (8, Format::F32)] {
            let made = Made {
                dim: 256,
                hidden_dim: 512,
                n_layers: 2,
                n_heads: 4,
                num_experts: experts,
            };
            let times = run(made, format, 1, &[16, 4]).expect("it runs");
            let all = [times.prompt(), times.prompts[1], times.step];
            assert!(all.iter().all(|t| *t > 0.0), "{format:?} {all:?}");
            let step = run(made, format, 1, &[]).expect("it runs").step;
            assert!(step > 0.0, "{format:?}");
        }
    }
}
