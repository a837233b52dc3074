//! The sums that fits are made of, and fits of one sub-block.

/// Sums of `K` terms over `N` weights, a multiple of 16, always in the same order.
#[expect(
    clippy::needless_range_loop,
    reason = "in this form loops become vectors: five times faster than with iterators"
)]
#[inline(always)]
pub(super) fn sums<const N: usize, const K: usize>(terms: impl Fn(usize) -> [f32; K]) -> [f64; K] {
    let mut lanes = [[0.0f32; 16]; K];
    for start in (0..N).step_by(16) {
        for i in 0..16 {
            let terms = terms(start + i);
            for k in 0..K {
                lanes[k][i] += terms[k];
            }
        }
    }
    // In f64, since errors are small differences of large sums.
    lanes.map(|lanes| {
        let mut wide = lanes.map(f64::from);
        for step in [8, 4, 2, 1] {
            for i in 0..step {
                wide[i] += wide[i + step];
            }
        }
        wide[0]
    })
}

/// The nearest integer, ties to even; for numbers below 2^22.
#[inline(always)]
pub(super) fn nearest(t: f32) -> f32 {
    // 1.5 · 2^23, where floats are integers.
    const MAGIC: f32 = 12_582_912.0;
    (t + MAGIC) - MAGIC
}

/// `t` in `low..=high`; unlike `f32::clamp` one instruction a bound.
#[inline(always)]
pub(super) fn within(t: f32, low: f32, high: f32) -> f32 {
    let t = if t > low { t } else { low };
    if t < high { t } else { high }
}

/// `1 / d`, and 0 where there is none.
#[inline(always)]
pub(super) fn inverse(d: f32) -> f32 {
    let inverse = 1.0 / d;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// `x ≈ scale · code - minimum` with neither below zero.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Line {
    pub(super) scale: f32,
    pub(super) minimum: f32,
}

/// The line of least weighted error for codes from 0 to `top`.
#[inline(always)]
pub(super) fn fit_line<const N: usize>(x: &[f32; N], weight: &[f32; N], top: f32) -> Line {
    let (mut low, mut high) = (0.0f32, x[0]);
    for &x in x {
        low = if x < low { x } else { low };
        high = if x > high { x } else { high };
    }
    let span = high - low;
    if span <= 0.0 {
        return Line {
            scale: 0.0,
            minimum: -low,
        };
    }
    let fixed = sums::<N, 3>(|i| {
        let wx = weight[i] * x[i];
        [weight[i], wx, wx * x[i]]
    });
    let mut best = (f64::INFINITY, Line::default());
    // A step narrower than the span cuts the extremes off, a wider one leaves codes unused.
    for candidate in -10..=10 {
        let scale = inverse((top + 0.1 * candidate as f32) / span);
        best = better(best, refine(x, weight, &fixed, top, scale, -low));
    }
    // Each round of codes for a line, then a line for the codes, lessens the error.
    for _ in 0..2 {
        let Line { scale, minimum } = best.1;
        best = better(best, refine(x, weight, &fixed, top, scale, minimum));
    }
    best.1
}

#[inline(always)]
fn better<T>(a: (f64, T), b: (f64, T)) -> (f64, T) {
    if b.0 < a.0 { b } else { a }
}

/// Codes of a line, and the line of least error for these codes. `fixed` are the sums of weights,
/// of weighted numbers and of their squares.
#[inline(always)]
fn refine<const N: usize>(
    x: &[f32; N],
    weight: &[f32; N],
    fixed: &[f64; 3],
    top: f32,
    scale: f32,
    minimum: f32,
) -> (f64, Line) {
    let inverse = inverse(scale);
    let [q, qq, qx] = sums::<N, 3>(|i| {
        let code = nearest(within((x[i] + minimum) * inverse, 0.0, top));
        let wq = weight[i] * code;
        [wq, wq * code, wq * x[i]]
    });
    let [w, wx, wxx] = *fixed;
    let determinant = w * qq - q * q;
    let (mut scale, mut offset) = (0.0, wx / w);
    if determinant > 1e-12 * w * qq {
        scale = (w * qx - q * wx) / determinant;
        offset = (qq * wx - q * qx) / determinant;
    }
    if offset > 0.0 {
        offset = 0.0;
        scale = if qq > 0.0 { qx / qq } else { 0.0 };
    }
    let error = wxx - 2.0 * (scale * qx + offset * wx)
        + scale * scale * qq
        + 2.0 * scale * offset * q
        + offset * offset * w;
    // A negative scale would only mirror what a positive one can do.
    let error = if scale < 0.0 { f64::INFINITY } else { error };
    let line = Line {
        scale: scale as f32,
        minimum: -offset as f32,
    };
    (error, line)
}

/// Signed numbers that a weight can be a multiple of.
pub(super) trait Grid {
    /// The lowest, which is furthest from zero.
    const LOW: f32;
    /// How far the lowest is from its neighbour.
    const STEP: f32;

    /// The number nearest to `t`.
    fn nearest(t: f32) -> f32;
}

/// The integers from `-L` to `L - 1`.
pub(super) struct Integers<const L: i32>;

impl<const L: i32> Grid for Integers<L> {
    const LOW: f32 = -L as f32;
    const STEP: f32 = 1.0;

    #[inline(always)]
    fn nearest(t: f32) -> f32 {
        nearest(within(t, Self::LOW, -Self::LOW - 1.0))
    }
}

/// The scale of least weighted error for `x ≈ scale · number of the grid`, of either sign.
#[inline(always)]
pub(super) fn fit_scale<G: Grid, const N: usize>(x: &[f32; N], weight: &[f32; N]) -> f32 {
    let extreme = super::largest(x).1;
    if extreme == 0.0 {
        return 0.0;
    }
    let mut best = (f64::INFINITY, 0.0);
    for sign in [1.0, -1.0] {
        for candidate in -7..=7 {
            let reach = G::LOW + G::STEP * 0.125 * candidate as f32;
            best = better(best, scale_of::<G, N>(x, weight, sign * reach / extreme));
        }
    }
    for _ in 0..2 {
        best = better(best, scale_of::<G, N>(x, weight, inverse(best.1)));
    }
    best.1
}

/// The scale of least error for the numbers that `x · inverse` is nearest to; its error less the
/// part that doesn't depend on the scale.
#[inline(always)]
fn scale_of<G: Grid, const N: usize>(x: &[f32; N], weight: &[f32; N], inverse: f32) -> (f64, f32) {
    let [qx, qq] = sums::<N, 2>(|i| {
        let q = G::nearest(x[i] * inverse);
        let wq = weight[i] * q;
        [wq * x[i], wq * q]
    });
    match qq > 0.0 {
        true => (-qx * qx / qq, (qx / qq) as f32),
        false => (0.0, 0.0),
    }
}
