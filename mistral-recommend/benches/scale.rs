//! How long a search takes by the number of configurations: `cargo bench -p mistral-recommend`.
//!
//! A need names more and more devices, several of each, so that every model in every precision on
//! every engine in every layout over them is looked at and predicted.

use std::hint::black_box;
use std::time::Instant;

use mistral_core::need::{HardwareNeed, Need, Ownership};
use mistral_recommend::{Context, considered, recommend};

/// Devices of a kind.
const COUNT: u32 = 256;

fn main() {
    // `cargo test` runs benches too, to see that they do.
    let quick = !std::env::args().any(|a| a == "--bench");
    let context = Context::embedded("2026-11-23");
    let devices: Vec<&str> = context.hardware.iter().map(|d| d.name.as_str()).collect();
    for share in [8, 4, 2, 1] {
        let hardware = devices.iter().step_by(share).map(|name| HardwareNeed {
            device: Some((*name).to_owned()),
            count: COUNT,
            memory_gb: None,
            ownership: Ownership::Rented,
        });
        let need = Need {
            hardware: hardware.collect(),
            ..Need::default()
        };
        let repeats = if quick { 1 } else { 9 };
        let found = considered(&need, &context, true).expect("a sound need");
        let search = best_of(repeats, || {
            black_box(considered(&need, &context, true)).is_ok()
        });
        let answer = best_of(repeats, || {
            black_box(recommend(need.clone(), &context)).is_ok()
        });
        println!(
            "{} devices: {} configurations, {} keep all limits, search {:.1} ms, {:.0} ns each; \
             whole answer {:.1} ms",
            need.hardware.len(),
            found.0,
            found.1,
            search * 1e3,
            search * 1e9 / found.0 as f64,
            answer * 1e3
        );
    }
}

/// Shortest time of some repeats, in seconds.
fn best_of(repeats: u32, mut work: impl FnMut() -> bool) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..repeats {
        let start = Instant::now();
        assert!(work(), "a sound need");
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}
