use mistral_core::precision::Format;
use mistral_kernels::testkit::values::{blocks, uniform};
use mistral_kernels::testkit::{cpus, worst};
use mistral_kernels::{
    BLOCK_FORMATS, Blocks, Isa, KernelError, LinearScratch, Matrix, WeightData, dequantize, linear,
};

/// Tokens of each path: few, with every size of a batch, many, and more than the scratch.
const TOKENS: &[usize] = &[1, 2, 3, 5, 7, 8, 9, 16, 17, 40, 66, 80];

/// Up to this many tokens activations are rounded to eight bits on every set.
const FEW: usize = 16;

/// Most that a product may differ, relative to the largest weight times the sum of the inputs'
/// magnitudes: sums in f32, and minima that cancel.
fn tolerance(cols: usize) -> f64 {
    (cols as f64 + 32.0) * f64::exp2(-24.0)
}

/// Inputs as the kernels round them: groups of 256 share a scale.
fn rounded(x: &[f32], cols: usize) -> Vec<f64> {
    x.chunks(cols)
        .flat_map(|row| row.chunks(256))
        .flat_map(|group| {
            let most = group.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
            let d = f64::from(most / 127.0);
            group
                .iter()
                .map(move |v| d * f64::from((v * inverse).round_ties_even()))
        })
        .collect()
}

#[test]
fn products_of_blocks_equal_the_definition() {
    for format in BLOCK_FORMATS {
        let items = format.block().items;
        for (rows, groups) in [(1, 1), (3, 2), (33, 3), (70, 5), (5, 36), (300, 20)] {
            let cols = items * groups;
            let bytes = blocks(rows as u64 + 9, format, rows * cols);
            let data = WeightData::Blocks(Blocks::new(format, &bytes).expect("whole blocks"));
            let w = Matrix::new(rows, cols, data).expect("the length fits");
            for &t in TOKENS {
                check(&w, format, &uniform(t as u64 + 5, t * cols, 2.0));
            }
        }
    }
}

/// What a kernel makes of `x`: from how many tokens on it rounds activations to eight bits, and by
/// how much products may differ otherwise.
fn numerics(isa: Isa, format: Format, t: usize, cols: usize) -> (bool, f64) {
    match isa {
        // Tiles of bf16: weights and activations are rounded to eight bits of mantissa.
        Isa::Amx if t > 8 => (false, f64::exp2(-8.0)),
        Isa::Avx512Vnni | Isa::Avx512Bf16 if t > 8 && cols.is_multiple_of(256) => {
            // Dot products of bytes, which weights of fewer bits are rounded to once more.
            (
                true,
                if format == Format::Q8_0 {
                    0.0
                } else {
                    0.5 / 127.0
                },
            )
        }
        _ => (t <= FEW, 0.0),
    }
}

fn check(w: &Matrix<'_>, format: Format, x: &[f32]) {
    let t = x.len() / w.cols();
    let exact: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
    let rounded = rounded(x, w.cols());
    let mut weights = vec![0.0; w.data().len()];
    w.data().widen(0, &mut weights);
    let most = weights
        .iter()
        .fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
    let products = |x: &[f64]| -> (Vec<f64>, Vec<f64>) {
        let (mut expected, mut size) = (Vec::new(), Vec::new());
        for x in x.chunks(w.cols()) {
            for row in weights.chunks(w.cols()) {
                expected.push(row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum());
                size.push(most * x.iter().map(|x| x.abs()).sum::<f64>());
            }
        }
        (expected, size)
    };
    let of = [products(&exact), products(&rounded)];
    let mut before: Option<(Isa, Vec<f32>)> = None;
    for cpu in cpus() {
        let (rounds, error) = numerics(cpu.isa(), format, t, w.cols());
        let (expected, size) = &of[usize::from(rounds)];
        let allowed = tolerance(w.cols()) + error;
        let mut y = vec![f32::NAN; t * w.rows()];
        let mut scratch = LinearScratch::new(cpu.threads(), 70, w.cols());
        linear(&cpu, w, x, &mut y, &mut scratch).expect("the shapes fit");
        let found = worst(&y, expected, Some(size));
        let (isa, threads, rows, cols) = (cpu.isa(), cpu.threads(), w.rows(), w.cols());
        assert!(
            found <= allowed,
            "{} {isa} threads {threads} t {t} [{rows}, {cols}]: {found:e} > {allowed:e}",
            format.name()
        );
        if let Some((_, alone)) = before.as_ref().filter(|(set, _)| *set == isa) {
            assert_eq!(
                &y,
                alone,
                "{} {isa} t {t}: threads change bits",
                format.name()
            );
        }
        before = Some((isa, y));
    }
}

/// Tokens of each path: one, and many.
const ONE_AND_MANY: [usize; 2] = [1, 20];

/// The first output of the last of `t` tokens, on every set.
fn last_output(w: &Matrix<'_>, x: &[f32], check: impl Fn(Isa, f32)) {
    let t = x.len() / w.cols();
    for cpu in cpus() {
        let mut y = vec![0.0; t * w.rows()];
        let mut scratch = LinearScratch::new(cpu.threads(), t, w.cols());
        linear(&cpu, w, x, &mut y, &mut scratch).expect("the shapes fit");
        check(cpu.isa(), y[(t - 1) * w.rows()]);
    }
}

#[test]
fn inputs_that_are_not_finite_stay_visible() {
    let bytes = blocks(3, Format::Q4K, 512);
    let data = WeightData::Blocks(Blocks::new(Format::Q4K, &bytes).expect("whole blocks"));
    let w = Matrix::new(1, 512, data).expect("the length fits");
    for (t, bad) in ONE_AND_MANY
        .into_iter()
        .flat_map(|t| [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(|bad| (t, bad)))
    {
        let mut x = uniform(1, t * 512, 1.0);
        x[t * 512 - 212] = bad;
        last_output(&w, &x, |isa, y| {
            assert!(!y.is_finite(), "{isa}, {t} tokens with {bad}: {y}");
        });
    }
}

#[test]
fn weights_that_are_not_finite_stay_visible() {
    for (format, at) in [
        (Format::Q4K, 0),
        (Format::Q6K, 208),
        (Format::Q4_0, 0),
        (Format::Q8_0, 0),
    ] {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut bytes = blocks(3, format, 512);
            let scale = half::f16::from_f32(bad).to_le_bytes();
            bytes[at..at + 2].copy_from_slice(&scale);
            let data = WeightData::Blocks(Blocks::new(format, &bytes).expect("whole blocks"));
            let w = Matrix::new(1, 512, data).expect("the length fits");
            for t in ONE_AND_MANY {
                last_output(&w, &uniform(1, t * 512, 1.0), |isa, y| {
                    let name = format.name();
                    assert!(!y.is_finite(), "{name} {isa}, {t} tokens, scale {bad}: {y}");
                });
            }
        }
    }
}

/// Blocks of weights, and what gguf-py makes of them.
#[test]
fn blocks_unpack_to_the_same_bits_as_gguf_py() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/fixtures/gguf/gguf_quants.safetensors"
    );
    let Ok(file) = std::fs::read(path) else {
        return;
    };
    let tensors = safetensors::SafeTensors::deserialize(&file).expect("a safetensors file");
    for format in BLOCK_FORMATS {
        let name = format.name().to_uppercase();
        let blocks = tensors.tensor(&format!("{name}.blocks")).expect("blocks");
        let expected = tensors.tensor(&format!("{name}.f32")).expect("numbers");
        let expected: Vec<u32> = (expected.data().as_chunks::<4>().0.iter())
            .map(|b| u32::from_le_bytes(*b))
            .collect();
        let mut found = vec![0.0; expected.len()];
        dequantize(format, blocks.data(), &mut found).expect("whole blocks");
        for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
            let both_nan = f.is_nan() && f32::from_bits(*e).is_nan();
            assert!(f.to_bits() == *e || both_nan, "{name}[{i}]: {f}");
        }
    }
}

#[test]
fn what_is_not_whole_blocks_is_refused() {
    let bytes = blocks(1, Format::Q4K, 512);
    assert!(matches!(
        Blocks::new(Format::Q4K, &bytes[1..]),
        Err(KernelError::Rows { row: 144, .. })
    ));
    assert!(matches!(
        Blocks::new(Format::Iq1S, &bytes),
        Err(KernelError::BlockFormat {
            found: Format::Iq1S
        })
    ));
    let whole = WeightData::Blocks(Blocks::new(Format::Q4K, &bytes).expect("whole"));
    assert!(matches!(
        Matrix::new(4, 128, whole),
        Err(KernelError::BlockRow {
            cols: 128,
            block: 256,
            ..
        })
    ));
    let w = Matrix::new(2, 256, whole).expect("whole rows");
    let second = w.slice_rows(1..2).expect("a row");
    assert_eq!(second.data().get(0), w.data().get(256));
    let mut short = [0.0; 511];
    assert!(dequantize(Format::Q4K, &bytes, &mut short).is_err());
}
