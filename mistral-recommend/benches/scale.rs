//! How long a search takes by the number of configurations: `cargo bench -p mistral-recommend`.
//!
//! A need names more and more devices, several of each, so that every model in every precision on
//! every engine in every layout over them is looked at and predicted.

use std::hint::black_box;
use std::time::Instant;

use mistral_core::need::{HardwareNeed, Need, Ownership};
use mistral_recommend::{Context, considered};

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
        let mut best = f64::INFINITY;
        let mut found = (0, 0);
        for _ in 0..if quick { 1 } else { 9 } {
            let start = Instant::now();
            found = black_box(considered(&need, &context, true)).expect("a sound need");
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!(
            "{} devices: {} configurations, {} keep all limits, {:.1} ms, {:.0} ns each",
            need.hardware.len(),
            found.0,
            found.1,
            best * 1e3,
            best * 1e9 / found.0 as f64
        );
    }
}
