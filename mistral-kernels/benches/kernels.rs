//! Speed of the operations, by hand: `cargo bench -p mistral-kernels -- [FILTER] [--threads N]`.
//!
//! Each line is `id  best  median` in the unit that follows; a plain read of memory by the same
//! threads stands above them, since the memory's speed changes with the host.

use std::hint::black_box;
use std::time::Instant;

use mistral_kernels::testkit::values::{Weights, blocks, uniform};
use mistral_kernels::{
    Attention, AttentionScratch, BLOCK_FORMATS, Blocks, CacheBuffer, CacheShape, CacheType, Cpu,
    ExpertWeights, Experts, ExpertsScratch, Isa, KvCache, LinearScratch, Matrix, Router, Routing,
    WeightData, append, attention, experts, linear, route,
};

struct Bench {
    filter: String,
    threads: usize,
    isas: Vec<Isa>,
    /// Plain read in this run, GB/s.
    read: f64,
}

fn main() {
    let mut bench = Bench {
        filter: String::new(),
        threads: 1,
        isas: vec![Isa::best()],
        read: 0.0,
    };
    // Tests start this program too, without `--bench`.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {}
            "--threads" => bench.threads = args.next().and_then(|n| n.parse().ok()).unwrap_or(1),
            "--all-isas" => bench.isas = Isa::ALL.to_vec(),
            other => bench.filter = other.to_owned(),
        }
    }
    bench.read = bench.plain_read();
    println!(
        "plain read, {} threads: {:.1} GB/s",
        bench.threads, bench.read
    );
    for isa in bench.isas.clone() {
        let Ok(cpu) = Cpu::with_isa(bench.threads, isa) else {
            continue;
        };
        bench.linear(&cpu);
        bench.blocks(&cpu);
        bench.decode(&cpu);
        bench.attention(&cpu);
        bench.experts(&cpu);
    }
}

impl Bench {
    fn plain_read(&self) -> f64 {
        let data = vec![1u64; 256 << 20 >> 3];
        let mut best = 0.0f64;
        for _ in 0..12 {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for part in data.chunks(data.len() / self.threads) {
                    scope.spawn(move || black_box(part.iter().fold(0u64, |a, b| a ^ b)));
                }
            });
            best = best.max((data.len() * 8) as f64 / start.elapsed().as_secs_f64() / 1e9);
        }
        best
    }

    /// Times `work`, which does `operations` and reads `bytes`.
    fn run(&self, id: &str, operations: f64, bytes: f64, mut work: impl FnMut()) {
        if !id.contains(&self.filter) {
            return;
        }
        work();
        let mut times = Vec::new();
        let begin = Instant::now();
        while times.len() < 5 || (begin.elapsed().as_secs_f64() < 0.6 && times.len() < 200) {
            let start = Instant::now();
            work();
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let (best, median) = (times[0], times[times.len() / 2]);
        println!(
            "{id}: {:.1} us, {:.1} GFLOP/s (median {:.1}), {:.1} GB/s = {:.0} % of read (median {:.0} %)",
            best * 1e6,
            operations / best / 1e9,
            operations / median / 1e9,
            bytes / best / 1e9,
            100.0 * bytes / best / 1e9 / self.read,
            100.0 * bytes / median / 1e9 / self.read,
        );
    }

    fn linear(&self, cpu: &Cpu) {
        let shapes = [(4096, 4096), (1024, 1024), (2816, 1024)];
        for (rows, cols) in shapes {
            let values = uniform(1, rows * cols, 0.1);
            for weights in Weights::all(&values) {
                let w = Matrix::new(rows, cols, weights.data()).expect("the length fits");
                for t in [1, 2, 4, 8, 16, 64, 512] {
                    let id = format!(
                        "linear/{}/t{t}_n{rows}_k{cols}/{}",
                        weights.name(),
                        cpu.isa()
                    );
                    if !id.contains(&self.filter) {
                        continue;
                    }
                    let x = uniform(2, t * cols, 1.0);
                    let mut y = vec![0.0; t * rows];
                    let mut scratch = LinearScratch::new(cpu.threads(), t, cols);
                    let operations = 2.0 * (t * rows * cols) as f64;
                    let bytes = w.data().bytes() as f64;
                    self.run(&id, operations, bytes, || {
                        linear(cpu, &w, &x, &mut y, &mut scratch).expect("the shapes fit");
                    });
                }
            }
        }
    }

    /// One token through the products of a layer's sizes, one after the other, as decoding does.
    fn decode(&self, cpu: &Cpu) {
        for format in BLOCK_FORMATS {
            for (count, rows, cols) in [(32, 4096, 4096), (9, 14336, 4096), (9, 4096, 14336)] {
                let id = format!(
                    "decode/{}/{count}x_n{rows}_k{cols}/{}",
                    format.name(),
                    cpu.isa()
                );
                if !id.contains(&self.filter) {
                    continue;
                }
                let bytes = blocks(1, format, count * rows * cols);
                let each = bytes.len() / count;
                let matrices: Vec<Matrix<'_>> = bytes
                    .chunks_exact(each)
                    .map(|bytes| {
                        let blocks = Blocks::new(format, bytes).expect("whole blocks");
                        Matrix::new(rows, cols, WeightData::Blocks(blocks)).expect("it fits")
                    })
                    .collect();
                let x = uniform(2, cols, 1.0);
                let mut y = vec![0.0; rows];
                let mut scratch = LinearScratch::new(cpu.threads(), 1, cols);
                let operations = 2.0 * (count * rows * cols) as f64;
                self.run(&id, operations, bytes.len() as f64, || {
                    for w in &matrices {
                        linear(cpu, w, &x, &mut y, &mut scratch).expect("the shapes fit");
                    }
                });
            }
        }
    }

    /// Weights in blocks: more than caches hold for few tokens, a layer's for many.
    fn blocks(&self, cpu: &Cpu) {
        for format in BLOCK_FORMATS {
            for (t, rows) in [1, 2, 4, 8, 16].map(|t| (t, 131_072)).into_iter().chain([
                // What a second-level cache holds: the kernel without the memory.
                (1, 256),
                (8, 256),
                (64, 4096),
                (128, 4096),
                (512, 4096),
            ]) {
                let cols = 4096;
                let id = format!(
                    "linear/{}/t{t}_n{rows}_k{cols}/{}",
                    format.name(),
                    cpu.isa()
                );
                if !id.contains(&self.filter) {
                    continue;
                }
                let bytes = blocks(1, format, rows * cols);
                let data = WeightData::Blocks(Blocks::new(format, &bytes).expect("whole blocks"));
                let w = Matrix::new(rows, cols, data).expect("the length fits");
                let x = uniform(2, t * cols, 1.0);
                let mut y = vec![0.0; t * rows];
                let mut scratch = LinearScratch::new(cpu.threads(), t, cols);
                let operations = 2.0 * (t * rows * cols) as f64;
                self.run(&id, operations, bytes.len() as f64, || {
                    linear(cpu, &w, &x, &mut y, &mut scratch).expect("the shapes fit");
                });
            }
        }
    }

    fn attention(&self, cpu: &Cpu) {
        let (heads, kv, d) = (32, 8, 128);
        for kind in CacheType::ALL {
            for (t, past) in [(1, 511), (1, 8191), (512, 0), (2048, 0), (128, 1920)] {
                let id = format!(
                    "attention/{}/t{t}_p{past}_h{heads}_kv{kv}_d{d}/{}",
                    kind.name(),
                    cpu.isa()
                );
                if !id.contains(&self.filter) {
                    continue;
                }
                let total = past + t;
                let shape = CacheShape {
                    heads: kv,
                    capacity: total,
                    width: d,
                };
                let filled = |seed| {
                    let mut side = CacheBuffer::new(kind, &shape).expect("it fits");
                    let rows = uniform(seed, total * kv * d, 1.0);
                    append(&shape, side.data_mut(), 0, &rows).expect("the shape fits");
                    side
                };
                let (k, v) = (filled(2), filled(3));
                let cache = KvCache::new((kv, total), (d, d), k.data(), v.data()).expect("fits");
                let what = Attention {
                    n_heads: heads,
                    scale: 0.1,
                    window: None,
                };
                let q = uniform(1, t * heads * d, 1.0);
                let mut out = vec![0.0; t * heads * d];
                let mut scratch = AttentionScratch::new(cpu.threads(), d, d);
                let seen: usize = (0..t).map(|i| past + i + 1).sum();
                let operations = 4.0 * (seen * heads * d) as f64;
                let bytes = (2 * kv * total * kind.row_bytes(d)) as f64;
                self.run(&id, operations, bytes, || {
                    attention(cpu, &what, &q, past, &cache, &mut out, &mut scratch).expect("fits");
                });
            }
        }
    }

    fn experts(&self, cpu: &Cpu) {
        let (n, k, dim, hidden) = (8, 2, 1024, 1792);
        for kind in [0, 2] {
            let stacks: Vec<Weights> = (0..3 * n)
                .map(|i| {
                    let all = Weights::all(&uniform(i as u64, dim * hidden, 0.1));
                    all.into_iter().nth(kind).expect("three kinds")
                })
                .collect();
            let matrix = |i: usize, rows, cols| {
                Matrix::new(rows, cols, stacks[i].data()).expect("the length fits")
            };
            let weights: Vec<_> = (0..n)
                .map(|e| ExpertWeights {
                    w1: matrix(3 * e, hidden, dim),
                    w2: matrix(3 * e + 1, dim, hidden),
                    w3: matrix(3 * e + 2, hidden, dim),
                })
                .collect();
            let all = Experts {
                count: n,
                weights: &|e| weights[e],
            };
            for t in [1, 4, 32, 512] {
                let name = stacks[0].name();
                let id = format!(
                    "experts/{name}/t{t}_e{n}_k{k}_d{dim}_h{hidden}/{}",
                    cpu.isa()
                );
                if !id.contains(&self.filter) {
                    continue;
                }
                let x = uniform(3, t * dim, 1.0);
                let mut routing = Routing::new(t, k);
                route(
                    &Router::softmax(n, k),
                    &uniform(4, t * n, 1.0),
                    None,
                    &mut routing,
                )
                .expect("finite");
                let mut y = vec![0.0; t * dim];
                let mut scratch = ExpertsScratch::new(cpu.threads(), t, k, dim, hidden);
                let used = routing
                    .load(n)
                    .tokens_per_expert
                    .iter()
                    .filter(|&&c| c > 0)
                    .count();
                let size = stacks[0].data().bytes() / stacks[0].data().len();
                let bytes = (used * 3 * dim * hidden * size) as f64;
                let operations = 6.0 * (t * k * dim * hidden) as f64;
                self.run(&id, operations, bytes, || {
                    experts(cpu, &all, &x, &routing, &mut y, &mut scratch).expect("fits");
                });
            }
        }
    }
}
