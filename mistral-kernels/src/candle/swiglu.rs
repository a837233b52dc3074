//! Gated activation.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::access::{expect_f32, failed, output, values};
use super::gradient::gradients;
use crate::Cpu;

const OP: &str = "swiglu";

/// `silu(gate) · up`, elementwise, see [`swiglu`](crate::swiglu()).
///
/// # Errors
/// When the shapes differ, or an input isn't f32.
pub fn swiglu(cpu: &Arc<Cpu>, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    expect_f32(OP, "gate", gate)?;
    expect_f32(OP, "up", up)?;
    if gate.dims() != up.dims() {
        candle_core::bail!(
            "{OP}: up has shape {:?}, expected {:?}",
            up.dims(),
            gate.dims()
        );
    }
    gate.contiguous()?
        .apply_op2(&up.contiguous()?, SwiGlu { cpu: cpu.clone() })
}

struct SwiGlu {
    cpu: Arc<Cpu>,
}

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (values(OP, gate, gate_layout)?, values(OP, up, up_layout)?);
        let mut out = vec![0.0; gate.len()];
        crate::swiglu(&self.cpu, gate, up, &mut out).map_err(failed)?;
        Ok(output(out, gate_layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [gate, up] = gradients([gate, up], grad, |[gate, up]| gate.silu()? * up)?;
        Ok((gate, up))
    }
}
