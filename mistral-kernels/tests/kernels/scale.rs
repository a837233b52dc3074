use mistral_kernels::{llama4_scale, scale_llama4, scale_ssmax, softcap};

#[test]
fn llama4_grows_in_steps() {
    assert_eq!(llama4_scale(8191, 0.1, 8192), 1.0);
    assert!((llama4_scale(8192, 0.1, 8192) - (1.0 + 0.1 * 2f32.ln())).abs() < 1e-7);
    let mut q = [1.0f32; 6];
    scale_llama4(&mut q, &[0, 16_384], 0.1, 8192).expect("two rows of three");
    assert_eq!(q[..3], [1.0; 3]);
    assert_eq!(q[3..], [llama4_scale(16_384, 0.1, 8192); 3]);
    assert!(scale_llama4(&mut q, &[0; 4], 0.1, 8192).is_err());
    assert!(scale_llama4(&mut q, &[], 0.1, 8192).is_err());
}

#[test]
fn ssmax_scales_each_head_by_the_logarithm_of_its_position() {
    let mut q = [1.0f32; 8];
    scale_ssmax(&mut q, &[0, 6], &[2.0, 3.0], &[0.5, 0.0]).expect("two tokens, two heads of two");
    let log = 7f32.ln();
    let expected = [
        0.5,
        0.5,
        0.0,
        0.0,
        2.0 * log + 0.5,
        2.0 * log + 0.5,
        3.0 * log,
        3.0 * log,
    ];
    for (q, e) in q.iter().zip(expected) {
        assert!((q - e).abs() < 1e-6, "{q} is not {e}");
    }
    assert!(scale_ssmax(&mut q, &[0], &[1.0, 1.0], &[0.0]).is_err());
    assert!(scale_ssmax(&mut q, &[0, 1, 2], &[1.0], &[0.0]).is_err());
}

#[test]
fn the_cap_is_never_passed() {
    let mut x = [0.0f32, 1.0, -1.0, 1e6, -1e6];
    softcap(30.0, &mut x);
    assert_eq!((x[0], x[3], x[4]), (0.0, 30.0, -30.0));
    assert!((x[1] - 30.0 * (1.0f32 / 30.0).tanh()).abs() < 1e-6);
    assert_eq!(x[1], -x[2]);
}
