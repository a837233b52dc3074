//! Factors that depend on the position, and the cap on logits.

use crate::KernelError;
use crate::error::{check_len, check_rows};

/// Llama 4's growth of queries: `1 + beta · ln(1 + ⌊position / original⌋)`, where `original` is
/// the context of pre-training (Ministral 3, Small 4).
#[must_use]
pub fn llama4_scale(position: u32, beta: f32, original: usize) -> f32 {
    let steps = position as usize / original.max(1);
    1.0 + beta * (1.0 + steps as f32).ln()
}

/// Multiplies each query of `q [t, width]` with [`llama4_scale`] of its position.
///
/// # Errors
/// When `q` isn't a whole number of rows for `positions`.
pub fn scale_llama4(
    q: &mut [f32],
    positions: &[u32],
    beta: f32,
    original: usize,
) -> Result<(), KernelError> {
    if positions.is_empty() {
        return check_len("scale_llama4", "q", q.len(), 0);
    }
    let width = check_rows("scale_llama4", "q", q.len(), positions.len())?;
    if width == 0 {
        return Ok(());
    }
    for (row, &position) in q.chunks_exact_mut(width).zip(positions) {
        let scale = llama4_scale(position, beta, original);
        // Below the pre-training context the factor is exactly 1.
        if scale != 1.0 {
            row.iter_mut().for_each(|v| *v *= scale);
        }
    }
    Ok(())
}

/// Scalable softmax (arXiv 2501.19399): multiplies head `h` of each query of `q [t, heads, d]`
/// with `scale[h] · ln(position + 1) + bias[h]`.
///
/// # Errors
/// When `scale` and `bias` differ in length, or `q` doesn't fit them and `positions`.
pub fn scale_ssmax(
    q: &mut [f32],
    positions: &[u32],
    scale: &[f32],
    bias: &[f32],
) -> Result<(), KernelError> {
    check_len("scale_ssmax", "bias", bias.len(), scale.len())?;
    let rows = positions.len() * scale.len();
    if rows == 0 {
        return check_len("scale_ssmax", "q", q.len(), 0);
    }
    let d = check_rows("scale_ssmax", "q", q.len(), rows)?;
    if d == 0 {
        return Ok(());
    }
    for (row, &position) in q.chunks_exact_mut(d * scale.len()).zip(positions) {
        let log = (f64::from(position) + 1.0).ln() as f32;
        for ((head, s), b) in row.chunks_exact_mut(d).zip(scale).zip(bias) {
            let factor = s * log + b;
            head.iter_mut().for_each(|v| *v *= factor);
        }
    }
    Ok(())
}

/// Soft cap: `x = cap · tanh(x / cap)` (Gemma 2, arXiv 2408.00118).
pub fn softcap(cap: f32, x: &mut [f32]) {
    for v in x {
        *v = cap * (*v / cap).tanh();
    }
}
