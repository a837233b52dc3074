use super::measured::{MeasuredFile, MeasuredRow};
use super::*;
use crate::catalog::Catalog;
use crate::hardware::HardwareTable;
use crate::plan::KvPrecision;
use crate::precision::Precision;

fn setup<'a>(shape: &'a Shape, precision: Precision, device: &str, count: u32) -> Setup<'a> {
    Setup {
        shape,
        precision,
        kv: KvPrecision::Auto,
        device: HardwareTable::embedded().find(device).expect("listed"),
        count,
        engine: EngineClass::Serving,
        coefficients: Coefficients::embedded(),
    }
}

fn shape(id: &str) -> Shape {
    let catalog = Catalog::embedded();
    Shape::of(catalog, catalog.get(id).expect("listed")).expect("dimensions known")
}

/// Absolute relative errors, sorted; the rows that can't be predicted; how many lie inside their
/// interval.
fn errors(file: &MeasuredFile) -> (Vec<f64>, Vec<String>, usize) {
    let (mut errors, mut inside) = (Vec::new(), 0);
    let mut unpredictable = Vec::new();
    for row in &file.rows {
        match file.predict(row, Coefficients::embedded()) {
            Ok(p) => {
                inside += usize::from((p.lo..=p.hi).contains(&row.value));
                let p = p.value;
                let e = p / row.value - 1.0;
                if std::env::var_os("SHOW_ROWS").is_some() {
                    println!(
                        "{:.2} {} {} {:?} {} {} {:?} {:?} {} {} {}",
                        p / row.value,
                        row.model,
                        row.device,
                        row.tp,
                        row.engine,
                        row.weights,
                        row.isl,
                        row.osl,
                        row.mode,
                        row.metric,
                        row.value
                    );
                }
                errors.push(e.abs());
            }
            Err(e) => unpredictable.push(format!("{}: {e}", row.id)),
        }
    }
    errors.sort_by(f64::total_cmp);
    (errors, unpredictable, inside)
}

#[test]
fn published_measurements_are_met() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/data/measured/measured.json"
    );
    let Ok(text) = std::fs::read_to_string(path) else {
        return;
    };
    let file: MeasuredFile = serde_json::from_str(&text).expect("measurements");
    let (errors, unpredictable, inside) = errors(&file);
    assert!(unpredictable.is_empty(), "{unpredictable:#?}");
    let at = |q: f64| errors[((errors.len() - 1) as f64 * q) as usize];
    println!(
        "median {:.3}, p90 {:.3}, n {}",
        at(0.5),
        at(0.9),
        errors.len()
    );
    assert!(at(0.5) < 0.08, "median {:.3}", at(0.5));
    assert!(at(0.9) < 0.28, "p90 {:.3}", at(0.9));
    let inside = inside as f64 / errors.len() as f64;
    assert!((0.72..=0.88).contains(&inside), "{inside:.3} inside");
}

#[test]
fn one_measurement_of_each_kind_without_the_data() {
    // TensorRT-LLM 0.14 performance table, Mistral 7B on one H100 SXM at full load, 1000/1000.
    let seven = shape("mistral-7b-v0.3");
    let work = Workload {
        prompt_tokens: 1000.0,
        output_tokens: 1000.0,
    };
    let fp8 = Setup {
        kv: KvPrecision::Fp8,
        ..setup(&seven, Precision::Fp8, "H100", 1)
    };
    for (setup, measured) in [
        (fp8, 14_987.0),
        (setup(&seven, Precision::F16, "H100", 1), 7_697.0),
    ] {
        let ratio = setup.saturated(work).0 / measured;
        assert!((0.8..1.25).contains(&ratio), "{ratio}");
    }
    // The same engine's first token on an L40S, 2048 prompt tokens: 87.3 ms.
    let first = Setup {
        kv: KvPrecision::Fp8,
        ..setup(&seven, Precision::Fp8, "L40S", 1)
    }
    .ttft_ms(
        Workload {
            prompt_tokens: 2048.0,
            output_tokens: 1.0,
        },
        1.0,
    );
    assert!((0.8..1.25).contains(&(first / 87.3)), "{first}");
}

#[test]
fn more_hardware_is_never_slower_and_more_load_never_faster() {
    let seven = shape("mistral-7b-v0.3");
    let work = Workload {
        prompt_tokens: 800.0,
        output_tokens: 200.0,
    };
    let l4 = setup(&seven, Precision::Bf16, "L4", 1);
    let h100 = setup(&seven, Precision::Bf16, "H100", 1);
    assert!(l4.ttft_ms(work, 1.0) > h100.ttft_ms(work, 1.0));
    let mut last = (0.0, 0.0, 0.0);
    for c in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0] {
        let now = (
            l4.ttft_ms(work, c),
            l4.tpot_ms(work, c),
            l4.tokens_per_s(work, c),
        );
        assert!(now.0 >= last.0 && now.1 >= last.1, "latency at {c}");
        assert!(
            now.2 >= last.2 * 0.99,
            "throughput at {c}: {now:?} after {last:?}"
        );
        last = now;
    }
}

#[test]
fn memory_is_weights_cache_and_overhead() {
    let seven = shape("mistral-7b-v0.3");
    let one = memory_need(&setup(&seven, Precision::Bf16, "L4", 1), 4096.0, 10.0);
    assert_eq!(one.weights, 14_496_047_104.0);
    assert_eq!(one.kv, 131_072.0 * 4096.0 * 10.0);
    let two = memory_need(&setup(&seven, Precision::Bf16, "L4", 2), 4096.0, 10.0);
    assert_eq!((two.weights, two.kv), (one.weights, one.kv));
    assert!(two.per_device < one.per_device);
    // A latent is copied to each device.
    let small = shape("mistral-small-4");
    let four = memory_need(&setup(&small, Precision::Fp8, "H100", 4), 4096.0, 10.0);
    assert_eq!(four.kv, 4.0 * 23_040.0 * 4096.0 * 10.0);
}

#[test]
fn a_model_without_dimensions_borrows_them() {
    let medium = shape("mistral-medium-3.5");
    let bytes = medium.weight_bytes(Precision::Bf16);
    assert!((bytes / 256e9 - 1.0).abs() < 0.01, "{bytes}");
}

#[test]
fn constants_are_found_again() {
    // Rows as the constants would have them: who fits them from elsewhere comes back.
    let rows: Vec<MeasuredRow> = ["H100", "A100-80GB-SXM", "L40S"]
        .iter()
        .flat_map(|device| [1.0, 8.0, 64.0].map(|batch| (device, batch)))
        .map(|(device, batch)| MeasuredRow {
            id: format!("{device}/{batch}"),
            model: "mistral-7b-v0.3".to_owned(),
            device: (*device).to_owned(),
            n_devices: 1,
            tp: Some(1),
            engine: "vLLM".to_owned(),
            weights: "bf16".to_owned(),
            kv: None,
            isl: Some(500.0),
            osl: Some(200.0),
            mode: "static_batch".to_owned(),
            batch: Some(batch),
            metric: "output_tok_s_total".to_owned(),
            value: 1.0,
        })
        .collect();
    let file = MeasuredFile {
        rows,
        models: std::collections::BTreeMap::new(),
    };
    let truth = Coefficients::embedded();
    let rows: Vec<MeasuredRow> = file
        .rows
        .iter()
        .map(|row| MeasuredRow {
            value: file.predict(row, truth).expect("known").value,
            ..row.clone()
        })
        .collect();
    let cases: Vec<_> = rows.iter().map(|r| file.case(r).expect("known")).collect();
    let all: Vec<_> = cases.iter().collect();
    let mut start = truth.clone();
    start.serving.bandwidth = 0.5;
    start.serving.compute_16 = 0.3;
    let found = fit::fit(&all, &start);
    for case in &cases {
        let ratio = case.predict(&found).expect("known").value / case.row.value;
        assert!((0.97..1.03).contains(&ratio), "{} {ratio}", case.row.id);
    }
    let out = fit::leave_out(&cases, &start, |c| c.device.name.clone(), &mut |_| {});
    let out = out.expect("all known");
    assert_eq!(out.len(), 9);
    assert!(fit::coverage(&out) > 0.8, "{out:?}");
}

#[test]
fn what_a_card_has_no_room_for_is_read_slowly() {
    let small = shape("mistral-small-3.2");
    let at = |device: &str, engine| {
        let setup = Setup {
            engine,
            ..setup(&small, Precision::Q4KM, device, 1)
        };
        (setup.offloaded(), setup.step_s(1.0, 100.0))
    };
    let (on_card, fast) = at("RTX 4090", EngineClass::Local);
    let (elsewhere, slow) = at("RTX 2080", EngineClass::Local);
    assert_eq!(on_card, 0.0);
    assert!((0.4..0.7).contains(&elsewhere), "{elsewhere}");
    // Half of 14 GB at 28 GB/s, beside half at 350.
    assert!((0.2..0.4).contains(&slow) && fast < 0.05, "{slow} {fast}");
    assert_eq!(at("RTX 2080", EngineClass::Serving).0, 0.0);
}

#[test]
fn a_measured_machine_stands_for_its_table_row() {
    use crate::hardware::{Device, LocalRates, RatesOf};
    let seven = shape("mistral-7b-v0.3");
    let table = HardwareTable::embedded().find("EPYC 9554").expect("listed");
    let level = |read, operations| RatesOf {
        read: vec![(1.0, read)],
        operations: vec![(1.0, operations)],
        ..RatesOf::default()
    };
    let measured = table.clone().with_rates(LocalRates {
        blocks: level(20e9, 1e12),
        bytes: level(15e9, 8e11),
        floats: level(10e9, 5e11),
        layer_s: 1e-4,
        prompt_token_layer_s: 1e-6,
        ..LocalRates::default()
    });
    let step = |device: &Device, precision, engine| {
        let setup = Setup {
            engine,
            device,
            ..setup(&seven, precision, "L4", 1)
        };
        (
            setup.step_s(1.0, 0.0),
            setup.prefill_s(1.0, 100.0),
            setup.rate_spread(),
        )
    };
    let (blocks, prompt, spread) = step(&measured, Precision::Q4KM, EngineClass::Native);
    // 4.2 GB at 20 GB/s and 32 layers; 1.4 TFLOP and 3200 layers' tokens.
    assert!((0.20..0.23).contains(&blocks), "{blocks}");
    assert!((1.35..1.5).contains(&prompt), "{prompt}");
    let (floats, ..) = step(&measured, Precision::Bf16, EngineClass::Native);
    assert!((1.38..1.47).contains(&floats), "{floats}");
    let (bytes, ..) = step(&measured, Precision::Q8_0, EngineClass::Native);
    assert!((0.48..0.53).contains(&bytes), "{bytes}");
    let (_, _, from_table) = step(table, Precision::Q4KM, EngineClass::Native);
    assert!(spread < from_table);
    // Others do a share of it.
    let (others, ..) = step(&measured, Precision::Q4KM, EngineClass::Local);
    assert!((1.1..1.2).contains(&(others / blocks)), "{others}");
    // What a serving engine does there was not measured.
    let [a, b] = [&measured, table].map(|d| step(d, Precision::Bf16, EngineClass::Serving));
    assert_eq!((a.0, a.1), (b.0, b.1));
}

#[test]
fn modes_are_told_by_their_parts() {
    let row = |mode: &str, batch, metric: &str| MeasuredRow {
        id: "row".to_owned(),
        model: "mistral-7b-v0.3".to_owned(),
        device: "H100".to_owned(),
        n_devices: 1,
        tp: Some(1),
        engine: "vLLM".to_owned(),
        weights: "bf16".to_owned(),
        kv: None,
        isl: Some(500.0),
        osl: Some(200.0),
        mode: mode.to_owned(),
        batch,
        metric: metric.to_owned(),
        value: 1.0,
    };
    let file = MeasuredFile {
        rows: Vec::new(),
        models: std::collections::BTreeMap::new(),
    };
    let at = |mode, batch, metric| {
        let found = file.predict(&row(mode, batch, metric), Coefficients::embedded());
        found.map(|i| i.value)
    };
    let total = "output_tok_s_total";
    let few = at("closed_loop_c4", None, total).expect("clients are told");
    let many = at("closed_loop_c64", None, total).expect("clients are told");
    assert!(many > 3.0 * few, "{few} {many}");
    let eight = at("a tool of its own", Some(8.0), total).expect("a batch is told");
    let one = at("a tool of its own", None, total).expect("one request");
    assert!(eight > 4.0 * one, "{one} {eight}");
    for (mode, metric) in [
        ("closed_loop_c0", "decode_watts"),
        ("single_stream", "loss"),
    ] {
        let found = at(mode, None, metric);
        assert!(
            matches!(found, Err(measured::Unpredictable::Metric { .. })),
            "{found:?}"
        );
    }
}
