//! The reference's own numbers (skipped when the fixtures aren't beside the workspace).

use std::path::PathBuf;

use half::{bf16, f16};
use mistral_kernels::{
    Attention, AttentionScratch, CacheData, Cpu, KvCache, LinearScratch, Matrix, Rope, RopeAngles,
    RopeLayout, Router, Routing, Sampler, Sampling, WeightData, Yarn, attention, inv_freq, linear,
    llama4_scale, rms_norm, rope, route, swiglu,
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

struct Fixtures {
    bytes: Vec<u8>,
    rows: Vec<Value>,
}

fn fixtures() -> Option<Fixtures> {
    let root = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/fixtures/ops"
    ));
    let bytes = std::fs::read(root.join("ops.safetensors")).ok()?;
    let text = std::fs::read_to_string(root.join("ops.json")).ok()?;
    let rows = serde_json::from_str(&text).expect("ops.json is a list");
    Some(Fixtures { bytes, rows })
}

/// A tensor as f32 (integers too) and its shape.
struct Loaded {
    shape: Vec<usize>,
    values: Vec<f32>,
    half: bool,
}

impl Fixtures {
    /// Runs `check(label, row, tensor by io name)` on every row of an operation.
    fn each(&self, op: &str, mut check: impl FnMut(&str, &Value, &dyn Fn(&str) -> Loaded)) {
        let file = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let mut seen = 0;
        for row in self.rows.iter().filter(|r| r["op"] == op) {
            let label = format!("{op}.{}", row["name"].as_str().expect("a name"));
            let load = |io: &str| load(&file, &format!("{label}.{io}"));
            check(&label, &row["params"], &load);
            seen += 1;
        }
        assert!(seen > 0, "no rows for {op}");
    }
}

fn load(file: &SafeTensors<'_>, name: &str) -> Loaded {
    let t = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let words = |n| t.data().chunks_exact(n);
    let half = |c: &[u8]| u16::from_le_bytes([c[0], c[1]]);
    let word = |c: &[u8]| [c[0], c[1], c[2], c[3]];
    let values = match t.dtype() {
        Dtype::F32 => words(4).map(|c| f32::from_le_bytes(word(c))).collect(),
        Dtype::I32 => words(4)
            .map(|c| i32::from_le_bytes(word(c)) as f32)
            .collect(),
        Dtype::BF16 => words(2)
            .map(|c| bf16::from_bits(half(c)).to_f32())
            .collect(),
        Dtype::F16 => words(2).map(|c| f16::from_bits(half(c)).to_f32()).collect(),
        other => panic!("{name}: {other:?}"),
    };
    let is_half = matches!(t.dtype(), Dtype::BF16 | Dtype::F16);
    Loaded {
        shape: t.shape().to_vec(),
        values,
        half: is_half,
    }
}

fn assert_close(label: &str, found: &[f32], expected: &Loaded, tolerance: f32) {
    assert_eq!(found.len(), expected.values.len(), "{label}: length");
    let mut worst = 0.0f32;
    for (f, e) in found.iter().zip(&expected.values) {
        worst = worst.max((f - e).abs() / e.abs().max(1.0));
    }
    assert!(worst <= tolerance, "{label}: {worst:e} above {tolerance:e}");
}

/// A tensor's own rounding, or that of f32 arithmetic.
fn tolerance(t: &Loaded, f32_tolerance: f32) -> f32 {
    if t.half { 2e-2 } else { f32_tolerance }
}

fn positions(t: &Loaded) -> Vec<u32> {
    t.values.iter().map(|&v| v as u32).collect()
}

#[test]
fn rmsnorm() {
    let Some(f) = fixtures() else { return };
    f.each("rmsnorm", |label, p, load| {
        let (x, w, y) = (load("x"), load("w"), load("y"));
        let eps = p["eps"].as_f64().expect("a number") as f32;
        let mut out = vec![0.0; x.values.len()];
        rms_norm(&Cpu::new(1), &x.values, &w.values, eps, &mut out).expect("fits");
        assert_close(label, &out, &y, tolerance(&y, 1e-6));
    });
}

#[test]
fn rope_in_both_layouts() {
    let Some(f) = fixtures() else { return };
    for (op, layout) in [
        ("rope_interleaved", RopeLayout::Interleaved),
        ("rope_half", RopeLayout::HalfSplit),
    ] {
        f.each(op, |label, p, load| {
            let positions = positions(&load("pos"));
            for io in ["q", "k"] {
                let (x, y) = (load(io), load(&format!("{io}_out")));
                let head_dim = *x.shape.last().expect("a head");
                let mut angles = RopeAngles::new(positions.len(), head_dim);
                let freq = inv_freq(p["theta"].as_f64().expect("a number"), head_dim, None);
                angles.fill(&freq, 1.0, &positions).expect("room");
                // The half-split fixtures have heads before tokens.
                let by_head = x.shape[x.shape.len() - 2] == positions.len();
                let heads = x.values.len() / head_dim / positions.len();
                let tokens = if by_head && heads > 1 {
                    swap(&x.values, heads, positions.len(), head_dim)
                } else {
                    x.values.clone()
                };
                let mut out = tokens;
                let what = Rope {
                    layout,
                    heads,
                    head_dim,
                    offset: 0,
                };
                rope(&Cpu::new(1), &what, &mut out, &angles).expect("fits");
                if by_head && heads > 1 {
                    out = swap(&out, positions.len(), heads, head_dim);
                }
                assert_close(&format!("{label}.{io}"), &out, &y, tolerance(&y, 2e-5));
            }
        });
    }
}

/// `[a, b, d]` to `[b, a, d]`.
fn swap(x: &[f32], a: usize, b: usize, d: usize) -> Vec<f32> {
    let row = |i: usize, j: usize| &x[(i * b + j) * d..(i * b + j + 1) * d];
    (0..b)
        .flat_map(|j| (0..a).flat_map(move |i| row(i, j).iter().copied()))
        .collect()
}

#[test]
fn yarn() {
    let Some(f) = fixtures() else { return };
    f.each("yarn", |label, p, load| {
        let r = &p["rope"];
        let number = |key: &str| r[key].as_f64().unwrap_or_else(|| panic!("{label}: {key}"));
        let yarn = Yarn {
            factor: number("factor"),
            original_max_position_embeddings: number("original_max_position_embeddings") as usize,
            beta_fast: number("beta_fast"),
            beta_slow: number("beta_slow"),
            truncate: r["truncate"].as_bool().unwrap_or(true),
        };
        let dim = p["dim"].as_u64().expect("a width") as usize;
        let found = inv_freq(number("rope_theta"), dim, Some(&yarn));
        let expected = load("inv_freq");
        assert_eq!(found.len(), expected.values.len(), "{label}");
        for (f, e) in found.iter().zip(&expected.values) {
            assert!((f / e - 1.0).abs() < 1e-6, "{label}: {f} is not {e}");
        }
    });
}

#[test]
fn position_scale() {
    let Some(f) = fixtures() else { return };
    f.each("llama4_scale", |label, p, load| {
        let beta = p["beta"].as_f64().expect("a number") as f32;
        let original = p["original_max_position_embeddings"]
            .as_u64()
            .expect("a number") as usize;
        let found: Vec<f32> = positions(&load("pos"))
            .into_iter()
            .map(|p| llama4_scale(p, beta, original))
            .collect();
        assert_close(label, &found, &load("scale"), 1e-6);
    });
}

#[test]
fn attention_with_past_and_windows() {
    let Some(f) = fixtures() else { return };
    f.each("attention", |label, p, load| {
        let n = |key: &str| p[key].as_u64().unwrap_or_else(|| panic!("{label}: {key}")) as usize;
        let (t, s, heads, kv, d) = (n("T"), n("S"), n("heads"), n("kv_heads"), n("head_dim"));
        let (q, k, v, o) = (load("q"), load("k"), load("v"), load("o"));
        let window = p["window"].as_u64().map(|w| w as usize);
        let scale = p["scale"].as_f64().expect("a number") as f32;
        let what = Attention {
            n_heads: heads,
            scale,
            window,
        };
        let cache = KvCache::new(
            (kv, s),
            (d, d),
            CacheData::F32(&k.values),
            CacheData::F32(&v.values),
        )
        .expect("fits");
        for threads in [1, 2] {
            let mut out = vec![0.0; t * heads * d];
            let mut scratch = AttentionScratch::new(threads, d, d);
            let q = swap(&q.values, heads, t, d);
            attention(
                &Cpu::new(threads),
                &what,
                &q,
                s - t,
                &cache,
                &mut out,
                &mut scratch,
            )
            .expect("fits");
            assert_close(label, &out, &o, tolerance(&o, 2e-6));
        }
    });
}

#[test]
fn swiglu_feed_forward() {
    let Some(f) = fixtures() else { return };
    f.each("swiglu", |label, _, load| {
        let x = load("x");
        let cpu = Cpu::new(1);
        let product = |w: &Loaded, x: &[f32]| {
            let (rows, cols) = (w.shape[0], w.shape[1]);
            let w = Matrix::new(rows, cols, WeightData::F32(&w.values)).expect("fits");
            let mut y = vec![0.0; x.len() / cols * rows];
            let mut scratch = LinearScratch::new(1, 8, cols);
            linear(&cpu, &w, x, &mut y, &mut scratch).expect("fits");
            y
        };
        let gate = product(&load("w1_gate"), &x.values);
        let up = product(&load("w3_up"), &x.values);
        let mut inner = vec![0.0; gate.len()];
        swiglu(&cpu, &gate, &up, &mut inner).expect("fits");
        let y = load("y");
        assert_close(
            label,
            &product(&load("w2_down"), &inner),
            &y,
            tolerance(&y, 2e-6),
        );
    });
}

#[test]
fn routers() {
    let Some(f) = fixtures() else { return };
    for op in ["router_mixtral", "router_mistral4"] {
        f.each(op, |label, p, load| {
            let logits = load("logits");
            let n = |key: &str| p[key].as_u64().map_or(1, |v| v as usize);
            let experts = *logits.shape.last().expect("experts");
            let what = Router {
                groups: n("n_group"),
                groups_per_token: n("topk_group"),
                normalize: p["norm_topk_prob"].as_bool().unwrap_or(true),
                routed_scale: p["routed_scaling_factor"].as_f64().unwrap_or(1.0) as f32,
                ..Router::softmax(experts, n("top_k"))
            };
            let mut routing = Routing::new(1, what.top_k);
            route(&what, &logits.values, None, &mut routing).expect("finite");
            let weights = load("weights");
            let allowed = if label.contains("bf16") { 2e-2 } else { 1e-6 };
            assert_close(label, routing.weights(), &weights, allowed);
            let expected = positions(&load("experts"));
            // Rows 0 and 1 of the Mixtral fixtures are ties: the reference's order means nothing.
            let from = if op == "router_mixtral" {
                2 * what.top_k
            } else {
                0
            };
            for (row, (a, b)) in routing.experts()[from..]
                .chunks_exact(what.top_k)
                .zip(expected[from..].chunks_exact(what.top_k))
                .enumerate()
            {
                let same_weights = weights.values[from + row * what.top_k..][..what.top_k]
                    .windows(2)
                    .any(|w| w[0] == w[1]);
                assert!(
                    a == b || same_weights,
                    "{label} row {row}: {a:?} is not {b:?}"
                );
            }
        });
    }
}

#[test]
fn sampling_chains() {
    let Some(f) = fixtures() else { return };
    f.each("sampling", |label, _, load| {
        // The rows name the steps; these are the settings that their numbers were made with.
        let warm = Sampling {
            temperature: 1.0,
            ..Sampling::default()
        };
        let sampling = match label {
            "sampling.t0.7_p0.9" => Sampling {
                temperature: 0.7,
                top_p: 0.9,
                ..warm
            },
            "sampling.k5" => Sampling { top_k: 5, ..warm },
            "sampling.minp0.05" => Sampling {
                min_p: 0.05,
                ..warm
            },
            "sampling.rep1.3" => Sampling {
                repetition_penalty: 1.3,
                ..warm
            },
            "sampling.all" => Sampling {
                repetition_penalty: 1.1,
                temperature: 0.8,
                top_k: 20,
                top_p: 0.85,
                ..warm
            },
            other => panic!("{other}: settings unknown"),
        };
        let (logits, previous, expected) = (load("logits"), load("prev_ids"), load("probs"));
        let vocab = *logits.shape.last().expect("a vocabulary");
        let rows = logits.values.len() / vocab;
        let previous = positions(&previous);
        let mut found = Vec::new();
        for (i, row) in logits.values.chunks_exact(vocab).enumerate() {
            let mut sampler = Sampler::new(sampling, 0).expect("in range");
            let mut out = vec![0.0; vocab];
            let width = previous.len() / rows;
            let seen = &previous[i * width..(i + 1) * width];
            sampler
                .probabilities(&mut row.to_vec(), seen, &mut out)
                .expect("finite");
            found.extend(out);
        }
        assert_close(label, &found, &expected, 1e-6);
    });
}
