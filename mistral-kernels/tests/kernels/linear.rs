use mistral_kernels::testkit::values::{Weights, uniform};
use mistral_kernels::testkit::{cpus, oracle, worst};
use mistral_kernels::{
    Cpu, Isa, KernelError, LinearScratch, Matrix, WeightData, linear, linear_many,
};

/// Tokens that reach each path: one, a few, a tile and its neighbours, more than the scratch.
const TOKENS: &[usize] = &[1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 24, 31, 33, 70];
const SHAPES: &[(usize, usize)] = &[
    (1, 1),
    (3, 5),
    (16, 16),
    (31, 33),
    (32, 64),
    (33, 17),
    (64, 100),
    (97, 259),
    (130, 515),
    (5, 1030),
];

/// Error of a sum of `cols` products in f32, relative to the sum of their magnitudes. Tiles that
/// round activations to bf16 add half a unit in the last place of its 8 bits.
fn tolerance(cols: usize, rounds: bool) -> f64 {
    let f32_sum = (cols as f64 + 8.0) * f64::exp2(-24.0);
    if rounds {
        f32_sum + f64::exp2(-8.0)
    } else {
        f32_sum
    }
}

/// One product on every instruction set.
fn check(w: &Matrix<'_>, name: &str, t: usize, x: &[f32]) {
    let expected = oracle::linear(w, x);
    for cpu in cpus() {
        let rounds = name == "bf16" && cpu.isa() >= Isa::Avx512Bf16;
        let allowed = tolerance(w.cols(), rounds);
        let mut y = vec![f32::NAN; t * w.rows()];
        let mut scratch = LinearScratch::new(cpu.threads(), 50, w.cols());
        linear(&cpu, w, x, &mut y, &mut scratch).expect("the shapes fit");
        let found = worst(&y, &expected.value, Some(&expected.magnitude));
        let (isa, threads, rows, cols) = (cpu.isa(), cpu.threads(), w.rows(), w.cols());
        assert!(
            found <= allowed,
            "linear {name} {isa} threads {threads} t {t} [{rows}, {cols}]: {found:e} > {allowed:e}"
        );
    }
}

#[test]
fn products_equal_the_definition() {
    for &(rows, cols) in SHAPES {
        let values = uniform(rows as u64 * 31 + cols as u64, rows * cols, 1.0);
        for weights in Weights::all(&values) {
            let w = Matrix::new(rows, cols, weights.data()).expect("the length fits");
            for &t in TOKENS {
                let x = uniform(t as u64 + 77, t * cols, 2.0);
                check(&w, weights.name(), t, &x);
            }
        }
    }
}

#[test]
fn large_products_equal_the_definition() {
    for (rows, cols, t) in [(300, 1100, 1), (300, 1100, 6), (260, 1300, 80)] {
        let values = uniform(5, rows * cols, 0.1);
        for weights in Weights::all(&values) {
            let w = Matrix::new(rows, cols, weights.data()).expect("the length fits");
            check(&w, weights.name(), t, &uniform(6, t * cols, 1.0));
        }
    }
}

#[test]
fn several_outputs_of_one_input_equal_single_products() {
    let (cols, sizes) = (70, [64, 17, 33]);
    let values = sizes.map(|rows| Weights::all(&uniform(rows as u64, rows * cols, 1.0)));
    for kind in 0..3 {
        let matrices: Vec<_> = values
            .iter()
            .zip(sizes)
            .map(|(v, rows)| Matrix::new(rows, cols, v[kind].data()).expect("the length fits"))
            .collect();
        for (cpu, t) in cpus().iter().flat_map(|cpu| [1, 3, 20].map(|t| (cpu, t))) {
            let x = uniform(9, t * cols, 1.0);
            let mut scratch = LinearScratch::new(cpu.threads(), t, cols);
            let mut together = sizes.map(|rows| vec![0.0f32; t * rows]);
            let mut outs: Vec<_> = matrices
                .iter()
                .zip(&mut together)
                .map(|(w, y)| (w, y.as_mut_slice()))
                .collect();
            linear_many(cpu, &mut outs, &x, &mut scratch).expect("the shapes fit");
            for (w, y) in matrices.iter().zip(&together) {
                let mut alone = vec![0.0; y.len()];
                linear(cpu, w, &x, &mut alone, &mut scratch).expect("the shapes fit");
                assert_eq!(&alone, y);
            }
        }
    }
}

#[test]
fn a_product_does_not_depend_on_threads_or_chunks() {
    let (rows, cols, t) = (96, 200, 40);
    for weights in Weights::all(&uniform(1, rows * cols, 1.0)) {
        let w = Matrix::new(rows, cols, weights.data()).expect("the length fits");
        let x = uniform(2, t * cols, 1.0);
        let run = |threads, chunk| {
            let cpu = Cpu::new(threads);
            let mut y = vec![0.0; t * rows];
            let mut scratch = LinearScratch::new(threads, chunk, cols);
            linear(&cpu, &w, &x, &mut y, &mut scratch).expect("the shapes fit");
            y
        };
        assert_eq!(run(1, t), run(4, t));
    }
}

#[test]
fn special_values_pass_through() {
    for cpu in cpus() {
        for t in [1, 20] {
            let mut values = vec![1.0f32; 20 * 40];
            values[3 * 40 + 7] = f32::INFINITY;
            values[4 * 40 + 7] = f32::NAN;
            for weights in Weights::all(&values) {
                let w = Matrix::new(20, 40, weights.data()).expect("the length fits");
                let x = vec![1.0f32; t * 40];
                let mut y = vec![0.0; t * 20];
                let mut scratch = LinearScratch::new(cpu.threads(), t, 40);
                linear(&cpu, &w, &x, &mut y, &mut scratch).expect("the shapes fit");
                for row in y.chunks_exact(20) {
                    assert_eq!(row[3], f32::INFINITY);
                    assert!(row[4].is_nan());
                    assert_eq!(row[5], 40.0);
                }
            }
        }
    }
}

#[test]
fn wrong_shapes_are_refused_by_name() {
    let cpu = Cpu::new(1);
    let data = [0.0f32; 6];
    let w = Matrix::new(2, 3, WeightData::F32(&data)).expect("the length fits");
    let mut scratch = LinearScratch::new(1, 4, 3);
    let error = linear(&cpu, &w, &[0.0; 4], &mut [0.0; 2], &mut scratch).expect_err("4 is no row");
    assert_eq!(
        error.to_string(),
        "linear: x has 4 elements, expected a multiple of 3"
    );
    let error = linear(&cpu, &w, &[0.0; 3], &mut [0.0; 3], &mut scratch).expect_err("y is long");
    assert_eq!(error.to_string(), "linear: y has 3 elements, expected 2");
    let mut small = LinearScratch::new(1, 4, 2);
    let error = linear(&cpu, &w, &[0.0; 3], &mut [0.0; 2], &mut small).expect_err("narrow");
    assert!(matches!(error, KernelError::Scratch { needed: 3, .. }));
    assert!(Matrix::new(2, 2, WeightData::F32(&data)).is_err());
    assert!(Matrix::new(0, 3, WeightData::F32(&[])).is_err());
    assert!(Matrix::new(usize::MAX, 3, WeightData::F32(&data)).is_err());
    linear(&cpu, &w, &[], &mut [], &mut scratch).expect("no tokens are fine");
}
