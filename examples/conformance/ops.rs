//! Single operations, through the public kernels on slices.

use std::error::Error;
use std::path::Path;

use half::bf16;
use mistral_kernels::{
    Attention, AttentionScratch, CacheData, Cpu, KvCache, LinearScratch, Matrix, Rope, RopeAngles,
    RopeLayout, Router, Routing, WeightData, Yarn, attention, inv_freq, linear, llama4_scale,
    rms_norm, rope, route, swiglu,
};
use safetensors::Dtype;
use serde_json::Value;

use crate::report::{Checks, Row, Tolerance, chain};
use crate::sampling;
use crate::scores::log_softmax;
use crate::tensors::{Array, Tensors};

/// Largest difference of f32 results, as a share of the largest magnitude.
const F32: f64 = 5e-6;
/// The same where the reference rounds its result, and up to four steps before it, to 8 bits (bf16)
/// or 11 bits (f16).
const BF16: f64 = 1.5e-2;
const F16: f64 = 2e-3;
/// Logits closer than this are a tie, whose order means nothing.
const TIE: f32 = 1e-6;

/// Runs every row of `ops.json`.
pub(crate) fn run(name: &str, folder: &Path) -> Vec<Row> {
    match read(folder) {
        Ok((rows, tensors)) => rows
            .iter()
            .map(|row| run_row(name, row, &tensors))
            .collect(),
        Err(error) => {
            let mut checks = Checks::default();
            checks.fail(chain(error.as_ref()));
            vec![checks.into_row(name.to_owned(), "ops")]
        }
    }
}

fn read(folder: &Path) -> Result<(Vec<Value>, Tensors), Box<dyn Error>> {
    let path = folder.join("ops.json");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let rows = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok((rows, Tensors::read(&folder.join("ops.safetensors"))?))
}

fn run_row(case: &str, row: &Value, tensors: &Tensors) -> Row {
    let op = row["op"].as_str().unwrap_or("unnamed");
    let label = format!("{op}.{}", row["name"].as_str().unwrap_or_default());
    let mut checks = Checks::default();
    let inputs = Inputs {
        label: &label,
        params: &row["params"],
        tensors,
        cpu: Cpu::new(std::thread::available_parallelism().map_or(1, usize::from)),
    };
    let outcome = match op {
        "rmsnorm" => rmsnorm(&inputs, &mut checks),
        "rope_interleaved" => rotary(&inputs, RopeLayout::Interleaved, &mut checks),
        "rope_half" => rotary(&inputs, RopeLayout::HalfSplit, &mut checks),
        "yarn" => yarn(&inputs, &mut checks),
        "llama4_scale" => position_scale(&inputs, &mut checks),
        "attention" => attend(&inputs, &mut checks),
        "swiglu" => feed_forward(&inputs, &mut checks),
        "router_mixtral" | "router_mistral4" => router(&inputs, &mut checks),
        "cross_entropy" => cross_entropy(&inputs, &mut checks),
        "sampling" => sampling::check(&inputs, &mut checks),
        _ => Err(format!("operation {op} is not known to this program").into()),
    };
    if let Err(error) = outcome {
        checks.fail(chain(error.as_ref()));
    }
    checks.into_row(format!("{case}/{label}"), "ops")
}

/// A row's parameters and tensors.
pub(crate) struct Inputs<'a> {
    pub(crate) label: &'a str,
    pub(crate) params: &'a Value,
    tensors: &'a Tensors,
    cpu: Cpu,
}

impl Inputs<'_> {
    pub(crate) fn tensor(&self, io: &str) -> Result<&Array, String> {
        self.tensors.get(&format!("{}.{io}", self.label))
    }

    fn find(&self, io: &str) -> Option<&Array> {
        self.tensors.find(&format!("{}.{io}", self.label))
    }

    pub(crate) fn number(&self, key: &str) -> Result<f64, String> {
        self.params[key]
            .as_f64()
            .ok_or_else(|| format!("parameter {key} is missing"))
    }

    fn count(&self, key: &str) -> Result<usize, String> {
        let found = self.params[key]
            .as_u64()
            .and_then(|v| usize::try_from(v).ok());
        found.ok_or_else(|| format!("parameter {key} is missing"))
    }
}

/// What a reference of this format allows.
fn tolerance(reference: &Array) -> Tolerance {
    Tolerance::ShareOfMax(match reference.dtype {
        Dtype::BF16 => BF16,
        Dtype::F16 => F16,
        _ => F32,
    })
}

fn compare(checks: &mut Checks, what: &str, found: &[f32], reference: &Array) {
    checks.compare(what, found, &reference.values, tolerance(reference));
}

fn rmsnorm(inputs: &Inputs<'_>, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let (x, w, y) = (
        inputs.tensor("x")?,
        inputs.tensor("w")?,
        inputs.tensor("y")?,
    );
    let mut out = vec![0.0; x.values.len()];
    rms_norm(
        &inputs.cpu,
        &x.values,
        &w.values,
        inputs.number("eps")? as f32,
        &mut out,
    )?;
    compare(checks, "y", &out, y);
    Ok(())
}

fn rotary(
    inputs: &Inputs<'_>,
    layout: RopeLayout,
    checks: &mut Checks,
) -> Result<(), Box<dyn Error>> {
    let positions = inputs.tensor("pos")?.ids();
    let theta = inputs.number("theta")?;
    for io in ["q", "k"] {
        let x = inputs.tensor(io)?;
        let &[tokens, heads, head_dim] = x.shape.as_slice() else {
            return Err(format!("{io} has {} dimensions, expected 3", x.shape.len()).into());
        };
        let mut angles = RopeAngles::new(tokens, head_dim);
        angles.fill(&inv_freq(theta, head_dim, None), 1.0, &positions)?;
        let mut out = x.values.clone();
        let what = Rope {
            layout,
            heads,
            head_dim,
            offset: 0,
        };
        rope(&inputs.cpu, &what, &mut out, &angles)?;
        compare(checks, io, &out, inputs.tensor(&format!("{io}_out"))?);
        for (name, found) in [("cos", angles.cos()), ("sin", angles.sin())] {
            let Some(reference) = inputs.find(name) else {
                continue;
            };
            // The reference repeats them for the second half of a head.
            let doubled: Vec<f32> = found
                .chunks(head_dim / 2)
                .flat_map(|row| row.iter().chain(row))
                .copied()
                .collect();
            compare(checks, name, &doubled, reference);
        }
    }
    Ok(())
}

fn yarn(inputs: &Inputs<'_>, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let p = &inputs.params["rope"];
    let number = |key: &str| {
        p[key]
            .as_f64()
            .ok_or_else(|| format!("parameter rope.{key} is missing"))
    };
    let settings = Yarn {
        factor: number("factor")?,
        original_max_position_embeddings: number("original_max_position_embeddings")? as usize,
        beta_fast: p["beta_fast"].as_f64().unwrap_or(32.0),
        beta_slow: p["beta_slow"].as_f64().unwrap_or(1.0),
        truncate: p["truncate"].as_bool().unwrap_or(true),
    };
    let found = inv_freq(number("rope_theta")?, inputs.count("dim")?, Some(&settings));
    let reference = inputs.tensor("inv_freq")?;
    // Frequencies span many magnitudes.
    checks.compare(
        "inv_freq",
        &found,
        &reference.values,
        Tolerance::Relative(F32),
    );
    Ok(())
}

fn position_scale(inputs: &Inputs<'_>, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let beta = inputs.number("beta")? as f32;
    let original = inputs.count("original_max_position_embeddings")?;
    let positions = inputs.tensor("pos")?.ids();
    let found: Vec<f32> = positions
        .into_iter()
        .map(|p| llama4_scale(p, beta, original))
        .collect();
    compare(checks, "scale", &found, inputs.tensor("scale")?);
    Ok(())
}

fn attend(inputs: &Inputs<'_>, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let (t, s) = (inputs.count("T")?, inputs.count("S")?);
    let (heads, kv_heads, d) = (
        inputs.count("heads")?,
        inputs.count("kv_heads")?,
        inputs.count("head_dim")?,
    );
    let (q, k, v, o) = (
        inputs.tensor("q")?,
        inputs.tensor("k")?,
        inputs.tensor("v")?,
        inputs.tensor("o")?,
    );
    let what = Attention {
        n_heads: heads,
        scale: inputs.number("scale")? as f32,
        window: inputs.params["window"].as_u64().map(|w| w as usize),
    };
    let first = s.checked_sub(t).ok_or("more queries than keys")?;
    let halves = |x: &Array| -> Vec<bf16> { x.values.iter().map(|&v| bf16::from_f32(v)).collect() };
    let (k16, v16) = (halves(k), halves(v));
    let (keys, values) = match k.dtype {
        Dtype::BF16 => (CacheData::Bf16(&k16), CacheData::Bf16(&v16)),
        _ => (CacheData::F32(&k.values), CacheData::F32(&v.values)),
    };
    let cache = KvCache::new((kv_heads, s), (d, d), keys, values)?;
    let mut out = vec![0.0; t * heads * d];
    let mut scratch = AttentionScratch::new(inputs.cpu.threads(), d, d);
    let q = tokens_first(&q.values, heads, t, d).ok_or("q is not [heads, T, head_dim]")?;
    attention(
        &inputs.cpu,
        &what,
        &q,
        first,
        &cache,
        &mut out,
        &mut scratch,
    )?;
    compare(checks, "o", &out, o);
    Ok(())
}

/// `[heads, t, d]` to `[t, heads, d]`.
fn tokens_first(x: &[f32], heads: usize, t: usize, d: usize) -> Option<Vec<f32>> {
    if x.len() != heads * t * d {
        return None;
    }
    let row = |h: usize, i: usize| &x[(h * t + i) * d..(h * t + i + 1) * d];
    Some(
        (0..t)
            .flat_map(|i| (0..heads).flat_map(move |h| row(h, i)))
            .copied()
            .collect(),
    )
}

fn feed_forward(inputs: &Inputs<'_>, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let cpu = &inputs.cpu;
    let product = |io: &str, x: &[f32]| -> Result<Vec<f32>, Box<dyn Error>> {
        let w = inputs.tensor(io)?;
        let &[rows, cols] = w.shape.as_slice() else {
            return Err(format!("{io} is no matrix").into());
        };
        let halves: Vec<bf16> = w.values.iter().map(|&v| bf16::from_f32(v)).collect();
        let data = match w.dtype {
            Dtype::BF16 => WeightData::Bf16(&halves),
            _ => WeightData::F32(&w.values),
        };
        let tokens = x.len() / cols.max(1);
        let mut y = vec![0.0; tokens * rows];
        let mut scratch = LinearScratch::new(cpu.threads(), tokens, cols);
        linear(
            cpu,
            &Matrix::new(rows, cols, data)?,
            x,
            &mut y,
            &mut scratch,
        )?;
        Ok(y)
    };
    let x = inputs.tensor("x")?;
    let (gate, up) = (product("w1_gate", &x.values)?, product("w3_up", &x.values)?);
    let mut inner = vec![0.0; gate.len()];
    swiglu(cpu, &gate, &up, &mut inner)?;
    compare(
        checks,
        "y",
        &product("w2_down", &inner)?,
        inputs.tensor("y")?,
    );
    Ok(())
}

fn router(inputs: &Inputs<'_>, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let p = inputs.params;
    let count = |key: &str| p[key].as_u64().map_or(1, |v| v as usize);
    let logits = inputs.tensor("logits")?;
    let what = Router {
        groups: count("n_group"),
        groups_per_token: count("topk_group"),
        normalize: p["norm_topk_prob"].as_bool().unwrap_or(true),
        routed_scale: p["routed_scaling_factor"].as_f64().unwrap_or(1.0) as f32,
        ..Router::softmax(logits.width(), inputs.count("top_k")?)
    };
    let mut routing = Routing::new(logits.values.len() / logits.width(), what.top_k);
    route(&what, &logits.values, None, &mut routing)?;
    compare(
        checks,
        "weights",
        routing.weights(),
        inputs.tensor("weights")?,
    );
    let expected = inputs.tensor("experts")?.ids();
    let rows = routing
        .experts()
        .chunks(what.top_k)
        .zip(expected.chunks(what.top_k));
    let mut ties = 0;
    for (row, (found, expected)) in rows.enumerate() {
        let logit = |e: u32| {
            logits
                .values
                .get(row * logits.width() + e as usize)
                .copied()
        };
        let tied = |(&x, &y): (&u32, &u32)| {
            x == y || matches!((logit(x), logit(y)), (Some(x), Some(y)) if (x - y).abs() <= TIE)
        };
        if found == expected {
            continue;
        }
        match found.iter().zip(expected).all(tied) {
            true => ties += 1,
            false => checks.fail(format!(
                "row {row}: experts {found:?}, expected {expected:?}"
            )),
        }
    }
    if ties > 0 {
        checks.remark(format!("{ties} rows of tied experts in another order"));
    }
    Ok(())
}

/// The loss that this program measures texts with.
fn cross_entropy(inputs: &Inputs<'_>, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let (logits, targets) = (inputs.tensor("logits")?, inputs.tensor("targets")?);
    let ignored = inputs.params["ignore_index"].as_f64().unwrap_or(-100.0);
    let (mut sum, mut counted, mut all) = (0.0f64, 0usize, Vec::new());
    for (row, &target) in logits.values.chunks(logits.width()).zip(&targets.values) {
        let logprobs = log_softmax(row);
        if f64::from(target) != ignored {
            sum -= logprobs
                .get(target as usize)
                .ok_or("target outside the vocabulary")?;
            counted += 1;
        }
        all.extend(logprobs.into_iter().map(|v| v as f32));
    }
    compare(checks, "logprobs", &all, inputs.tensor("logprobs")?);
    compare(
        checks,
        "mean",
        &[(sum / counted as f64) as f32],
        inputs.tensor("mean")?,
    );
    checks.remark("computed by this program: no kernel has it");
    Ok(())
}
