//! The estimate's bias is found from reports, an absurd one moves it little, and devices without
//! reports stay where they were.

use mistral_core::plan::Runtime;
use mistral_core::precision::Precision;
use mistral_core::recommendation::Interval;
use mistral_core::report::{Machine, RunReport, RunShape};
use mistral_recommend::learn::{Corrections, Learned, Residual, residual};
use mistral_recommend::{Context, RecommendError, recommend_text};

const TODAY: &str = "2026-11-23";

/// Numbers that repeat for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

fn run(device: &str, runtime: Runtime, prompt: u32, batch: u32) -> RunReport {
    RunReport {
        schema: RunReport::SCHEMA,
        command: "simulated".to_owned(),
        date: TODAY.to_owned(),
        machine: Machine {
            device: device.to_owned(),
            count: 1,
            threads: None,
        },
        model: "mistral-7b-v0.3".to_owned(),
        precision: Some(match runtime {
            Runtime::Vllm => Precision::Bf16,
            _ => Precision::Q4KM,
        }),
        runtime: Some(runtime),
        kernel_path: "simulated".to_owned(),
        shape: RunShape {
            prompt_tokens: prompt,
            output_tokens: 128,
            depth: 0,
            batch,
            repeats: 1,
        },
        prefill_tokens_per_s: None,
        decode_tokens_per_s: Some(1.0),
        ttft_ms: Some(1.0),
        load_ms: None,
        peak_rss_bytes: None,
        weight_bytes: None,
        read_bytes_per_s: None,
    }
}

/// The run as a device would show it whose times are `ttft` and `tpot` times the predicted ones.
fn measured(mut report: RunReport, ttft: f64, tpot: f64, context: &Context<'_>) -> RunReport {
    let off = residual(&report, context).expect("a sound report");
    // Times that were put in, over what is predicted, give the predicted ones.
    report.ttft_ms = Some(ttft / off.ttft.expect("measured").exp());
    let each = 1e3 * f64::from(report.shape.batch);
    let tpot_ms = tpot * each / off.tpot.expect("measured").exp();
    report.decode_tokens_per_s = Some(1e3 * f64::from(report.shape.batch) / tpot_ms);
    report
}

fn simulated(n: u32, ttft: f64, tpot: f64, random: &mut Random, c: &Context<'_>) -> Vec<RunReport> {
    (0..n)
        .map(|i| {
            let report = run("L4", Runtime::Vllm, 256 << (i % 4), 1 + 3 * (i % 3));
            let noise = |f: f64, r: &mut Random| f * (0.05 * r.normal()).exp();
            let (ttft, tpot) = (noise(ttft, random), noise(tpot, random));
            measured(report, ttft, tpot, c)
        })
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn the_error_halves_after_five_reports() {
    let context = Context::embedded(TODAY);
    let mut random = Random(11);
    let mut errors: Vec<[(f64, f64); 2]> = Vec::new();
    for _ in 0..100 {
        let true_factor = |r: &mut Random| 0.6 + r.unit();
        let (ttft, tpot) = (true_factor(&mut random), true_factor(&mut random));
        let reports = simulated(5, ttft, tpot, &mut random, &context);
        let learned = Corrections::learn(&reports, &context).get("L4", Runtime::Vllm);
        let error =
            |truth: f64, factor: f64| ((1.0 - truth).abs() / truth, (factor - truth).abs() / truth);
        errors.push([
            error(ttft, learned.ttft.factor),
            error(tpot, learned.tpot.factor),
        ]);
    }
    for (i, name) in ["ttft", "tpot"].iter().enumerate() {
        let before = median(errors.iter().map(|e| e[i].0).collect());
        let after = median(errors.iter().map(|e| e[i].1).collect());
        println!("{name}: median absolute error {before:.3} before, {after:.3} after 5 reports");
        assert!(after <= before / 2.0, "{name}: {before} {after}");
    }
}

#[test]
fn intervals_narrow_and_still_hold_new_runs() {
    let context = Context::embedded(TODAY);
    let mut random = Random(5);
    let plain = Interval::spread(100.0, 1.2);
    let (mut held, mut rows) = (0, 0);
    let mut widths = Vec::new();
    for n in [1, 3, 10, 30] {
        let mut width = 0.0;
        for _ in 0..40 {
            let truth = 0.6 + random.unit();
            let reports = simulated(n, truth, truth, &mut random, &context);
            let learned = Corrections::learn(&reports, &context).get("L4", Runtime::Vllm);
            assert_eq!(learned.tpot.reports, n);
            assert!(learned.tpot.lo < learned.tpot.factor && learned.tpot.factor < learned.tpot.hi);
            let now = learned.tpot.apply(plain);
            width += (now.hi / now.lo).ln() / 40.0;
            let next = 100.0 * truth * (0.05 * random.normal()).exp();
            if n >= 3 {
                rows += 1;
                held += usize::from((now.lo..=now.hi).contains(&next));
            }
        }
        widths.push(width);
    }
    println!("widths {widths:?}, {held} of {rows} held");
    assert!(widths[0] <= (plain.hi / plain.lo).ln() + 1e-9);
    assert!(widths.windows(2).all(|w| w[1] < w[0]), "{widths:?}");
    assert!(held * 10 >= rows * 8, "{held} of {rows}");
}

#[test]
fn runs_that_scatter_widen_the_interval() {
    let off = |tpot: f64| Residual {
        device: "L4".to_owned(),
        runtime: Runtime::Vllm,
        ttft: None,
        tpot: Some(tpot),
    };
    let wild: Vec<Residual> = (0..20).map(|i| off(0.6 * f64::from(i % 3 - 1))).collect();
    let now = Corrections::of_residuals(&wild)
        .get("L4", Runtime::Vllm)
        .tpot
        .apply(Interval::spread(100.0, 1.2));
    assert!(now.hi / now.value > 1.3, "{now:?}");
}

#[test]
fn an_absurd_report_among_five_changes_little() {
    let context = Context::embedded(TODAY);
    let mut random = Random(23);
    for truth in [0.6, 0.8, 1.0, 1.3, 1.6] {
        let reports = simulated(5, truth, truth, &mut random, &context);
        for (at, absurd) in [(0, 100.0), (2, 0.01), (4, 1e4)] {
            let mut spoiled = reports.clone();
            spoiled[at].ttft_ms = spoiled[at].ttft_ms.map(|t| t * absurd);
            spoiled[at].decode_tokens_per_s = spoiled[at].decode_tokens_per_s.map(|r| r / absurd);
            let learned = Corrections::learn(&spoiled, &context).get("L4", Runtime::Vllm);
            for (name, c) in [("ttft", learned.ttft), ("tpot", learned.tpot)] {
                let off = (c.factor / truth).ln().abs();
                assert!(off < 0.1, "{name} {truth} {absurd}: {c:?}");
            }
        }
    }
}

#[test]
fn one_report_alone_moves_a_forecast_by_a_bounded_factor() {
    for exponent in -40..=40 {
        let tpot = Some(f64::from(exponent) * 0.5);
        let r = Residual {
            device: "L4".to_owned(),
            runtime: Runtime::Vllm,
            ttft: tpot,
            tpot,
        };
        let learned = Corrections::of_residuals(&[r]).get("L4", Runtime::Vllm);
        for c in [learned.ttft, learned.tpot] {
            assert!((1.0 / 3.5..=3.5).contains(&c.factor), "{tpot:?}: {c:?}");
        }
    }
}

#[test]
fn devices_without_reports_stay() {
    let context = Context::embedded(TODAY);
    let mut random = Random(3);
    for truth in [0.6, 1.6] {
        let reports = simulated(5, truth, truth, &mut random, &context);
        let learned = Corrections::learn(&reports, &context);
        for (device, runtime) in [
            ("H100-SXM", Runtime::Vllm),
            ("L4", Runtime::Sglang),
            ("L4", Runtime::LlamaServer),
        ] {
            let both = learned.get(device, runtime);
            for c in [both.ttft, both.tpot] {
                assert_eq!(c.reports, 0);
                assert!((c.factor.ln()).abs() < 0.05, "{device} {truth}: {c:?}");
                let plain = Interval::spread(10.0, 1.2);
                let now = c.apply(plain);
                assert!((now.hi / now.value - 1.2).abs() < 1e-9, "{now:?}");
            }
        }
    }
}

#[test]
fn the_order_of_reports_does_not_matter() {
    let context = Context::embedded(TODAY);
    let mut reports = simulated(7, 1.3, 0.8, &mut Random(2), &context);
    reports.push(measured(
        run("T4", Runtime::LlamaServer, 512, 1),
        1.1,
        1.2,
        &context,
    ));
    let forward = Corrections::learn(&reports, &context);
    reports.reverse();
    assert_eq!(forward, Corrections::learn(&reports, &context));
}

#[test]
fn reports_that_cannot_be_compared_are_named() {
    let context = Context::embedded(TODAY);
    let good = run("L4", Runtime::Vllm, 512, 1);
    let with = |change: &dyn Fn(&mut RunReport)| {
        let mut report = good.clone();
        change(&mut report);
        report
    };
    let cases = [
        ("unknown_schema", with(&|r| r.schema = 9)),
        ("unusable_report", with(&|r| r.runtime = None)),
        ("unusable_report", with(&|r| r.precision = None)),
        ("unsupported_model", with(&|r| r.model = "gpt-9".to_owned())),
        (
            "unknown_device",
            with(&|r| r.machine.device = "abacus".to_owned()),
        ),
        ("unusable_report", with(&|r| r.machine.count = 0)),
        ("unusable_report", with(&|r| r.shape.batch = 0)),
        (
            "unusable_report",
            with(&|r| r.shape.prompt_tokens = u32::MAX),
        ),
        ("unusable_report", with(&|r| r.ttft_ms = Some(f64::NAN))),
        (
            "unusable_report",
            with(&|r| r.decode_tokens_per_s = Some(-3.0)),
        ),
        (
            "unusable_report",
            with(&|r| r.decode_tokens_per_s = Some(f64::INFINITY)),
        ),
        (
            "unusable_report",
            with(&|r| (r.ttft_ms, r.decode_tokens_per_s) = (None, None)),
        ),
    ];
    for (code, report) in &cases {
        let found = residual(report, &context).map_err(|e| RecommendError::code(&e));
        assert_eq!(found, Err(*code), "{report:?}");
    }
    let reports: Vec<RunReport> = cases.iter().map(|c| c.1.clone()).collect();
    let learned = Corrections::learn(&reports, &context);
    assert_eq!(learned.unused.len(), cases.len());
    let nothing = Corrections::default();
    assert_eq!(
        learned.get("L4", Runtime::Vllm),
        nothing.get("L4", Runtime::Vllm)
    );
}

#[test]
fn a_correction_reaches_the_answer_and_its_limits() {
    let mut context = Context::embedded(TODAY);
    let need = "mistral 7b v0.3 for chat on one L4 card with vllm";
    let plain = recommend_text(need, &context).expect("a sound need");
    let reports = simulated(8, 2.0, 2.0, &mut Random(9), &context);
    context.learned = Some(Learned {
        corrections: Corrections::learn(&reports, &context),
        ..Learned::default()
    });
    let learned = recommend_text(need, &context).expect("a sound need");
    let own = |a: &mistral_core::recommendation::Recommendation| {
        let choice = a.choices.iter().find(|c| c.runtime == Some(Runtime::Vllm));
        choice.cloned().expect("fits an L4")
    };
    let (before, after) = (own(&plain), own(&learned));
    assert_eq!(before.model, after.model);
    let ratio = |f: &dyn Fn(&mistral_core::recommendation::Predicted) -> Option<Interval>| {
        f(&after.predicted).expect("predicted").value
            / f(&before.predicted).expect("predicted").value
    };
    assert!((1.8..2.2).contains(&ratio(&|p| p.ttft_ms)));
    assert!((1.8..2.2).contains(&ratio(&|p| p.tpot_ms)));
    assert!((0.45..0.56).contains(&ratio(&|p| p.tokens_per_s)));
    assert!((1.8..2.2).contains(&ratio(&|p| p.joules_per_token)));
    let reason = after.reasons.iter().find(|r| r.rule == "learned.bias");
    let facts = &reason.expect("named").facts;
    assert_eq!(facts["reports"], 8u32.into());
    assert!(
        !before
            .reasons
            .iter()
            .any(|r| r.rule.starts_with("learned."))
    );
    // A limit that the plain forecast keeps and the measured device doesn't.
    let limit = before.predicted.tpot_ms.expect("predicted").value * 1.3;
    let strict = format!("{need}, at most {limit:.0} ms per token");
    let kept = recommend_text(&strict, &context).expect("a sound need");
    assert!(kept.choices.iter().all(|c| {
        c.predicted
            .tpot_ms
            .is_none_or(|t| t.value <= kept.need.latency.tpot_ms.expect("was said"))
    }));
}
