//! Rows of bytes: blocks of 32 codes with one scale each.
//!
//! An element is `code · scale`, with `code` in -127..=127 and a scale in bf16, which has the range
//! of f32; it is the largest magnitude of its block by 127, rounded up, so that no code is beyond.
//! That is GGUF's `Q8_0` but for the scale's type. The last block of a row may be shorter.

use half::bf16;

/// Elements that share a scale.
pub(crate) const BLOCK: usize = 32;

/// Scales of a row.
pub(crate) fn blocks(width: usize) -> usize {
    width.div_ceil(BLOCK)
}

/// Rounds a row. A block with an element that isn't finite gets a scale that is NaN, so that all of
/// it reads as NaN; one whose magnitudes stay below 1e-36 becomes zeros.
pub(super) fn round_row(x: &[f32], codes: &mut [i8], scales: &mut [bf16]) {
    let blocks = x.chunks(BLOCK).zip(codes.chunks_mut(BLOCK));
    for ((x, codes), scale) in blocks.zip(scales) {
        *scale = round_block(x, codes);
    }
}

fn round_block(x: &[f32], codes: &mut [i8]) -> bf16 {
    // Magnitudes are ordered as their bits are, with infinity and NaN above all others.
    let bits = x.iter().fold(0, |m: u32, v| m.max(v.to_bits() << 1)) >> 1;
    let most = f32::from_bits(bits);
    if !most.is_finite() {
        codes.fill(0);
        return bf16::NAN;
    }
    let exact = most / 127.0;
    if exact < f32::MIN_POSITIVE {
        codes.fill(0);
        return bf16::ZERO;
    }
    let scale = bf16::from_bits(((exact.to_bits() + 0xffff) >> 16) as u16);
    let inverse = 1.0 / scale.to_f32();
    // In a float of this size a unit is its last bit: adding rounds to nearest, ties to even.
    const UNIT: f32 = 12_582_912.0;
    for (code, x) in codes.iter_mut().zip(x) {
        let rounded = (x * inverse + UNIT).to_bits();
        *code = rounded.wrapping_sub(UNIT.to_bits()) as i8;
    }
    scale
}

/// Words of a rounded query: its codes, four a word and padded with zeros to 64; then the scale of
/// each block, and -128 times the sum of its codes as an `i32`.
pub(super) fn query_words(width: usize) -> usize {
    code_words(width) + 2 * blocks(width)
}

/// Words of a query's codes.
pub(super) fn code_words(width: usize) -> usize {
    width.div_ceil(64) * 16
}

/// Rounds a query into [`query_words`] words.
pub(super) fn round_query(x: &[f32], out: &mut [f32]) {
    let (words, ends) = out.split_at_mut(code_words(x.len()));
    let (scales, sums) = ends.split_at_mut(blocks(x.len()));
    words.fill(0.0);
    for (b, x) in x.chunks(BLOCK).enumerate() {
        let mut codes = [0i8; BLOCK];
        scales[b] = round_block(x, &mut codes[..x.len()]).to_f32();
        let sum: i32 = codes.iter().map(|&c| i32::from(c)).sum();
        sums[b] = f32::from_bits((-128 * sum) as u32);
        let (four, _) = codes.as_chunks::<4>();
        for (word, codes) in words[b * BLOCK / 4..].iter_mut().zip(four) {
            *word = f32::from_bits(u32::from_le_bytes(codes.map(|c| c as u8)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::values::{gaussian, uniform};

    fn round_trip(x: &[f32]) -> Vec<f32> {
        let mut codes = vec![0i8; x.len()];
        let mut scales = vec![bf16::ZERO; blocks(x.len())];
        round_row(x, &mut codes, &mut scales);
        let scale = |i: usize| scales[i / BLOCK].to_f32();
        let read = |(i, code): (usize, &i8)| f32::from(*code) * scale(i);
        codes.iter().enumerate().map(read).collect()
    }

    #[test]
    fn an_element_is_at_most_half_a_step_away() {
        for (n, magnitude) in [(1, 1.0), (31, 1e-30), (64, 7.0), (75, 3e37), (128, 1e-3)] {
            let x = uniform(n as u64, n, magnitude);
            let found = round_trip(&x);
            for (x, y) in x.chunks(BLOCK).zip(found.chunks(BLOCK)) {
                let most = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                let step = most / 127.0 * (1.0 + 1.0 / 128.0);
                let near = |(x, y): (&f32, &f32)| (x - y).abs() <= step * 0.5001;
                assert!(x.iter().zip(y).all(near), "{n} {magnitude:e}");
            }
        }
    }

    #[test]
    fn normal_rows_lose_little() {
        let x = gaussian(5, 4096, 1.0);
        let y = round_trip(&x);
        let square = |x: f32| f64::from(x * x);
        let off: f64 = x.iter().zip(&y).map(|(x, y)| square(x - y)).sum();
        let all: f64 = x.iter().map(|x| square(*x)).sum();
        assert!((off / all).sqrt() < 0.006);
    }

    #[test]
    fn what_is_not_finite_stays_so_and_what_is_tiny_becomes_zero() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
            let mut x = vec![1.0f32; 70];
            x[40] = bad;
            let y = round_trip(&x);
            assert!(y[32..64].iter().all(|y| y.is_nan()), "{bad}");
            assert!(y[..32].iter().chain(&y[64..]).all(|y| y.is_finite()));
        }
        assert_eq!(round_trip(&[1e-37, -1e-40]), [0.0, 0.0]);
        let most = round_trip(&[f32::MAX, f32::MIN, 0.0]);
        assert!(most[0] >= f32::MAX * 0.99 && most[1] <= f32::MIN * 0.99 && most[2] == 0.0);
    }
}
