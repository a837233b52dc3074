//! Memory of each device by part, against what it has.

use mistral_core::recommendation::Choice;
use serde::Serialize;

use crate::say::Voice;

const LEFT: f64 = 40.0;
const RIGHT: f64 = 640.0;
const HEIGHT: f64 = 18.0;
const STEP: f64 = 44.0;

/// A drawing with a bar for each choice on machines.
#[derive(Debug, Serialize)]
pub(super) struct Bars {
    height: f64,
    rows: Vec<Row>,
    description: String,
}

#[derive(Debug, Serialize)]
struct Row {
    rank: usize,
    y: f64,
    bar_height: f64,
    parts: Vec<Part>,
    /// The device's memory as a frame.
    frame: f64,
    /// Where the memory ends that an engine may plan with.
    usable: f64,
    note: String,
}

#[derive(Debug, Serialize)]
struct Part {
    kind: &'static str,
    name: &'static str,
    x: f64,
    width: f64,
    gb: String,
}

/// The drawing; `None` when no choice runs on machines.
pub(super) fn bars(choices: &[Choice], voice: Voice) -> Option<Bars> {
    let most = choices
        .iter()
        .filter_map(|c| c.memory.as_ref())
        .flat_map(|m| [m.device_gb, m.per_device_gb])
        .filter(|gb| gb.is_finite())
        .fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let wide = |gb: f64| {
        let share = if gb.is_finite() {
            (gb / most).clamp(0.0, 1.0)
        } else {
            0.0
        };
        (share * (RIGHT - LEFT) * 10.0).round() / 10.0
    };
    let mut rows = Vec::new();
    let mut description = Vec::new();
    for (i, c) in choices.iter().enumerate() {
        let Some(m) = &c.memory else { continue };
        let devices = f64::from(c.count.max(1));
        let mut x = LEFT;
        let mut parts = Vec::new();
        for (kind, name, gb) in [
            ("weights", "page.weights", m.weights_gb / devices),
            ("cache", "page.cache", m.kv_cache_gb / devices),
            ("overhead", "page.overhead", m.overhead_gb / devices),
        ] {
            let width = wide(gb);
            parts.push(Part {
                kind,
                name: voice.word(name),
                x,
                width,
                gb: voice.short(gb),
            });
            x += width;
        }
        let device = c.device.as_deref().unwrap_or(voice.word("plot.device"));
        let note = voice.fill(
            "page.bar_note",
            &[
                ("model", c.model.clone()),
                ("needs", voice.short(m.per_device_gb)),
                ("usable", voice.short(m.usable_gb_per_device)),
                ("has", voice.short(m.device_gb)),
                ("count", c.count.to_string()),
                ("device", device.to_owned()),
            ],
        );
        description.push(format!("{}{}{note}.", i + 1, voice.word("colon")));
        rows.push(Row {
            rank: i + 1,
            y: 10.0 + STEP * rows.len() as f64,
            bar_height: HEIGHT,
            parts,
            frame: wide(m.device_gb),
            usable: LEFT + wide(m.usable_gb_per_device),
            note,
        });
    }
    Some(Bars {
        height: 14.0 + STEP * rows.len() as f64,
        rows,
        description: description.join(" "),
    })
}
