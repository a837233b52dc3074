use mistral_kernels::testkit::values::uniform;
use mistral_kernels::testkit::{cpus, oracle, worst};
use mistral_kernels::{Cpu, add_rms_norm, layer_norm, rms_norm, swiglu};

const DIMS: &[usize] = &[1, 3, 8, 16, 17, 31, 64, 100, 513, 4096];

#[test]
fn norms_equal_the_definition() {
    for cpu in cpus() {
        for &dim in DIMS {
            for t in [1, 2, 9] {
                let x = uniform(dim as u64, t * dim, 3.0);
                let w = uniform(2, dim, 1.5);
                let b = uniform(3, dim, 1.0);
                let mut out = vec![f32::NAN; t * dim];
                let label = format!("{} dim {dim} t {t}", cpu.isa());

                rms_norm(&cpu, &x, &w, 1e-5, &mut out).expect("the shapes fit");
                let found = worst(&out, &oracle::rms_norm(&x, &w, 1e-5), None);
                assert!(found < 3e-6, "rms_norm {label}: {found:e}");

                let mut residual = uniform(4, t * dim, 1.0);
                let sum: Vec<f32> = residual.iter().zip(&x).map(|(r, x)| r + x).collect();
                add_rms_norm(&cpu, &mut residual, &x, &w, 1e-6, &mut out).expect("the shapes fit");
                assert_eq!(residual, sum, "add_rms_norm {label}");
                let found = worst(&out, &oracle::rms_norm(&sum, &w, 1e-6), None);
                assert!(found < 3e-6, "add_rms_norm {label}: {found:e}");

                layer_norm(&cpu, &x, &w, &b, 1e-3, &mut out).expect("the shapes fit");
                let found = worst(&out, &oracle::layer_norm(&x, &w, &b, 1e-3), None);
                assert!(found < 5e-6, "layer_norm {label}: {found:e}");
            }
        }
    }
}

#[test]
fn a_row_of_zeros_stays_zero_and_eps_counts() {
    for cpu in cpus() {
        let mut out = [1.0f32; 4];
        rms_norm(&cpu, &[0.0; 4], &[2.0; 4], 1e-5, &mut out).expect("the shapes fit");
        assert_eq!(out, [0.0; 4]);
        rms_norm(&cpu, &[1e-3; 4], &[1.0; 4], 3e-6, &mut out).expect("the shapes fit");
        assert!(out.iter().all(|v| (v - 0.5).abs() < 1e-6), "{out:?}");
    }
}

#[test]
fn swiglu_equals_the_definition() {
    for cpu in cpus() {
        for n in [0, 1, 7, 16, 33, 1000, 40_000] {
            let gate = uniform(1, n, 20.0);
            let up = uniform(2, n, 2.0);
            let mut out = vec![f32::NAN; n];
            swiglu(&cpu, &gate, &up, &mut out).expect("the lengths are equal");
            let found = worst(&out, &oracle::swiglu(&gate, &up), None);
            assert!(found < 8e-6, "{} n {n}: {found:e}", cpu.isa());
        }
        let gate = [
            -1000.0,
            1000.0,
            -88.0,
            -104.0,
            0.0,
            -0.0,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        let mut out = [1.0f32; 8];
        swiglu(&cpu, &gate, &[1.0; 8], &mut out).expect("the lengths are equal");
        assert_eq!(out[1], 1000.0);
        assert_eq!(out[4], 0.0);
        assert!(out[0].abs() < 1e-30 && out[2].abs() < 1e-30 && out[3].abs() < 1e-30);
        assert!(out[7].is_nan(), "{}: {out:?}", cpu.isa());
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let cpu = Cpu::new(1);
    let mut out = [0.0f32; 4];
    assert!(rms_norm(&cpu, &[0.0; 5], &[1.0; 4], 1e-5, &mut out).is_err());
    assert!(rms_norm(&cpu, &[0.0; 8], &[1.0; 4], 1e-5, &mut out).is_err());
    assert!(rms_norm(&cpu, &[], &[], 1e-5, &mut []).is_err());
    assert!(add_rms_norm(&cpu, &mut [0.0; 3], &[0.0; 4], &[1.0; 4], 0.0, &mut out).is_err());
    assert!(layer_norm(&cpu, &[0.0; 4], &[1.0; 4], &[1.0; 3], 0.0, &mut out).is_err());
    let error = swiglu(&cpu, &[0.0; 4], &[0.0; 3], &mut out).expect_err("up is short");
    assert_eq!(error.to_string(), "swiglu: up has 3 elements, expected 4");
    rms_norm(&cpu, &[], &[1.0; 4], 1e-5, &mut []).expect("no rows are fine");
}
