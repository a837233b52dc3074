//! The products of a layer with random weights, run by a schedule.

use std::error::Error;

use mistral_core::precision::Format;
use mistral_core::schedule::Schedule;
use mistral_kernels::testkit::values::uniform;
use mistral_kernels::{
    Blocks, Cpu, KernelError, LinearScratch, Matrix, WeightData, dequantize, linear, quantize,
};

/// Rows that are quantised once; a matrix repeats them.
const DISTINCT_ROWS: usize = 64;

/// A matrix of a layer: `count` of them are read for each token or group of tokens.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) count: usize,
}

/// Layers of a model, on a thread pool whose schedule can be changed.
pub(crate) struct Products {
    shapes: Vec<Shape>,
    tokens: usize,
    format: Format,
    /// By layer, by shape, by copy.
    weights: Vec<Vec<Vec<Vec<u8>>>>,
    cpu: Cpu,
    scratch: LinearScratch,
}

impl Products {
    /// `layers` should take more bytes than caches hold where a whole model would.
    pub(crate) fn new(
        shapes: &[Shape],
        (layers, tokens): (usize, usize),
        format: Format,
        threads: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let mut weights = Vec::new();
        for layer in 0..layers {
            let mut of_layer = Vec::new();
            for (i, shape) in shapes.iter().enumerate() {
                let seed = (layer * 100 + i) as u64;
                let copy = matrix(seed, shape, format)?;
                of_layer.push(vec![copy; shape.count]);
            }
            weights.push(of_layer);
        }
        let widest = shapes.iter().map(|s| s.cols).max().unwrap_or(1);
        Ok(Self {
            shapes: shapes.to_vec(),
            tokens,
            format,
            weights,
            cpu: Cpu::new(threads),
            scratch: LinearScratch::new(threads, tokens, widest),
        })
    }

    /// The instruction set.
    pub(crate) fn isa(&self) -> String {
        self.cpu.isa().to_string()
    }

    /// What is used without a search.
    pub(crate) fn usual(&self) -> Schedule {
        *self.cpu.schedule()
    }

    /// Inputs that a run reads: those of each shape after one another.
    pub(crate) fn inputs(&self) -> usize {
        self.shapes.iter().map(|s| s.cols * self.tokens).sum()
    }

    /// Outputs that a run writes.
    pub(crate) fn outputs(&self) -> usize {
        let each = |s: &Shape| s.rows * s.count * self.tokens;
        self.weights.len() * self.shapes.iter().map(each).sum::<usize>()
    }

    /// Changes how work is cut and fetched; a schedule outside of its ranges changes nothing.
    pub(crate) fn follow(&mut self, schedule: Schedule) -> Result<(), KernelError> {
        self.cpu.set_schedule(schedule)
    }

    /// All products of all layers, each layer with the same inputs.
    pub(crate) fn run(&mut self, x: &[f32], y: &mut [f32]) {
        let mut y = y;
        for layer in &self.weights {
            let mut x = x;
            for (shape, copies) in self.shapes.iter().zip(layer) {
                let (own, rest) = x.split_at(shape.cols * self.tokens);
                x = rest;
                for bytes in copies {
                    let (out, rest) = y.split_at_mut(shape.rows * self.tokens);
                    y = rest;
                    let w = view(bytes, shape, self.format);
                    linear(&self.cpu, &w, own, out, &mut self.scratch).expect("the shapes fit");
                }
            }
        }
    }

    /// Some outputs of the first layer by their definition in f64, with the sum of the magnitudes of their products: of
    /// the first and last token, every 97th row.
    pub(crate) fn sampled(&self, x: &[f32]) -> Vec<(usize, f64, f64)> {
        let mut sampled = Vec::new();
        let (mut from, mut to) = (0, 0);
        for (shape, copies) in self.shapes.iter().zip(&self.weights[0]) {
            let mut row = vec![0.0; shape.cols];
            for bytes in copies {
                let size = bytes.len() / shape.rows;
                for r in (0..shape.rows).step_by(97) {
                    dequantize(self.format, &bytes[r * size..(r + 1) * size], &mut row)
                        .expect("whole blocks");
                    for t in [0, self.tokens - 1] {
                        let x = &x[from + t * shape.cols..][..shape.cols];
                        let products = || {
                            row.iter()
                                .zip(x)
                                .map(|(w, x)| f64::from(*w) * f64::from(*x))
                        };
                        let magnitude = products().map(f64::abs).sum();
                        sampled.push((to + t * shape.rows + r, products().sum(), magnitude));
                    }
                }
                to += shape.rows * self.tokens;
            }
            from += shape.cols * self.tokens;
        }
        sampled
    }
}

fn view<'a>(bytes: &'a [u8], shape: &Shape, format: Format) -> Matrix<'a> {
    let blocks = Blocks::new(format, bytes).expect("quantised whole");
    Matrix::new(shape.rows, shape.cols, WeightData::Blocks(blocks)).expect("the length fits")
}

/// A matrix of weights as wide as trained ones are.
fn matrix(seed: u64, shape: &Shape, format: Format) -> Result<Vec<u8>, Box<dyn Error>> {
    let values = uniform(seed, DISTINCT_ROWS * shape.cols, 0.05);
    let block = format.block();
    let mut part = vec![0; values.len() / block.items * block.bytes];
    quantize(format, &values, &mut part)?;
    let size = part.len() / DISTINCT_ROWS * shape.rows;
    Ok(part.iter().copied().cycle().take(size).collect())
}
