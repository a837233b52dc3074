//! Rotary position embedding.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

use super::access::{expect_f32, failed, output, values};
use crate::{Cpu, Rope, RopeAngles, RopeLayout};

const OP: &str = "rope";

/// Rotates `x [b, t, heads, head_dim]`: in each head the `angles.dim()` elements from `offset` on,
/// paired as `layout` says, see [`rope`](crate::rope()).
///
/// The angles are constants: no gradient reaches them.
///
/// # Errors
/// When `angles` weren't filled for `t` positions or don't fit the head, or `x` isn't f32.
pub fn rope(
    cpu: &Arc<Cpu>,
    x: &Tensor,
    layout: RopeLayout,
    offset: usize,
    angles: &Arc<RopeAngles>,
) -> Result<Tensor> {
    expect_f32(OP, "x", x)?;
    let (_, t, heads, head_dim) = x.dims4()?;
    if angles.tokens() != t {
        candle_core::bail!("{OP}: x has {t} tokens, expected {}", angles.tokens());
    }
    let rope = Rope {
        layout,
        heads,
        head_dim,
        offset,
    };
    x.contiguous()?.apply_op1(Rotation {
        cpu: cpu.clone(),
        rope,
        angles: angles.clone(),
    })
}

struct Rotation {
    cpu: Arc<Cpu>,
    rope: Rope,
    angles: Arc<RopeAngles>,
}

impl CustomOp1 for Rotation {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = values(OP, x, layout)?.to_vec();
        let sequence = self.angles.tokens() * self.rope.heads * self.rope.head_dim;
        if sequence > 0 {
            for x in out.chunks_exact_mut(sequence) {
                crate::rope(&self.cpu, &self.rope, x, &self.angles).map_err(failed)?;
            }
        }
        Ok(output(out, layout.shape().clone()))
    }

    /// The transpose of a rotation (and of its factor) turns back: `(a·cos + b·sin, b·cos - a·sin)`.
    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (b, t, heads, head_dim) = x.dims4()?;
        let (offset, dim) = (self.rope.offset, self.angles.dim());
        let half = dim / 2;
        let table = |v: &[f32]| Tensor::from_slice(v, (1, t, 1, half), x.device());
        let (cos, sin) = (table(self.angles.cos())?, table(self.angles.sin())?);
        let turn_back = |a: &Tensor, b: &Tensor| -> Result<(Tensor, Tensor)> {
            let first = (a.broadcast_mul(&cos)? + b.broadcast_mul(&sin)?)?;
            let second = (b.broadcast_mul(&cos)? - a.broadcast_mul(&sin)?)?;
            Ok((first, second))
        };
        let part = grad.narrow(D::Minus1, offset, dim)?;
        let turned = match self.rope.layout {
            RopeLayout::HalfSplit => {
                let (a, b) = (part.narrow(3, 0, half)?, part.narrow(3, half, half)?);
                let (a, b) = turn_back(&a, &b)?;
                Tensor::cat(&[a, b], 3)?
            }
            RopeLayout::Interleaved => {
                let pairs = part.contiguous()?.reshape((b, t, heads, half, 2))?;
                let side = |i| pairs.narrow(4, i, 1)?.squeeze(4);
                let (a, b_side) = turn_back(&side(0)?, &side(1)?)?;
                Tensor::stack(&[a, b_side], 4)?.reshape((b, t, heads, dim))?
            }
        };
        let before = grad.narrow(3, 0, offset)?;
        let after = grad.narrow(3, offset + dim, head_dim - offset - dim)?;
        Ok(Some(
            Tensor::cat(&[before, turned, after], 3)?.contiguous()?,
        ))
    }
}
