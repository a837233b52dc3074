use mistral_kernels::testkit::values::uniform;
use mistral_kernels::testkit::{cpus, oracle, worst};
use mistral_kernels::{
    Attention, AttentionScratch, CacheBuffer, CacheData, CacheShape, CacheType, Cpu, IndexScratch,
    Indexer, Isa, KernelError, KvCache, Selected, append, attention, attention_selected,
    index_topk,
};

#[derive(Clone, Copy)]
struct Case {
    heads: usize,
    kv_heads: usize,
    d: usize,
    dv: usize,
    /// Queries.
    t: usize,
    /// Positions before the first query.
    past: usize,
    window: Option<usize>,
    /// Slots beyond what is needed.
    spare: usize,
}

const fn case(heads: usize, kv_heads: usize, d: usize, t: usize, past: usize) -> Case {
    Case {
        heads,
        kv_heads,
        d,
        dv: d,
        t,
        past,
        window: None,
        spare: 3,
    }
}

const CASES: &[Case] = &[
    case(1, 1, 1, 1, 0),
    case(4, 2, 16, 11, 0),
    case(4, 1, 32, 8, 5),
    case(6, 3, 8, 1, 36),
    case(8, 8, 64, 3, 130),
    case(8, 2, 128, 1, 700),
    case(8, 2, 128, 70, 9),
    case(9, 1, 64, 7, 150),
    case(3, 1, 33, 40, 300),
    case(12, 3, 80, 1, 257),
    Case {
        dv: 12,
        ..case(4, 4, 16, 20, 7)
    },
    Case {
        dv: 70,
        ..case(8, 1, 19, 2, 65)
    },
    Case {
        window: Some(1),
        ..case(2, 1, 8, 9, 0)
    },
    Case {
        window: Some(7),
        ..case(4, 2, 16, 30, 0)
    },
    Case {
        window: Some(9),
        spare: 0,
        ..case(4, 1, 16, 6, 23)
    },
    Case {
        window: Some(12),
        spare: 0,
        ..case(4, 4, 16, 1, 39)
    },
    Case {
        window: Some(64),
        spare: 5,
        ..case(8, 2, 32, 100, 500)
    },
    Case {
        window: Some(100),
        spare: 0,
        ..case(2, 2, 64, 1, 1000)
    },
];

/// A cache filled position by position, and what it holds after rounding, by absolute position.
struct Filled {
    k: CacheBuffer,
    v: CacheBuffer,
    capacity: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// Numbers of rows as a cache gives them back.
fn round(kind: CacheType, x: &[f32], width: usize) -> Vec<f32> {
    let each = |round: &dyn Fn(f32) -> f32| x.iter().map(|&v| round(v)).collect();
    match kind {
        CacheType::F16 => each(&|v| half::f16::from_f32(v).to_f32()),
        CacheType::Bf16 => each(&|v| half::bf16::from_f32(v).to_f32()),
        CacheType::Q8 => x.chunks(width).flat_map(oracle::round_q8).collect(),
        _ => x.to_vec(),
    }
}

/// How far an output may be off: with many rows, products in bf16 round all four factors.
fn tolerance(cpu: &Cpu, kind: CacheType, few: bool, widths: [usize; 2]) -> f64 {
    let rounds = cpu.isa() >= Isa::Avx512Bf16 && kind != CacheType::F32;
    if rounds && !few && widths.iter().all(|w| w % 32 == 0) {
        // Scores reach 4 here, values 1.
        return 1.5e-2;
    }
    4e-6
}

/// Queries as they are multiplied with keys: in bytes where few meet keys in bytes.
fn rounded_queries(cpu: &Cpu, kind: CacheType, q: &[f32], few: bool, d: usize) -> Vec<f32> {
    if few && kind == CacheType::Q8 && cpu.isa() >= Isa::Avx512Vnni {
        return round(kind, q, d);
    }
    q.to_vec()
}

fn fill(c: &Case, kind: CacheType) -> Filled {
    let total = c.past + c.t;
    let capacity = c.window.map_or(total, |w| (w + c.t - 1).min(total)) + c.spare;
    let keys = uniform(11, total * c.kv_heads * c.d, 2.0);
    let values = uniform(12, total * c.kv_heads * c.dv, 1.0);
    let shape = |width| CacheShape {
        heads: c.kv_heads,
        capacity,
        width,
    };
    let mut k = CacheBuffer::new(kind, &shape(c.d)).expect("a small cache");
    let mut v = CacheBuffer::new(kind, &shape(c.dv)).expect("a small cache");
    // In pieces, as prefill and decode write them.
    let mut at = 0;
    while at < total {
        let n = (total - at).min(capacity).min(5);
        let (kw, vw) = (c.kv_heads * c.d, c.kv_heads * c.dv);
        append(&shape(c.d), k.data_mut(), at, &keys[at * kw..(at + n) * kw]).expect("fits");
        append(
            &shape(c.dv),
            v.data_mut(),
            at,
            &values[at * vw..(at + n) * vw],
        )
        .expect("fits");
        at += n;
    }
    Filled {
        k,
        v,
        capacity,
        keys: round(kind, &keys, c.d),
        values: round(kind, &values, c.dv),
    }
}

fn expected(
    c: &Case,
    what: &Attention,
    q: &[f32],
    f: &Filled,
    chosen: Option<&Selected>,
) -> Vec<f64> {
    let key = |h, p, j| f.keys[(p * c.kv_heads + h) * c.d + j];
    let value = |h, p, j| f.values[(p * c.kv_heads + h) * c.dv + j];
    oracle::attention(
        what,
        q,
        (c.past, c.kv_heads),
        (c.d, &key),
        (c.dv, &value),
        &|i, p| chosen.is_none_or(|s| s.row(i).contains(&(p as u32))),
    )
}

#[test]
fn attention_equals_the_definition() {
    each_case(|n, c, kind| {
        let f = fill(c, kind);
        let scale = 1.0 / (c.d as f32).sqrt();
        let what = Attention {
            n_heads: c.heads,
            scale,
            window: c.window,
        };
        let cache = cache(c, &f);
        let q = uniform(13, c.t * c.heads * c.d, 2.0);
        let few = c.t * c.heads / c.kv_heads <= 6;
        for cpu in cpus() {
            let seen = rounded_queries(&cpu, kind, &q, few, c.d);
            let expected = expected(c, &what, &seen, &f, None);
            let mut out = vec![f32::NAN; c.t * c.heads * c.dv];
            let mut scratch = AttentionScratch::new(cpu.threads(), c.d, c.dv);
            attention(&cpu, &what, &q, c.past, &cache, &mut out, &mut scratch).expect("fits");
            let far = worst(&out, &expected, None);
            let (isa, threads) = (cpu.isa(), cpu.threads());
            assert!(
                far < tolerance(&cpu, kind, few, [c.d, c.dv]),
                "{isa} threads {threads} case {n} {kind:?}: {far:e}"
            );
        }
    });
}

fn each_case(run: impl Fn(usize, &Case, CacheType)) {
    for (n, c) in CASES.iter().enumerate() {
        for kind in CacheType::ALL {
            run(n, c, kind);
        }
    }
}

fn cache<'a>(c: &Case, f: &'a Filled) -> KvCache<'a> {
    KvCache::new(
        (c.kv_heads, f.capacity),
        (c.d, c.dv),
        f.k.data(),
        f.v.data(),
    )
    .expect("the lengths fit")
}

#[test]
fn bytes_of_queries_and_keys_move_little() {
    let c = case(8, 2, 128, 1, 700);
    let f = fill(&c, CacheType::F32);
    let rounded = fill(&c, CacheType::Q8);
    let what = Attention {
        n_heads: c.heads,
        scale: 1.0 / (c.d as f32).sqrt(),
        window: None,
    };
    let q = uniform(13, c.heads * c.d, 2.0);
    let expected = expected(&c, &what, &q, &f, None);
    for cpu in cpus() {
        let mut out = vec![f32::NAN; c.heads * c.dv];
        let mut scratch = AttentionScratch::new(cpu.threads(), c.d, c.dv);
        let cache = cache(&c, &rounded);
        attention(&cpu, &what, &q, c.past, &cache, &mut out, &mut scratch).expect("fits");
        // Values reach 1 and are off by up to 1/254.
        let far = worst(&out, &expected, None);
        assert!(far < 2e-3, "{}: {far:e}", cpu.isa());
    }
}

#[test]
fn what_is_not_finite_is_never_hidden() {
    for kind in CacheType::ALL {
        for (heads, t) in [(2, 1), (2, 9)] {
            for (side, bad) in [
                (0, f32::NAN),
                (1, f32::NAN),
                (1, f32::INFINITY),
                (2, f32::NAN),
            ] {
                let (d, past) = (64, 300);
                let shape = CacheShape {
                    heads: 1,
                    capacity: past + t,
                    width: d,
                };
                let mut k = CacheBuffer::new(kind, &shape).expect("a small cache");
                let mut v = CacheBuffer::new(kind, &shape).expect("a small cache");
                let mut x = [1, 2, 3].map(|seed| uniform(seed, (past + t) * heads * d, 1.0));
                x[side][5 * d + 7] = bad;
                append(&shape, k.data_mut(), 0, &x[1][..(past + t) * d]).expect("fits");
                append(&shape, v.data_mut(), 0, &x[2][..(past + t) * d]).expect("fits");
                let cache = KvCache::new((1, past + t), (d, d), k.data(), v.data()).expect("fits");
                let what = Attention {
                    n_heads: heads,
                    scale: 1.0,
                    window: None,
                };
                // Make sure that the infinite key's score isn't minus infinity for all queries.
                let q = &mut x[0][..t * heads * d];
                if side == 0 {
                    q[7] = bad;
                }
                for cpu in cpus() {
                    let mut out = vec![0.0; t * heads * d];
                    let mut scratch = AttentionScratch::new(cpu.threads(), d, d);
                    attention(&cpu, &what, q, past, &cache, &mut out, &mut scratch).expect("fits");
                    let seen = out.iter().any(|v| !v.is_finite());
                    assert!(seen, "{} {kind:?} t {t}, side {side} {bad}", cpu.isa());
                }
            }
        }
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let c = case(2, 1, 16, 5, 200);
    for cpu in cpus() {
        let f = fill(&c, CacheType::F32);
        let what = Attention {
            n_heads: 2,
            scale: 50.0,
            window: None,
        };
        let cache = KvCache::new((1, f.capacity), (16, 16), f.k.data(), f.v.data()).expect("fits");
        let q = uniform(3, c.t * 2 * 16, 2.0);
        let mut out = vec![f32::NAN; c.t * 2 * 16];
        let mut scratch = AttentionScratch::new(cpu.threads(), 16, 16);
        attention(&cpu, &what, &q, c.past, &cache, &mut out, &mut scratch).expect("fits");
        // Scores reach thousands: their own rounding moves the weights.
        let far = worst(&out, &expected(&c, &what, &q, &f, None), None);
        assert!(far < 2e-2, "{}: {far:e}", cpu.isa());
    }
}

/// Every third position and the query's own, as far as the window allows.
fn some_positions(c: &Case) -> Selected {
    let mut selected = Selected::new(c.t, c.past + c.t);
    for i in 0..c.t {
        let last = c.past + i;
        let first = c.window.map_or(0, |w| (last + 1).saturating_sub(w));
        let list: Vec<u32> = (first..=last)
            .filter(|p| p % 3 == 0 || *p == last)
            .map(|p| p as u32)
            .collect();
        selected.push(&list);
    }
    selected
}

#[test]
fn attention_to_selected_positions_equals_the_definition() {
    each_case(|n, c, kind| {
        let f = fill(c, kind);
        let what = Attention {
            n_heads: c.heads,
            scale: 0.3,
            window: c.window,
        };
        let cache = cache(c, &f);
        let q = uniform(14, c.t * c.heads * c.d, 1.0);
        let chosen = some_positions(c);
        let few = c.heads / c.kv_heads <= 6;
        for cpu in cpus() {
            let seen = rounded_queries(&cpu, kind, &q, few, c.d);
            let expected = expected(c, &what, &seen, &f, Some(&chosen));
            let mut out = vec![f32::NAN; c.t * c.heads * c.dv];
            let mut scratch = AttentionScratch::new(cpu.threads(), c.d, c.dv);
            attention_selected(
                &cpu,
                &what,
                &q,
                c.past,
                &cache,
                &chosen,
                &mut out,
                &mut scratch,
            )
            .expect("the shapes fit");
            let far = worst(&out, &expected, None);
            let near = tolerance(&cpu, kind, few, [c.d, c.dv]);
            assert!(far < near, "{} case {n} {kind:?}: {far:e}", cpu.isa());
        }
    });
}

#[test]
fn an_empty_selection_yields_zeros_and_a_wrong_one_is_refused() {
    let cpu = Cpu::new(1);
    let data = [1.0f32; 8];
    let cache = KvCache::latent(4, 2, 2, CacheData::F32(&data)).expect("fits");
    let what = Attention {
        n_heads: 1,
        scale: 1.0,
        window: Some(2),
    };
    let mut scratch = AttentionScratch::new(1, 2, 2);
    let mut out = [9.0f32; 2];
    let mut run = |list: &[u32]| {
        let mut selected = Selected::default();
        selected.push(list);
        let result = attention_selected(
            &cpu,
            &what,
            &[1.0, 1.0],
            3,
            &cache,
            &selected,
            &mut out,
            &mut scratch,
        );
        result.map(|()| out)
    };
    assert_eq!(run(&[]), Ok([0.0, 0.0]));
    assert_eq!(run(&[2, 3]), Ok([1.0, 1.0]));
    for bad in [&[1u32][..], &[4], &[3, 2], &[3, 3]] {
        assert!(
            matches!(
                run(bad),
                Err(KernelError::SelectedPosition { query: 0, .. })
            ),
            "{bad:?}"
        );
    }
}

#[test]
fn a_window_without_bounds_is_no_window() {
    let c = case(4, 2, 16, 1, 700);
    for cpu in cpus() {
        let f = fill(&c, CacheType::F32);
        let cache = KvCache::new((2, f.capacity), (16, 16), f.k.data(), f.v.data()).expect("fits");
        let q = uniform(15, 64, 1.0);
        let mut scratch = AttentionScratch::new(cpu.threads(), 16, 16);
        let mut run = |window| {
            let what = Attention {
                n_heads: 4,
                scale: 0.25,
                window,
            };
            let mut out = vec![f32::NAN; 64];
            attention(&cpu, &what, &q, 700, &cache, &mut out, &mut scratch).expect("fits");
            out
        };
        let all = run(None);
        for window in [701, usize::MAX - 1, usize::MAX] {
            assert_eq!(run(Some(window)), all, "{} {window}", cpu.isa());
        }
    }
}

#[test]
fn one_pass_equals_prefill_then_decode() {
    let c = case(4, 2, 32, 50, 0);
    for cpu in cpus() {
        let f = fill(&c, CacheType::F32);
        let what = Attention {
            n_heads: 4,
            scale: 0.2,
            window: None,
        };
        let cache = KvCache::new((2, f.capacity), (32, 32), f.k.data(), f.v.data()).expect("fits");
        let q = uniform(15, 50 * 128, 1.0);
        let mut scratch = AttentionScratch::new(cpu.threads(), 32, 32);
        let mut whole = vec![0.0; 50 * 128];
        attention(&cpu, &what, &q, 0, &cache, &mut whole, &mut scratch).expect("fits");
        for split in [1, 13, 49] {
            let mut parts = vec![0.0; 50 * 128];
            let (first, second) = parts.split_at_mut(split * 128);
            attention(
                &cpu,
                &what,
                &q[..split * 128],
                0,
                &cache,
                first,
                &mut scratch,
            )
            .expect("fits");
            attention(
                &cpu,
                &what,
                &q[split * 128..],
                split,
                &cache,
                second,
                &mut scratch,
            )
            .expect("fits");
            let expected: Vec<f64> = whole.iter().map(|&v| f64::from(v)).collect();
            assert!(worst(&parts, &expected, None) < 2e-6);
        }
    }
}

#[test]
fn a_latent_cache_reads_values_from_its_keys() {
    for (heads, d, dv, total) in [(6, 40, 32, 90), (3, 576, 512, 70), (16, 75, 42, 90)] {
        for (kind, t) in CacheType::ALL.into_iter().flat_map(|k| [(k, 1), (k, 25)]) {
            let shape = CacheShape {
                heads: 1,
                capacity: total,
                width: d,
            };
            let latents = uniform(1, total * d, 1.0);
            let mut rows = CacheBuffer::new(kind, &shape).expect("a small cache");
            append(&shape, rows.data_mut(), 0, &latents).expect("fits");
            let cache = KvCache::latent(total, d, dv, rows.data()).expect("fits");
            let latents = round(kind, &latents, d);
            let what = Attention {
                n_heads: heads,
                scale: 2.0 / (d as f32).sqrt(),
                window: None,
            };
            let q = uniform(2, t * heads * d, 1.0);
            for cpu in cpus() {
                let seen = rounded_queries(&cpu, kind, &q, t * heads <= 6, d);
                let mut out = vec![0.0; t * heads * dv];
                let mut scratch = AttentionScratch::new(cpu.threads(), d, dv);
                attention(&cpu, &what, &q, total - t, &cache, &mut out, &mut scratch)
                    .expect("fits");
                let at = |_, p, j| latents[p * d + j];
                let expected = oracle::attention(
                    &what,
                    &seen,
                    (total - t, 1),
                    (d, &at),
                    (dv, &at),
                    &|_, _| true,
                );
                let far = worst(&out, &expected, None);
                let near = tolerance(&cpu, kind, t * heads <= 6, [d, dv]);
                assert!(far < near, "{} {kind:?} d {d}: {far:e}", cpu.isa());
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let cpu = Cpu::new(1);
    let data = [0.0f32; 16];
    let buffer = CacheData::F32(&data);
    let cache = KvCache::new((2, 4), (2, 2), buffer, buffer).expect("fits");
    let mut scratch = AttentionScratch::new(1, 2, 2);
    let mut run = |heads, window, t: usize, first| {
        let what = Attention {
            n_heads: heads,
            scale: 1.0,
            window,
        };
        let (q, mut out) = (vec![0.0; t * heads * 2], vec![0.0; t * heads * 2]);
        attention(&cpu, &what, &q, first, &cache, &mut out, &mut scratch)
    };
    assert_eq!(run(4, None, 4, 0), Ok(()));
    assert_eq!(run(4, None, 0, 9), Ok(()));
    assert!(matches!(
        run(3, None, 1, 0),
        Err(KernelError::Parameter { found: 3, .. })
    ));
    assert!(matches!(
        run(4, Some(0), 1, 0),
        Err(KernelError::Parameter { .. })
    ));
    assert_eq!(
        run(4, None, 2, 3).map_err(|e| e.to_string()),
        Err(
            "attention: positions 0 to 4 are needed, expected at most 4 (the cache's capacity)"
                .into()
        )
    );
    for last in [usize::MAX, usize::MAX - 1] {
        assert!(matches!(
            run(4, Some(2), 2, last),
            Err(KernelError::Parameter { found, .. }) if found == last
        ));
    }
    assert_eq!(run(4, Some(3), 2, 30), Ok(()));
    assert!(matches!(
        run(4, Some(4), 2, 30),
        Err(KernelError::CacheCapacity {
            oldest: 27,
            newest: 31,
            ..
        })
    ));
    assert!(KvCache::new((2, 4), (2, 3), buffer, buffer).is_err());
    assert!(KvCache::new((0, 4), (2, 3), CacheData::F32(&[]), CacheData::F32(&[])).is_err());
    assert!(KvCache::latent(8, 2, 3, buffer).is_err());
    let shape = CacheShape {
        heads: 2,
        capacity: 4,
        width: 2,
    };
    let mut own = CacheBuffer::new(CacheType::F32, &shape).expect("a small cache");
    assert!(append(&shape, own.data_mut(), 0, &[0.0; 3]).is_err());
    assert!(append(&shape, own.data_mut(), 0, &[0.0; 20]).is_err());
    assert!(append(&shape, own.data_mut(), usize::MAX, &[0.0; 4]).is_err());
    let mut short = [0.0; 15];
    let short = mistral_kernels::CacheDataMut::F32(&mut short);
    assert!(append(&shape, short, 0, &[0.0; 4]).is_err());
    let endless = CacheShape {
        capacity: usize::MAX,
        ..shape
    };
    assert!(CacheBuffer::new(CacheType::Q8, &endless).is_err());
}

#[test]
fn the_index_chooses_what_the_definition_chooses() {
    let (heads, d, topk) = (4, 24, 10);
    for cpu in cpus() {
        for (t, past) in [(1, 0), (1, 60), (30, 0), (7, 33)] {
            let total = past + t;
            let (q, w) = (uniform(1, t * heads * d, 1.0), uniform(2, t * heads, 1.0));
            let keys = uniform(3, total * d, 1.0);
            let indexer = Indexer {
                n_heads: heads,
                head_dim: d,
                topk,
            };
            let mut chosen = Selected::new(t, topk);
            let mut scratch = IndexScratch::new(cpu.threads(), total);
            let data = CacheData::F32(&keys);
            index_topk(
                &cpu,
                &indexer,
                &q,
                &w,
                past,
                data,
                &mut chosen,
                &mut scratch,
            )
            .expect("fits");
            assert_eq!(chosen.queries(), t);
            for i in 0..t {
                let expected = oracle::index_topk(
                    (heads, d, topk),
                    &q[i * heads * d..],
                    &w[i * heads..],
                    &|p, j| keys[p * d + j],
                    past + i,
                );
                assert_eq!(chosen.row(i), expected, "{} query {i} of {t}", cpu.isa());
            }
        }
    }
}

#[test]
fn equal_index_scores_keep_the_lower_positions() {
    let cpu = Cpu::new(1);
    let keys = [0.0f32; 20];
    let indexer = Indexer {
        n_heads: 1,
        head_dim: 2,
        topk: 3,
    };
    let mut chosen = Selected::default();
    let mut scratch = IndexScratch::new(1, 10);
    let data = CacheData::F32(&keys);
    index_topk(
        &cpu,
        &indexer,
        &[1.0; 2],
        &[1.0],
        9,
        data,
        &mut chosen,
        &mut scratch,
    )
    .expect("fits");
    assert_eq!(chosen.row(0), [0, 1, 2]);
    let mut small = IndexScratch::new(1, 5);
    let result = index_topk(
        &cpu,
        &indexer,
        &[1.0; 2],
        &[1.0],
        9,
        data,
        &mut chosen,
        &mut small,
    );
    assert!(matches!(
        result,
        Err(KernelError::Scratch { needed: 10, .. })
    ));
    let result = index_topk(
        &cpu,
        &indexer,
        &[1.0; 2],
        &[1.0],
        10,
        data,
        &mut chosen,
        &mut scratch,
    );
    assert!(matches!(result, Err(KernelError::CacheCapacity { .. })));
}
