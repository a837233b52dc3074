//! Absorbed latent attention equals attention over expanded keys and values.

use mistral_kernels::testkit::values::{Weights, uniform};
use mistral_kernels::testkit::{cpus, oracle, worst};
use mistral_kernels::{
    Attention, AttentionScratch, CacheData, Isa, KvCache, Latent, Matrix, MlaScratch, attention,
    mla_absorb_query, mla_project_value,
};

const SHAPES: &[Latent] = &[
    Latent {
        n_heads: 4,
        nope: 8,
        rope: 8,
        v: 12,
        kv_lora: 32,
    },
    Latent {
        n_heads: 2,
        nope: 16,
        rope: 0,
        v: 5,
        kv_lora: 19,
    },
    Latent {
        n_heads: 16,
        nope: 64,
        rope: 32,
        v: 64,
        kv_lora: 128,
    },
];

#[test]
fn absorption_equals_expansion() {
    for s in SHAPES {
        for (t, past) in [(1, 0), (1, 20), (14, 3)] {
            let values = uniform(3, s.n_heads * (s.nope + s.v) * s.kv_lora, 0.2);
            for weights in Weights::all(&values) {
                check(s, t, past, &weights);
            }
        }
    }
}

fn check(s: &Latent, t: usize, past: usize, weights: &Weights) {
    let (heads, wide, total) = (s.n_heads, s.kv_lora + s.rope, past + t);
    let latents = uniform(1, total * wide, 1.0);
    let q = uniform(2, t * heads * (s.nope + s.rope), 1.0);
    let w = Matrix::new(heads * (s.nope + s.v), s.kv_lora, weights.data()).expect("fits");
    let what = Attention {
        n_heads: heads,
        scale: 0.25,
        window: None,
    };
    let expected = expanded(s, &what, &w, &q, &latents, past);
    let cache = KvCache::latent(total, wide, s.kv_lora, CacheData::F32(&latents)).expect("fits");
    for cpu in cpus() {
        let mut scratch = MlaScratch::new(cpu.threads(), s);
        let mut wide_q = vec![f32::NAN; t * heads * wide];
        mla_absorb_query(&cpu, s, &w, &q, &mut wide_q, &mut scratch).expect("fits");
        let mut mixed = vec![0.0; t * heads * s.kv_lora];
        let mut room = AttentionScratch::new(cpu.threads(), wide, s.kv_lora);
        attention(&cpu, &what, &wide_q, past, &cache, &mut mixed, &mut room).expect("fits");
        let mut out = vec![f32::NAN; t * heads * s.v];
        mla_project_value(&cpu, s, &w, &mixed, &mut out, &mut scratch).expect("fits");
        let far = worst(&out, &expected, None);
        let (isa, name) = (cpu.isa(), weights.name());
        // Tiles and pairs of bf16 round activations to eight bits of mantissa.
        let rounds = name == "bf16" && isa >= Isa::Avx512Bf16;
        let allowed = if rounds { 1e-2 } else { 2e-5 };
        assert!(far < allowed, "{isa} {name} {s:?} t {t}: {far:e}");
    }
}

/// Attention over keys and values that are expanded from the latents.
fn expanded(
    s: &Latent,
    what: &Attention,
    w: &Matrix<'_>,
    q: &[f32],
    latents: &[f32],
    past: usize,
) -> Vec<f64> {
    let (heads, per_head, wide) = (s.n_heads, s.nope + s.v, s.kv_lora + s.rope);
    let of_latent: Vec<f32> = latents
        .chunks_exact(wide)
        .flat_map(|l| l[..s.kv_lora].to_vec())
        .collect();
    let grown = oracle::linear(w, &of_latent).value;
    let grown = |p: usize, h: usize, j: usize| grown[(p * heads + h) * per_head + j] as f32;
    let key = |h: usize, p: usize, j: usize| {
        if j < s.nope {
            grown(p, h, j)
        } else {
            latents[p * wide + s.kv_lora + j - s.nope]
        }
    };
    let value = |h: usize, p: usize, j: usize| grown(p, h, s.nope + j);
    let d = s.nope + s.rope;
    oracle::attention(what, q, (past, heads), (d, &key), (s.v, &value), &|_, _| {
        true
    })
}

#[test]
fn a_matrix_of_another_shape_is_refused() {
    let cpu = mistral_kernels::Cpu::new(1);
    let s = Latent {
        n_heads: 1,
        nope: 2,
        rope: 0,
        v: 2,
        kv_lora: 3,
    };
    let data = [0.0f32; 12];
    let w = Matrix::new(3, 4, mistral_kernels::WeightData::F32(&data)).expect("fits");
    let mut scratch = MlaScratch::new(1, &s);
    let error = mla_absorb_query(&cpu, &s, &w, &[0.0; 2], &mut [0.0; 3], &mut scratch)
        .expect_err("3 rows are not 4");
    assert_eq!(
        error.to_string(),
        "mla_absorb_query: rows of wkv_b is 3, expected n_heads · (nope + v)"
    );
    assert!(mla_project_value(&cpu, &s, &w, &[0.0; 3], &mut [0.0; 2], &mut scratch).is_err());
    let w = Matrix::new(4, 3, mistral_kernels::WeightData::F32(&data)).expect("fits");
    for endless in [
        Latent {
            rope: usize::MAX,
            ..s
        },
        Latent {
            nope: usize::MAX,
            ..s
        },
        Latent {
            n_heads: usize::MAX,
            ..s
        },
    ] {
        let found = mla_absorb_query(&cpu, &endless, &w, &[], &mut [], &mut scratch);
        assert!(found.is_err(), "{endless:?}");
    }
}
