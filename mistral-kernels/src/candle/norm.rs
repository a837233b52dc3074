//! Root-mean-square norm.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};

use super::access::{expect_f32, failed, output, values, width};
use super::gradient::gradients;
use crate::Cpu;

const OP: &str = "rms_norm";

/// `x / sqrt(mean(x²) + eps) · w` over the last dimension of `x [.., dim]`, `w [dim]`, see
/// [`rms_norm`](crate::rms_norm).
///
/// # Errors
/// When the shapes don't fit, or an input isn't f32.
pub fn rms_norm(cpu: &Arc<Cpu>, x: &Tensor, w: &Tensor, eps: f32) -> Result<Tensor> {
    expect_f32(OP, "x", x)?;
    expect_f32(OP, "w", w)?;
    let (dim, found) = (w.dims1()?, width(OP, "x", x)?);
    if found != dim {
        candle_core::bail!("{OP}: x has {found} columns, expected {dim}");
    }
    let op = RmsNorm {
        cpu: cpu.clone(),
        eps,
    };
    x.contiguous()?.apply_op2(&w.contiguous()?, op)
}

struct RmsNorm {
    cpu: Arc<Cpu>,
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (values(OP, x, x_layout)?, values(OP, w, w_layout)?);
        let mut out = vec![0.0; x.len()];
        crate::rms_norm(&self.cpu, x, w, self.eps, &mut out).map_err(failed)?;
        Ok(output(out, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [x, w] = gradients([x, w], grad, |[x, w]| {
            let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
            let inverse = (mean_square + f64::from(self.eps))?.sqrt()?.recip()?;
            x.broadcast_mul(&inverse)?.broadcast_mul(w)
        })?;
        Ok((x, w))
    }
}
