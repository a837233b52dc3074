//! Rows of a tensor, rounded by several threads.

use half::{bf16, f16};
use mistral_core::precision::Format;
use mistral_kernels::{KernelError, dequantize, quantize};

use super::plan::RowOrder;
use crate::error::InferError;
use crate::weights::Tensor;

/// Weights that one thread takes at a time: enough to make starting it cheap.
const CHUNK: usize = 1 << 20;

/// What rounding did to weights `x`, which became `y`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Squares {
    /// Sum of `(y - x)²`.
    pub(super) error: f64,
    /// Sum of `x²`.
    pub(super) all: f64,
    /// Sum of `x² (y - x)²`.
    pub(super) weighted_error: f64,
    /// Sum of `x⁴`.
    pub(super) weighted_all: f64,
}

impl Squares {
    pub(super) fn add(&mut self, other: Squares) {
        self.error += other.error;
        self.all += other.all;
        self.weighted_error += other.weighted_error;
        self.weighted_all += other.weighted_all;
    }

    fn of(x: &[f32], y: &[f32]) -> Squares {
        let mut sums = Squares::default();
        for (x, y) in x.iter().zip(y) {
            let (x, y) = (f64::from(*x), f64::from(*y));
            let (square, off) = (x * x, (y - x) * (y - x));
            sums.error += off;
            sums.all += square;
            sums.weighted_error += square * off;
            sums.weighted_all += square * square;
        }
        sums
    }
}

/// A tensor of the model on its way into a format.
#[derive(Clone, Copy)]
pub(super) struct Rounding<'a> {
    pub(super) tensor: &'a Tensor,
    pub(super) format: Format,
    pub(super) order: RowOrder,
}

impl Rounding<'_> {
    /// Rounds all rows, `threads` chunks of them at a time, and hands their bytes to `write` in
    /// order.
    pub(super) fn run(
        &self,
        threads: usize,
        write: &mut dyn FnMut(&[u8]) -> Result<(), InferError>,
    ) -> Result<Squares, InferError> {
        let cols = self.tensor.shape().last().copied().unwrap_or(1);
        let rows = self.tensor.data().len() / cols.max(1);
        let step = (CHUNK / cols.max(1)).clamp(1, rows.max(1));
        let mut sums = Squares::default();
        let mut start = 0;
        while start < rows {
            let chunks: Vec<_> = (0..threads.max(1))
                .map(|i| start + i * step)
                .filter(|first| *first < rows)
                .map(|first| first..(first + step).min(rows))
                .collect();
            start = chunks.last().map_or(rows, |last| last.end);
            let done: Vec<_> = std::thread::scope(|scope| {
                let tasks: Vec<_> = (chunks.into_iter())
                    .map(|rows| scope.spawn(move || self.chunk(rows, cols)))
                    .collect();
                tasks
                    .into_iter()
                    .map(|task| task.join().expect("rounding doesn't panic"))
                    .collect()
            });
            for result in done {
                let (bytes, squares) = result?;
                write(&bytes)?;
                sums.add(squares);
            }
        }
        Ok(sums)
    }

    fn chunk(
        &self,
        rows: std::ops::Range<usize>,
        cols: usize,
    ) -> Result<(Vec<u8>, Squares), KernelError> {
        let data = self.tensor.data();
        let mut x = vec![0.0; rows.len() * cols];
        match self.order {
            RowOrder::Same => data.widen(rows.start * cols, &mut x),
            order => {
                for (row, x) in rows.clone().zip(x.chunks_exact_mut(cols)) {
                    data.widen(order.source(row) * cols, x);
                }
            }
        }
        let bytes = round(self.format, &x)?;
        let mut y = vec![0.0; x.len()];
        widen(self.format, &bytes, &mut y)?;
        Ok((bytes, Squares::of(&x, &y)))
    }
}

/// Weights in a format: floats, or blocks that kernels read.
fn round(format: Format, x: &[f32]) -> Result<Vec<u8>, KernelError> {
    if let Some(index) = x.iter().position(|x| !x.is_finite()) {
        return Err(KernelError::NonFiniteWeight {
            index,
            value: x[index],
        });
    }
    match format {
        Format::F32 => Ok(x.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Format::Bf16 => {
            let halves = x.iter().map(|x| bf16::from_f32(*x));
            Ok(halves.flat_map(bf16::to_le_bytes).collect())
        }
        Format::F16 => {
            let halves: Vec<f16> = x.iter().map(|x| f16::from_f32(*x)).collect();
            match halves.iter().position(|h| !h.is_finite()) {
                Some(index) => Err(KernelError::WeightRange {
                    format,
                    index,
                    value: x[index],
                }),
                None => Ok(halves.into_iter().flat_map(f16::to_le_bytes).collect()),
            }
        }
        _ => {
            let bytes = format.bytes(x.len()).unwrap_or(0);
            let mut out = vec![0; bytes];
            quantize(format, x, &mut out)?;
            Ok(out)
        }
    }
}

fn widen(format: Format, bytes: &[u8], out: &mut [f32]) -> Result<(), KernelError> {
    match format {
        Format::F32 => {
            for (y, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *y = f32::from_le_bytes(*b);
            }
        }
        Format::Bf16 => {
            for (y, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *y = bf16::from_le_bytes(*b).to_f32();
            }
        }
        Format::F16 => {
            for (y, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *y = f16::from_le_bytes(*b).to_f32();
            }
        }
        _ => dequantize(format, bytes, out)?,
    }
    Ok(())
}
