//! How a kernel is cut: typed, checked against the device, and enumerated.

use super::TARGET;
use super::shape::{Limits, Shape};
use crate::CodegenError;
use crate::targets::unsupported;

/// Lanes of a warp.
const LANES: u32 = 32;

/// The kernels that have a schedule of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kernel {
    /// Projections of queries, keys and values.
    Qkv,
    /// Attention's output projection.
    AttentionOutput,
    /// Logits of the experts.
    Router,
    /// Logits of the vocabulary.
    Head,
    /// Gate and up projections with SwiGLU.
    GateUp,
    /// Down projection with the experts' weighted sum.
    Down,
    /// RMS norm with the residual's sum.
    Norm,
    /// Rotation and the cache's new rows.
    Rope,
    /// Attention over the cache, and the combination of its parts.
    Attention,
    /// Choice of the experts.
    Route,
}

impl Kernel {
    /// Every kernel, in the order of `shape.h`.
    pub const ALL: &'static [Kernel] = &[
        Self::Qkv,
        Self::AttentionOutput,
        Self::Router,
        Self::Head,
        Self::GateUp,
        Self::Down,
        Self::Norm,
        Self::Rope,
        Self::Attention,
        Self::Route,
    ];

    /// The name of its type in `shape.h`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Qkv => "Qkv",
            Self::AttentionOutput => "AttentionOutput",
            Self::Router => "Router",
            Self::Head => "Head",
            Self::GateUp => "GateUp",
            Self::Down => "Down",
            Self::Norm => "Norm",
            Self::Rope => "Rope",
            Self::Attention => "Attention",
            Self::Route => "Route",
        }
    }

    /// `(rows, cols, bits)` of its matrix (of one of an expert's two for gate and up); `None` without one.
    #[must_use]
    pub fn matrix(self, s: &Shape) -> Option<(u32, u32, u32)> {
        let queries = s.n_heads * s.head_dim;
        match self {
            Self::Qkv => Some((
                queries + 2 * s.n_kv_heads * s.head_dim,
                s.dim,
                s.weight_bits,
            )),
            Self::AttentionOutput => Some((s.dim, queries, s.weight_bits)),
            Self::Router => Some((s.experts, s.dim, 16)),
            Self::Head => Some((s.vocab, s.dim, 16)),
            Self::GateUp => Some((s.hidden_dim, s.dim, s.weight_bits)),
            Self::Down => Some((s.dim, s.hidden_dim, s.weight_bits)),
            Self::Norm | Self::Rope | Self::Attention | Self::Route => None,
        }
    }
}

/// The type that sums are kept in. There is none narrower than float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Accumulate {
    /// `float`.
    #[default]
    F32,
    /// `double`, to tell rounding from mistakes; never proposed.
    F64,
}

impl Accumulate {
    /// The type in C++.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float",
            Self::F64 => "double",
        }
    }

    fn bytes(self) -> u32 {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// How one kernel is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Schedule {
    /// Threads of a block.
    pub threads: u32,
    /// Rows (pairs of rows for gate and up) that a warp computes together; query heads that share one read of
    /// keys in attention; 1 elsewhere.
    pub rows_a_warp: u32,
    /// Bytes that a lane reads at once.
    pub vector_bytes: u32,
    /// Reads in flight.
    pub unroll: u32,
    /// Warps that share a row; blocks that share a cache in attention; 1 elsewhere.
    pub split: u32,
    /// The type of sums.
    pub accumulate: Accumulate,
}

impl Schedule {
    /// Shared memory of one block, in bytes.
    #[must_use]
    pub fn shared_bytes(&self, kernel: Kernel, s: &Shape) -> u32 {
        let sum = self.accumulate.bytes();
        match kernel {
            Kernel::Norm => self.threads / LANES * sum,
            Kernel::Rope => 0,
            Kernel::Route => s.max_tokens * s.experts_per_token * 4,
            Kernel::Attention => {
                let teams = self.threads / (s.head_dim * 2 / self.vector_bytes).max(1);
                teams * self.rows_a_warp * (s.head_dim + 2) * sum
            }
            _ => {
                let cols = kernel.matrix(s).map_or(0, |(_, cols, _)| cols);
                let parts = if self.split > 1 {
                    self.threads / LANES * self.rows(kernel) * sum
                } else {
                    0
                };
                cols.div_ceil(32) * 64 + parts
            }
        }
    }

    fn rows(&self, kernel: Kernel) -> u32 {
        self.rows_a_warp * if kernel == Kernel::GateUp { 2 } else { 1 }
    }

    /// About how many registers a thread needs: what it keeps, and room for addresses. The compiler's own
    /// figure is in the verdict.
    #[must_use]
    pub fn registers(&self, kernel: Kernel, s: &Shape) -> u32 {
        let sum = self.accumulate.bytes() / 4;
        let words = self.vector_bytes / 4;
        match kernel {
            Kernel::Norm => 24 + s.dim.div_ceil(self.threads),
            Kernel::Attention => {
                let width = self.vector_bytes / 2;
                // Of each head its query, its output and its running sums; heads are unrolled, so that their
                // scores of all reads are kept beside each other.
                32 + self.rows_a_warp * (width * (1 + sum) + 3 * sum + self.unroll)
                    + 2 * self.unroll * words
            }
            Kernel::Rope => 32,
            Kernel::Route => 32 + s.experts.div_ceil(LANES) + s.experts_per_token,
            _ => {
                let bits = kernel.matrix(s).map_or(16, |(_, _, bits)| bits);
                let scale = u32::from(bits == 4);
                let rows = self.rows(kernel);
                32 + self.vector_bytes * 8 / bits
                    + rows * (self.unroll * (words + scale) + 4 + 2 * sum)
            }
        }
    }

    /// Checks it against the kernel's rules and the device.
    ///
    /// # Errors
    /// [`CodegenError::Unsupported`] with the schedule's field.
    pub fn validate(&self, kernel: Kernel, s: &Shape, limits: &Limits) -> Result<(), CodegenError> {
        let bad =
            |field, found: u32, expected: &str| Err(unsupported(TARGET, field, found, expected));
        let whole_warps = self.threads.is_multiple_of(LANES) && self.threads > 0;
        if !whole_warps || self.threads > limits.threads_a_block {
            return bad(
                "schedule.threads",
                self.threads,
                "whole warps, at most a block's threads",
            );
        }
        if !matches!(self.vector_bytes, 4 | 8 | 16) {
            return bad("schedule.vector_bytes", self.vector_bytes, "4, 8 or 16");
        }
        if !(1..=16).contains(&self.unroll) || !(1..=16).contains(&self.rows_a_warp) {
            return bad(
                "schedule.unroll",
                self.unroll,
                "unroll and rows_a_warp from 1 to 16",
            );
        }
        match kernel {
            Kernel::Attention => {
                let lanes = s.head_dim * 2 / self.vector_bytes;
                if !(1..=LANES).contains(&lanes)
                    || !(s.n_heads / s.n_kv_heads).is_multiple_of(self.rows_a_warp)
                {
                    return bad(
                        "schedule.rows_a_warp",
                        self.rows_a_warp,
                        "a divisor of the heads that share keys, and a head within a warp",
                    );
                }
                if !(1..=256).contains(&self.split) {
                    return bad("schedule.split", self.split, "1 to 256");
                }
            }
            _ if kernel.matrix(s).is_some() => {
                let (_, cols, bits) = kernel.matrix(s).expect("just seen");
                let width = self.vector_bytes * 8 / bits;
                if !cols.is_multiple_of(width) || !cols.is_multiple_of(8) {
                    return bad(
                        "schedule.vector_bytes",
                        self.vector_bytes,
                        "a divisor of the row",
                    );
                }
                if self.split == 0 || !(self.threads / LANES).is_multiple_of(self.split) {
                    return bad(
                        "schedule.split",
                        self.split,
                        "a divisor of the block's warps",
                    );
                }
            }
            _ => {
                if self.rows_a_warp != 1 || self.split != 1 {
                    return bad("schedule.split", self.split, "1: this kernel isn't split");
                }
                if kernel == Kernel::Norm && !s.dim.is_multiple_of(self.vector_bytes / 4) {
                    return bad(
                        "schedule.vector_bytes",
                        self.vector_bytes,
                        "a divisor of the row",
                    );
                }
            }
        }
        let shared = self.shared_bytes(kernel, s);
        if shared > limits.shared_a_block {
            return bad("schedule's shared memory", shared, "at most a block's");
        }
        let most = limits
            .registers_a_thread
            .min(limits.registers / self.threads);
        if self.registers(kernel, s) > most {
            return bad(
                "schedule's registers",
                self.registers(kernel, s),
                "at most a thread's",
            );
        }
        Ok(())
    }
}

/// Every valid schedule of a kernel, in a fixed order; sums are float.
#[must_use]
pub fn schedules(kernel: Kernel, shape: &Shape, limits: &Limits) -> Vec<Schedule> {
    let product = kernel.matrix(shape).is_some();
    let (rows, unrolls, splits, vectors): (&[u32], &[u32], &[u32], &[u32]) = match kernel {
        Kernel::Attention => (
            &[1, 2, 3, 4, 6, 8, 12, 16],
            &[1, 2, 4, 8],
            &[1, 2, 4, 8, 16, 32, 64, 128],
            &[4, 8, 16],
        ),
        _ if product => (&[1, 2, 4, 8], &[1, 2, 4, 8], &[1, 2, 4, 8], &[4, 8, 16]),
        Kernel::Norm => (&[1], &[1], &[1], &[4, 8, 16]),
        _ => (&[1], &[1], &[1], &[4]),
    };
    let mut found = Vec::new();
    for &threads in &[32, 64, 128, 256, 512, 1024] {
        for &rows_a_warp in rows {
            for &vector_bytes in vectors {
                for &unroll in unrolls {
                    for &split in splits {
                        let one = Schedule {
                            threads,
                            rows_a_warp,
                            vector_bytes,
                            unroll,
                            split,
                            accumulate: Accumulate::F32,
                        };
                        if one.validate(kernel, shape, limits).is_ok() {
                            found.push(one);
                        }
                    }
                }
            }
        }
    }
    found
}

/// The schedule that is taken without a measurement: the valid one nearest to what usually serves the class of
/// device; `None` when there is no valid one.
#[must_use]
pub fn default_schedule(kernel: Kernel, shape: &Shape, limits: &Limits) -> Option<Schedule> {
    let wide = limits.datacenter;
    let wish = |threads, rows_a_warp, unroll, split| Schedule {
        threads,
        rows_a_warp,
        vector_bytes: 16,
        unroll,
        split,
        accumulate: Accumulate::F32,
    };
    let wished = match kernel {
        Kernel::Qkv | Kernel::AttentionOutput => wish(128, 2, 2, if wide { 2 } else { 1 }),
        Kernel::Head => wish(256, 2, 2, 1),
        Kernel::Router => wish(128, 1, 1, 4),
        Kernel::GateUp => wish(128, 1, 2, if wide { 2 } else { 1 }),
        Kernel::Down => wish(128, 2, 2, 4),
        Kernel::Norm => wish(if wide { 512 } else { 256 }, 1, 1, 1),
        Kernel::Rope => wish(256, 1, 1, 1),
        Kernel::Attention => wish(128, 4, 2, if wide { 32 } else { 8 }),
        Kernel::Route => wish(128, 1, 1, 1),
    };
    let distance = |a: u32, b: u32| a.ilog2().abs_diff(b.ilog2());
    schedules(kernel, shape, limits)
        .into_iter()
        .min_by_key(|s| {
            distance(s.threads, wished.threads)
                + distance(s.rows_a_warp, wished.rows_a_warp)
                + distance(s.vector_bytes, wished.vector_bytes)
                + distance(s.unroll, wished.unroll)
                + distance(s.split, wished.split)
        })
}
