//! Super-blocks whose sub-blocks have a signed scale and no minimum: Q3_K, Q6_K, IQ4_XS.

use super::search::{Grid, fit_scale, inverse, nearest, sums, within};
use super::{by_square, largest, rounded};

/// `x ≈ d · scale · number of the grid`, rounded.
pub(super) struct Signed<const SUBS: usize> {
    /// As f16 will hold it, or infinite.
    pub(super) d: f32,
    pub(super) scales: [i8; SUBS],
    /// Numbers of the grid.
    pub(super) numbers: [i8; 256],
    error: f64,
}

/// Rounds sub-blocks of `LEN`, of which there are `SUBS`, with scales from `-reach` to `reach - 1`.
#[inline(always)]
pub(super) fn signed<G: Grid, const SUBS: usize, const LEN: usize>(
    x: &[f32; 256],
    reach: f32,
) -> Signed<SUBS> {
    let x: &[[f32; LEN]; SUBS] = x.as_chunks().0.try_into().expect("sub-blocks make a block");
    let weights: [[f32; LEN]; SUBS] = std::array::from_fn(|j| by_square(&x[j]));
    let fits: [f32; SUBS] = std::array::from_fn(|j| fit_scale::<G, LEN>(&x[j], &weights[j]));
    let unit = largest(&fits).1 / -reach;
    let mut best = assign::<G, SUBS, LEN>(x, &weights, &fits, reach, unit);
    for _ in 0..2 {
        let Some(unit) = refit(x, &weights, &best) else {
            break;
        };
        let again = assign::<G, SUBS, LEN>(x, &weights, &fits, reach, unit);
        if again.error >= best.error {
            break;
        }
        best = again;
    }
    best
}

/// The best scales and numbers for a given scale of the super-block.
#[inline(always)]
fn assign<G: Grid, const SUBS: usize, const LEN: usize>(
    x: &[[f32; LEN]; SUBS],
    weights: &[[f32; LEN]; SUBS],
    fits: &[f32; SUBS],
    reach: f32,
    d: f32,
) -> Signed<SUBS> {
    let mut out = Signed {
        d: rounded(d),
        scales: [0; SUBS],
        numbers: [0; 256],
        error: 0.0,
    };
    let (numbers, _) = out.numbers.as_chunks_mut::<LEN>();
    for j in 0..SUBS {
        let middle = nearest(within(fits[j] * inverse(out.d), -reach, reach - 1.0));
        let mut best = (f64::INFINITY, 0.0);
        // The rounded scale comes first: it wins ties.
        for step in [0.0, 1.0, -1.0] {
            let s = within(middle + step, -reach, reach - 1.0);
            let (scale, inverse) = (out.d * s, inverse(out.d * s));
            let [error] = sums::<LEN, 1>(|i| {
                let off = scale * G::nearest(x[j][i] * inverse) - x[j][i];
                [weights[j][i] * off * off]
            });
            if error < best.0 {
                best = (error, s);
            }
        }
        out.error += best.0;
        out.scales[j] = best.1 as i8;
        let inverse = inverse(out.d * best.1);
        for (number, &x) in numbers[j].iter_mut().zip(&x[j]) {
            *number = G::nearest(x * inverse) as i8;
        }
    }
    out
}

/// The super-block's scale of least error for what the sub-blocks have; `None` when they have
/// nothing.
#[inline(always)]
fn refit<const SUBS: usize, const LEN: usize>(
    x: &[[f32; LEN]; SUBS],
    weights: &[[f32; LEN]; SUBS],
    found: &Signed<SUBS>,
) -> Option<f32> {
    let (numbers, _) = found.numbers.as_chunks::<LEN>();
    let (mut aa, mut ax) = (0.0, 0.0);
    for j in 0..SUBS {
        let s = f64::from(found.scales[j]);
        let [qq, qx] = sums::<LEN, 2>(|i| {
            let q = f32::from(numbers[j][i]);
            let wq = weights[j][i] * q;
            [wq * q, wq * x[j][i]]
        });
        aa += s * s * qq;
        ax += s * qx;
    }
    (aa > 0.0).then_some((ax / aa) as f32)
}
