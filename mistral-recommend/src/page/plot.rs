//! Cost against latency, both logarithmic, with intervals.

use mistral_core::recommendation::{Choice, Interval};
use serde::Serialize;

use super::axis::{LogAxis, Tick, drawable};
use crate::say::Voice;

const LEFT: f64 = 70.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 290.0;
/// Where choices stand whose latency isn't predicted.
const LANE: f64 = 330.0;
/// Points of one cost stand this far beside each other.
const SIDE: f64 = 20.0;
/// Labels that are nearer than this to each other are moved apart.
const APART: f64 = 15.0;

/// A drawing of cost against one kind of latency.
#[derive(Debug, Serialize)]
pub(super) struct Plot {
    id: &'static str,
    title: &'static str,
    description: String,
    y_label: &'static str,
    x: Vec<Tick>,
    y: Vec<Tick>,
    points: Vec<Point>,
    /// The front as the points of a line.
    front: String,
    /// Whether some choice has a cost and no prediction of its latency.
    lane: bool,
    /// Choices without a known cost, which have no place.
    left_out: Vec<usize>,
}

#[derive(Debug, Serialize)]
struct Point {
    rank: usize,
    x: f64,
    y: f64,
    /// Ends of the interval of the latency; equal to `y` in the lane.
    from: f64,
    to: f64,
    label_x: f64,
    label_y: f64,
    pareto: bool,
    lane: bool,
    name: String,
}

/// Which latency is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) enum Latency {
    FirstToken,
    EachToken,
}

impl Latency {
    fn of(self, c: &Choice) -> Option<Interval> {
        match self {
            Self::FirstToken => c.predicted.ttft_ms,
            Self::EachToken => c.predicted.tpot_ms,
        }
        .filter(|i| drawable(i.value))
    }
}

fn cost(c: &Choice) -> Option<f64> {
    let usd = c.predicted.usd_per_month?.value;
    drawable(usd).then_some(usd)
}

/// The drawing; `None` when no choice has a cost and at least one such latency.
pub(super) fn plot(choices: &[Choice], latency: Latency, voice: Voice) -> Option<Plot> {
    let shown = || choices.iter().filter(|c| cost(c).is_some());
    let x = LogAxis::over(shown().filter_map(cost), LEFT, RIGHT)?;
    let times = shown().filter_map(|c| latency.of(c));
    let y = LogAxis::over(times.flat_map(|i| [i.lo, i.value, i.hi]), BOTTOM, TOP)?;
    let mut points: Vec<Point> = Vec::new();
    for (i, c) in choices.iter().enumerate() {
        let Some(usd) = cost(c) else { continue };
        let x = beside(x.at(usd), &points);
        points.push(point(i + 1, (c, voice), x, latency.of(c), &y, &points));
    }
    let (id, title, y_label) = match latency {
        Latency::FirstToken => ("first-token", "page.plot_first", "page.axis_first"),
        Latency::EachToken => ("each-token", "page.plot_each", "page.axis_each"),
    };
    Some(Plot {
        id,
        title: voice.word(title),
        description: describe(choices, latency, voice),
        y_label: voice.word(y_label),
        x: x.ticks(voice),
        y: y.ticks(voice),
        front: front(&points),
        lane: points.iter().any(|p| p.lane),
        left_out: (1..=choices.len())
            .filter(|rank| cost(&choices[rank - 1]).is_none())
            .collect(),
        points,
    })
}

/// A place for a point at `x`: to the right of those that stand there.
fn beside(x: f64, others: &[Point]) -> f64 {
    let taken = |x: f64| others.iter().any(|o| (o.x - x).abs() < SIDE / 2.0);
    let mut place = x;
    while taken(place) && place < RIGHT {
        place += SIDE;
    }
    place
}

fn point(
    rank: usize,
    (c, voice): (&Choice, Voice),
    x: f64,
    time: Option<Interval>,
    axis: &LogAxis,
    others: &[Point],
) -> Point {
    let end = |v: f64| if drawable(v) { axis.at(v) } else { BOTTOM };
    let (y, from, to) = time.map_or((LANE, LANE, LANE), |i| {
        (axis.at(i.value), end(i.lo), end(i.hi))
    });
    let (label_x, mut label_y) = (x + 9.0, y + 4.0);
    let taken = |at: f64| {
        others
            .iter()
            .any(|o| (o.label_x - label_x).abs() < APART && (o.label_y - at).abs() < APART)
    };
    // Upwards, so that labels never leave the lane at the bottom.
    while taken(label_y) {
        label_y -= APART;
    }
    Point {
        rank,
        x,
        y,
        from,
        to,
        label_x,
        label_y,
        pareto: c.pareto,
        lane: time.is_none(),
        name: voice.title(c),
    }
}

/// The choices of the front from cheap to dear, those without a latency left out.
fn front(points: &[Point]) -> String {
    let mut on: Vec<&Point> = points.iter().filter(|p| p.pareto && !p.lane).collect();
    on.sort_by(|a, b| a.x.total_cmp(&b.x).then(b.y.total_cmp(&a.y)));
    // A line through choices that cost alike would run up and down: the fastest stands for them.
    let mut line: Vec<(f64, f64)> = Vec::new();
    for p in on {
        match line.last_mut() {
            Some(last) if (last.0 - p.x).abs() <= SIDE => last.1 = last.1.max(p.y),
            _ => line.push((p.x, p.y)),
        }
    }
    let line: Vec<String> = line.iter().map(|(x, y)| format!("{x},{y}")).collect();
    line.join(" ")
}

/// The drawing in words, for those who don't see it.
fn describe(choices: &[Choice], latency: Latency, voice: Voice) -> String {
    let line = |(i, c): (usize, &Choice)| {
        let usd = cost(c).map_or_else(
            || voice.word("plot.no_cost").to_owned(),
            |usd| voice.fill("plot.cost", &[("usd", voice.short(usd))]),
        );
        let time = latency.of(c).map_or_else(
            || voice.word("plot.no_time").to_owned(),
            |i| {
                let ends = [
                    ("v", voice.short(i.value)),
                    ("lo", voice.short(i.lo)),
                    ("hi", voice.short(i.hi)),
                ];
                voice.fill("plot.time", &ends)
            },
        );
        format!("{}{}{usd}, {time}.", i + 1, voice.word("colon"))
    };
    let lines: Vec<String> = choices.iter().enumerate().map(line).collect();
    lines.join(" ")
}
