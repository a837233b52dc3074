//! Weights to blocks: the reference's bytes, errors within what was recorded, refusals.

use mistral_core::precision::Format;
use mistral_kernels::testkit::values::{gaussian, uniform};
use mistral_kernels::{BLOCK_FORMATS, KernelError, dequantize, quantize};

fn packed(format: Format, x: &[f32]) -> Result<Vec<u8>, KernelError> {
    let mut out = vec![0; format.bytes(x.len()).expect("whole blocks")];
    quantize(format, x, &mut out).map(|()| out)
}

fn there_and_back(format: Format, x: &[f32]) -> Vec<f32> {
    let bytes = packed(format, x).unwrap_or_else(|e| panic!("{}: {e}", format.name()));
    let mut out = vec![0.0; x.len()];
    dequantize(format, &bytes, &mut out).expect("whole blocks");
    out
}

/// Root mean square of the error, as a share of that of the weights.
fn relative_rmse(x: &[f32], y: &[f32]) -> f64 {
    let (mut error, mut all) = (0.0, 0.0);
    for (&x, &y) in x.iter().zip(y) {
        error += f64::from(y - x).powi(2);
        all += f64::from(x).powi(2);
    }
    (error / all).sqrt()
}

#[test]
fn simple_formats_give_the_bytes_of_gguf_py() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/fixtures/gguf/gguf_quants.safetensors"
    );
    let Ok(file) = std::fs::read(path) else {
        return;
    };
    let tensors = safetensors::SafeTensors::deserialize(&file).expect("a safetensors file");
    for format in [
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::Mxfp4,
    ] {
        let name = format.name().to_uppercase();
        let tensor = |part: &str| tensors.tensor(&format!("{name}.{part}")).expect("a tensor");
        let x: Vec<f32> = (tensor("quant_in").data().as_chunks::<4>().0.iter())
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        assert!(!x.is_empty());
        assert!(
            packed(format, &x).expect("finite weights") == tensor("quant_out").data(),
            "{name}"
        );
    }
}

/// Relative error for normally distributed weights, as measured and rounded up in the third digit;
/// and what `llama-quantize --pure` of llama.cpp (in llama-cpp-python 0.3.36) made of the same
/// weights, where it has the format.
const ERRORS: [(Format, f64, Option<f64>); 13] = [
    (Format::Mxfp4, 0.114, None),
    (Format::Q4_0, 0.0848, Some(0.08476)),
    (Format::Q4_1, 0.0775, None),
    (Format::Q5_0, 0.0421, None),
    (Format::Q5_1, 0.0375, None),
    (Format::Q8_0, 0.00528, Some(0.005277)),
    (Format::Q2K, 0.270, Some(0.2936)),
    (Format::Q3K, 0.148, Some(0.1495)),
    (Format::Q4K, 0.0703, Some(0.07068)),
    (Format::Q5K, 0.0346, Some(0.03576)),
    (Format::Q6K, 0.0174, Some(0.01756)),
    (Format::Iq4Nl, 0.0747, Some(0.07538)),
    (Format::Iq4Xs, 0.0752, Some(0.07597)),
];

#[test]
fn the_error_stays_where_it_was_measured() {
    let x = gaussian(11, 256 * 1024, 0.02);
    assert!(ERRORS.map(|(format, ..)| format) == BLOCK_FORMATS);
    let mut worse = Vec::new();
    for (format, most, llama_cpp) in ERRORS {
        let found = relative_rmse(&x, &there_and_back(format, &x));
        // The lower bound keeps the list honest.
        if !(found <= most && found >= 0.97 * most && llama_cpp.is_none_or(|e| found <= e)) {
            worse.push(format!("{}: {found:.5}, recorded {most}", format.name()));
        }
    }
    assert!(worse.is_empty(), "{worse:#?}");
}

#[test]
fn what_a_block_can_hold_comes_back() {
    for format in BLOCK_FORMATS {
        let items = format.block().items;
        for (what, x) in [
            ("zeros", vec![0.0; items]),
            ("ones", vec![1.0; items]),
            ("minus ones", vec![-1.0; items]),
        ] {
            let y = there_and_back(format, &x);
            let far = (x.iter().zip(&y)).any(|(x, y)| (x - y).abs() > 1e-3 * x.abs());
            assert!(!far, "{} of {what}: {y:?}", format.name());
        }
        // One weight that outshines all others, at any place.
        for place in 0..items {
            let mut x = uniform(5, items, 1e-3);
            x[place] = if place % 2 == 0 { 8.0 } else { -8.0 };
            let y = there_and_back(format, &x);
            let off = (y[place] - x[place]).abs();
            assert!(off < 0.01 * 8.0, "{}[{place}]: {}", format.name(), y[place]);
        }
        // Below the range of f16 scales nothing is left, and nothing breaks.
        for scale in [1e-10f32, 1e-38, 1e-44] {
            let y = there_and_back(format, &uniform(3, items, scale));
            assert!(
                y.iter().all(|y| y.abs() < 2.0 * scale.max(1e-9)),
                "{}",
                format.name()
            );
        }
    }
}

#[test]
fn blocks_do_not_depend_on_each_other() {
    let x = gaussian(3, 256 * 4, 1.0);
    for format in BLOCK_FORMATS {
        let all = packed(format, &x).expect("finite");
        let one_by_one: Vec<u8> = (x.chunks(format.block().items))
            .flat_map(|x| packed(format, x).expect("finite"))
            .collect();
        assert!(all == one_by_one, "{}", format.name());
    }
}

#[test]
fn weights_that_have_no_place_are_refused() {
    for format in BLOCK_FORMATS {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = uniform(1, 512, 1.0);
            x[300] = bad;
            let found = packed(format, &x);
            assert!(
                matches!(found, Err(KernelError::NonFiniteWeight { index: 300, .. })),
                "{}: {found:?}",
                format.name()
            );
        }
        for large in [3e8, -1e20, f32::MAX] {
            let mut x = uniform(1, 512, 1.0);
            x[300] = large;
            let found = packed(format, &x);
            let fits = format == Format::Mxfp4;
            assert!(
                matches!(found, Err(KernelError::WeightRange { index: 300, .. })) != fits
                    && found.is_ok() == fits,
                "{}: {found:?}",
                format.name()
            );
        }
    }
    assert!(matches!(
        quantize(Format::Iq1S, &[0.0; 256], &mut [0; 50]),
        Err(KernelError::BlockFormat { .. })
    ));
    assert!(matches!(
        quantize(Format::Q4K, &[0.0; 255], &mut [0; 144]),
        Err(KernelError::Rows { row: 256, .. })
    ));
    assert!(matches!(
        quantize(Format::Q4K, &[0.0; 256], &mut [0; 145]),
        Err(KernelError::Length { expected: 144, .. })
    ));
}
