//! Super-blocks whose sub-blocks have a scale and a minimum: Q2_K, Q4_K, Q5_K.

use super::search::{Line, fit_line, inverse, nearest, sums, within};
use super::{by_size, rounded};

/// `x ≈ d · scale · code - dmin · minimum`, rounded.
pub(super) struct Affine<const SUBS: usize> {
    /// As f16 will hold it, or infinite.
    pub(super) d: f32,
    /// As `d`.
    pub(super) dmin: f32,
    pub(super) scales: [u8; SUBS],
    pub(super) minima: [u8; SUBS],
    pub(super) codes: [u8; 256],
    error: f64,
}

/// How many values codes and scales have, less one.
#[derive(Clone, Copy)]
pub(super) struct Tops {
    pub(super) code: f32,
    pub(super) scale: f32,
}

/// Rounds sub-blocks of `LEN`, of which there are `SUBS`.
#[inline(always)]
pub(super) fn affine<const SUBS: usize, const LEN: usize>(
    x: &[f32; 256],
    tops: Tops,
) -> Affine<SUBS> {
    let x: &[[f32; LEN]; SUBS] = x.as_chunks().0.try_into().expect("sub-blocks make a block");
    let weights: [[f32; LEN]; SUBS] = std::array::from_fn(|j| by_size(&x[j]));
    let lines: [Line; SUBS] = std::array::from_fn(|j| fit_line(&x[j], &weights[j], tops.code));
    let most = |part: fn(&Line) -> f32| lines.iter().map(part).fold(0.0f32, f32::max) / tops.scale;
    let mut best = assign(
        x,
        &weights,
        &lines,
        tops,
        most(|l| l.scale),
        most(|l| l.minimum),
    );
    for _ in 0..2 {
        let (d, dmin) = refit(x, &weights, &best);
        let again = assign(x, &weights, &lines, tops, d, dmin);
        if again.error >= best.error {
            break;
        }
        best = again;
    }
    best
}

/// The best scales, minima and codes for given scales of the super-block.
#[inline(always)]
fn assign<const SUBS: usize, const LEN: usize>(
    x: &[[f32; LEN]; SUBS],
    weights: &[[f32; LEN]; SUBS],
    lines: &[Line; SUBS],
    tops: Tops,
    d: f32,
    dmin: f32,
) -> Affine<SUBS> {
    let mut out = Affine {
        d: rounded(d),
        dmin: rounded(dmin),
        scales: [0; SUBS],
        minima: [0; SUBS],
        codes: [0; 256],
        error: 0.0,
    };
    let (codes, _) = out.codes.as_chunks_mut::<LEN>();
    for j in 0..SUBS {
        let middle = |part: f32, unit: f32| nearest(within(part * inverse(unit), 0.0, tops.scale));
        let scale = middle(lines[j].scale, out.d);
        let minimum = middle(lines[j].minimum, out.dmin);
        let mut best = (f64::INFINITY, 0.0, 0.0);
        for (ds, dm) in NEIGHBOURS {
            let (s, m) = (scale + ds, minimum + dm);
            if s < 0.0 || s > tops.scale || m < 0.0 || m > tops.scale {
                continue;
            }
            let error = error(&x[j], &weights[j], tops.code, out.d * s, out.dmin * m);
            if error < best.0 {
                best = (error, s, m);
            }
        }
        let (error, s, m) = best;
        out.error += error;
        (out.scales[j], out.minima[j]) = (s as u8, m as u8);
        let (scale, minimum) = (out.d * s, out.dmin * m);
        let inverse = inverse(scale);
        for (code, &x) in codes[j].iter_mut().zip(&x[j]) {
            *code = nearest(within((x + minimum) * inverse, 0.0, tops.code)) as u8;
        }
    }
    out
}

/// Around the rounded scale and minimum, which comes first: it wins ties.
const NEIGHBOURS: [(f32, f32); 9] = [
    (0.0, 0.0),
    (0.0, 1.0),
    (0.0, -1.0),
    (1.0, 0.0),
    (1.0, 1.0),
    (1.0, -1.0),
    (-1.0, 0.0),
    (-1.0, 1.0),
    (-1.0, -1.0),
];

/// The weighted error of a sub-block under a line.
#[inline(always)]
fn error<const LEN: usize>(
    x: &[f32; LEN],
    weight: &[f32; LEN],
    top: f32,
    scale: f32,
    minimum: f32,
) -> f64 {
    let inverse = inverse(scale);
    let [error] = sums::<LEN, 1>(|i| {
        let code = nearest(within((x[i] + minimum) * inverse, 0.0, top));
        let off = scale * code - minimum - x[i];
        [weight[i] * off * off]
    });
    error
}

/// The super-block's scales of least error for what the sub-blocks have.
#[inline(always)]
fn refit<const SUBS: usize, const LEN: usize>(
    x: &[[f32; LEN]; SUBS],
    weights: &[[f32; LEN]; SUBS],
    found: &Affine<SUBS>,
) -> (f32, f32) {
    let (codes, _) = found.codes.as_chunks::<LEN>();
    let [mut aa, mut ab, mut bb, mut ax, mut bx] = [0.0; 5];
    for j in 0..SUBS {
        let (s, m) = (f64::from(found.scales[j]), f64::from(found.minima[j]));
        let [w, q, qq, wx, qx] = sums::<LEN, 5>(|i| {
            let (code, w) = (f32::from(codes[j][i]), weights[j][i]);
            let wq = w * code;
            [w, wq, wq * code, w * x[j][i], wq * x[j][i]]
        });
        aa += s * s * qq;
        ab -= s * m * q;
        bb += m * m * w;
        ax += s * qx;
        bx -= m * wx;
    }
    let determinant = aa * bb - ab * ab;
    if determinant > 1e-12 * aa * bb {
        let d = (ax * bb - ab * bx) / determinant;
        let dmin = (aa * bx - ab * ax) / determinant;
        return (d as f32, dmin as f32);
    }
    match aa > 0.0 {
        true => ((ax / aa) as f32, found.dmin),
        false => (found.d, found.dmin),
    }
}
