//! Product with a weight.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};

use super::access::{expect_f32, failed, output, values, weights, width};
use super::gradient::gradients;
use crate::{Cpu, LinearScratch, Matrix};

const OP: &str = "linear";

/// `y [.., rows] = x [.., cols] · Wᵀ` for `w [rows, cols]` in f32, f16 or bf16, see
/// [`linear`](crate::linear()).
///
/// # Errors
/// When the shapes don't fit, or `x` isn't f32.
pub fn linear(cpu: &Arc<Cpu>, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    expect_f32(OP, "x", x)?;
    let (rows, cols) = w.dims2()?;
    let found = width(OP, "x", x)?;
    if found != cols {
        candle_core::bail!("{OP}: x has {found} columns, expected {cols}");
    }
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(rows);
    let op = Linear {
        cpu: cpu.clone(),
        rows,
        cols,
    };
    let x = x.reshape(((), cols))?.contiguous()?;
    x.apply_op2(&w.contiguous()?, op)?.reshape(shape)
}

struct Linear {
    cpu: Arc<Cpu>,
    rows: usize,
    cols: usize,
}

impl CustomOp2 for Linear {
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
        let x = values(OP, x, x_layout)?;
        let w = weights(OP, w, w_layout)?;
        let w = Matrix::new(self.rows, self.cols, w).map_err(failed)?;
        let tokens = x.len() / self.cols;
        let mut y = vec![0.0; tokens * self.rows];
        let mut scratch = LinearScratch::new(self.cpu.threads(), tokens, self.cols);
        crate::linear(&self.cpu, &w, x, &mut y, &mut scratch).map_err(failed)?;
        Ok(output(y, (tokens, self.rows)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [x, w] = gradients([x, w], grad, |[x, w]| {
            x.matmul(&w.to_dtype(DType::F32)?.t()?)
        })?;
        Ok((x, w))
    }
}
