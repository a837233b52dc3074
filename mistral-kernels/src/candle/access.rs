//! Slices of tensors on the CPU.

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Tensor};

use crate::{KernelError, WeightData};

/// The kernel's error as candle's.
pub(super) fn failed(error: KernelError) -> candle_core::Error {
    candle_core::Error::wrap(error)
}

/// Fails unless `x` is f32.
pub(super) fn expect_f32(op: &'static str, name: &'static str, x: &Tensor) -> Result<()> {
    match x.dtype() {
        DType::F32 => Ok(()),
        found => candle_core::bail!("{op}: {name} is {found:?}, expected F32"),
    }
}

/// The elements of a contiguous f32 tensor.
pub(super) fn values<'a>(
    op: &'static str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [f32]> {
    let (start, end) = range(op, layout)?;
    match storage {
        CpuStorage::F32(v) => Ok(&v[start..end]),
        _ => candle_core::bail!("{op}: expected elements of F32"),
    }
}

/// The elements of a contiguous tensor of weights.
pub(super) fn weights<'a>(
    op: &'static str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<WeightData<'a>> {
    let (start, end) = range(op, layout)?;
    match storage {
        CpuStorage::F32(v) => Ok(WeightData::F32(&v[start..end])),
        CpuStorage::F16(v) => Ok(WeightData::F16(&v[start..end])),
        CpuStorage::BF16(v) => Ok(WeightData::Bf16(&v[start..end])),
        _ => candle_core::bail!("{op}: expected weights of F32, F16 or BF16"),
    }
}

fn range(op: &'static str, layout: &Layout) -> Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some(range) => Ok(range),
        None => candle_core::bail!("{op}: expected a contiguous tensor"),
    }
}

/// What a custom op returns.
pub(super) fn output(values: Vec<f32>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), shape.into())
}

/// The last dimension of `x`.
pub(super) fn width(op: &'static str, name: &'static str, x: &Tensor) -> Result<usize> {
    match x.dims().last() {
        Some(&width) if width > 0 => Ok(width),
        _ => candle_core::bail!(
            "{op}: {name} has shape {:?}, expected a last dimension",
            x.dims()
        ),
    }
}
