//! Rotary position embedding (arXiv 2104.09864).

mod frequency;

pub use frequency::{Yarn, inv_freq, scale_inv_freq};

use crate::cpu::SharedMut;
use crate::error::{check_len, check_rows, checked_product};
use crate::simd::{Kernel, Simd, dispatch};
use crate::{Cpu, KernelError};

/// Which elements of a head rotate together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RopeLayout {
    /// Pairs `(2i, 2i + 1)`: Mistral's own files, and latent attention everywhere.
    Interleaved,
    /// Pairs `(i, i + dim/2)`: Hugging Face files.
    HalfSplit,
}

/// What is rotated, in rows `[t, heads, head_dim]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rope {
    /// Pairing.
    pub layout: RopeLayout,
    /// Heads a token.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// First rotated element of a head; the angles' width says how many follow.
    pub offset: usize,
}

/// Cosines and sines of some positions, shared by all layers of a pass.
#[derive(Debug, Clone)]
pub struct RopeAngles {
    half: usize,
    tokens: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeAngles {
    /// Room for `max_tokens` positions with `dim` rotated elements (even) a head.
    #[must_use]
    pub fn new(max_tokens: usize, dim: usize) -> Self {
        let half = dim / 2;
        Self {
            half,
            tokens: 0,
            cos: vec![0.0; max_tokens * half],
            sin: vec![0.0; max_tokens * half],
        }
    }

    /// Computes `factor · cos(p · f)` and `factor · sin(p · f)` for every position and frequency.
    ///
    /// The angle is a product in f32, as the reference computes it; its cosine is taken in f64.
    ///
    /// # Errors
    /// When there are more positions than room, or another number of frequencies than `dim / 2`.
    pub fn fill(
        &mut self,
        inv_freq: &[f32],
        factor: f32,
        positions: &[u32],
    ) -> Result<(), KernelError> {
        check_len("rope angles", "inv_freq", inv_freq.len(), self.half)?;
        let needed = positions.len() * self.half;
        if needed > self.cos.len() {
            return Err(KernelError::Scratch {
                op: "rope angles",
                what: "tokens",
                needed: positions.len(),
                capacity: self.cos.len().checked_div(self.half).unwrap_or(0),
            });
        }
        self.tokens = positions.len();
        let rows = self.cos.chunks_exact_mut(self.half.max(1));
        for ((cos, sin), &position) in rows
            .zip(self.sin.chunks_exact_mut(self.half.max(1)))
            .zip(positions)
        {
            for ((c, s), f) in cos.iter_mut().zip(sin).zip(inv_freq) {
                let (sine, cosine) = f64::from(position as f32 * f).sin_cos();
                *c = (f64::from(factor) * cosine) as f32;
                *s = (f64::from(factor) * sine) as f32;
            }
        }
        Ok(())
    }

    /// Positions that [`RopeAngles::fill`] was last given.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Rotated elements a head.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.half * 2
    }

    /// Cosines `[tokens, dim / 2]`.
    #[must_use]
    pub fn cos(&self) -> &[f32] {
        &self.cos[..self.tokens * self.half]
    }

    /// Sines `[tokens, dim / 2]`.
    #[must_use]
    pub fn sin(&self) -> &[f32] {
        &self.sin[..self.tokens * self.half]
    }
}

/// Rotates `x [t, heads, head_dim]` in place: pair `(a, b)` becomes
/// `(a·cos - b·sin, b·cos + a·sin)`. Elements outside `offset .. offset + angles.dim()` stay.
///
/// # Errors
/// When `x` doesn't hold `angles.tokens()` tokens, or the rotated part isn't inside a head.
pub fn rope(cpu: &Cpu, rope: &Rope, x: &mut [f32], angles: &RopeAngles) -> Result<(), KernelError> {
    let width = checked_product("rope", "heads and head_dim", &[rope.heads, rope.head_dim])?;
    let half = angles.half;
    let end = rope.offset.saturating_add(angles.dim());
    if end > rope.head_dim {
        return Err(KernelError::Parameter {
            op: "rope",
            parameter: "end of the rotated part",
            found: end,
            expected: "at most head_dim",
        });
    }
    if x.is_empty() && angles.tokens == 0 {
        return Ok(());
    }
    let t = check_rows("rope", "x", x.len(), width)?;
    check_len("rope", "x", x.len(), angles.tokens * width)?;
    if half == 0 {
        return Ok(());
    }
    let x = SharedMut::new(x);
    cpu.run_ranges(t, (16 * 1024usize).div_ceil(width), &|tokens| {
        for token in tokens {
            // SAFETY: each token belongs to one task.
            #[expect(unsafe_code, reason = "tasks write disjoint rows")]
            let row = unsafe { x.slice(token * width..(token + 1) * width) };
            let cos = &angles.cos[token * half..(token + 1) * half];
            let sin = &angles.sin[token * half..(token + 1) * half];
            let rope = *rope;
            dispatch(
                cpu.live(),
                Token {
                    rope,
                    row,
                    cos,
                    sin,
                },
            );
        }
    });
    Ok(())
}

/// All heads of one token.
struct Token<'a> {
    rope: Rope,
    row: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
}

impl Kernel for Token<'_> {
    type Out = ();

    /// Plain loops: the compiler vectorises them with the set that they are compiled for.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let rope = self.rope;
        for head in self.row.chunks_exact_mut(rope.head_dim) {
            let part = &mut head[rope.offset..rope.offset + 2 * self.cos.len()];
            match rope.layout {
                RopeLayout::Interleaved => rotate_interleaved(part, self.cos, self.sin),
                RopeLayout::HalfSplit => rotate_half(part, self.cos, self.sin),
            }
        }
    }
}

#[inline(always)]
fn rotate_interleaved(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    for ((pair, c), s) in x.chunks_exact_mut(2).zip(cos).zip(sin) {
        let (a, b) = (pair[0], pair[1]);
        pair[0] = a * c - b * s;
        pair[1] = b * c + a * s;
    }
}

#[inline(always)]
fn rotate_half(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = x.split_at_mut(cos.len());
    for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        let (x, y) = (*a, *b);
        *a = x * c - y * s;
        *b = y * c + x * s;
    }
}
