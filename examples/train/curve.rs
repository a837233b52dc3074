//! The loss curve as an SVG picture.

use std::fmt::Write;

use super::state::Progress;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 44.0;

/// Where steps and losses lie in the picture.
struct Axes {
    steps: f64,
    low: f64,
    high: f64,
}

impl Axes {
    fn x(&self, step: f64) -> f64 {
        LEFT + step / self.steps * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, loss: f64) -> f64 {
        TOP + (self.high - loss) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)
    }

    fn line(&self, points: impl Iterator<Item = (usize, f64)>) -> String {
        points
            .map(|(s, l)| format!("{:.1},{:.1} ", self.x(s as f64), self.y(l)))
            .collect()
    }
}

/// Training and held-out loss over the steps.
pub(crate) fn svg(progress: &Progress) -> String {
    let train = || progress.curve.iter().map(|p| (p.step, p.loss));
    let held_out = || {
        progress
            .evaluations
            .iter()
            .map(|p| (p.step, p.evaluation.loss))
    };
    let losses = || train().chain(held_out()).map(|(_, loss)| loss);
    let steps = train()
        .chain(held_out())
        .map(|(s, _)| s)
        .max()
        .unwrap_or(1)
        .max(1);
    let axes = Axes {
        steps: steps as f64,
        low: losses().fold(f64::INFINITY, f64::min).min(20.0).floor(),
        high: losses().fold(1.0, f64::max).ceil(),
    };
    let mut svg = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"##
    );
    grid(&mut svg, &axes);
    let _ = writeln!(
        svg,
        r##"<polyline fill="none" stroke="#9db4d0" points="{}"/>
<polyline fill="none" stroke="#c2410c" stroke-width="2" points="{}"/>
<text x="{right}" y="36" text-anchor="end" fill="#5b7ea8">training</text>
<text x="{right}" y="54" text-anchor="end" fill="#c2410c">held out</text>
</svg>"##,
        axes.line(train()),
        axes.line(held_out()),
        right = WIDTH - RIGHT - 8.0,
    );
    svg
}

/// Lines and numbers of both axes.
fn grid(svg: &mut String, axes: &Axes) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut loss = axes.low;
    while loss <= axes.high {
        let y = axes.y(loss);
        let _ = writeln!(
            svg,
            r##"<path d="M{LEFT} {y:.1}H{right}" stroke="#e5e5e5"/><text x="{:.1}" y="{:.1}" text-anchor="end">{loss}</text>"##,
            LEFT - 6.0,
            y + 4.0
        );
        loss += 1.0;
    }
    for i in 0..=4 {
        let step = (axes.steps * f64::from(i) / 4.0).round();
        let _ = writeln!(
            svg,
            r##"<text x="{:.1}" y="{:.1}" text-anchor="middle">{step}</text>"##,
            axes.x(step),
            bottom + 18.0
        );
    }
    let _ = writeln!(
        svg,
        r##"<text x="{:.1}" y="{:.1}" text-anchor="middle">step</text>
<text x="{LEFT}" y="14">cross-entropy, nats a token</text>"##,
        (LEFT + right) / 2.0,
        HEIGHT - 8.0
    );
}
