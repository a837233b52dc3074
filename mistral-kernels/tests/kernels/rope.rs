use mistral_kernels::testkit::values::uniform;
use mistral_kernels::testkit::{cpus, oracle, worst};
use mistral_kernels::{Cpu, Rope, RopeAngles, RopeLayout, inv_freq, rope, scale_inv_freq};

/// Heads, head_dim, offset, rotated width.
const SHAPES: &[(usize, usize, usize, usize)] = &[
    (1, 2, 0, 2),
    (3, 8, 0, 8),
    (2, 24, 8, 16),
    (2, 12, 0, 6),
    (4, 128, 0, 128),
    (5, 40, 6, 34),
];

#[test]
fn rotations_equal_the_definition() {
    let positions = [0u32, 1, 17, 4095, 100_000];
    for cpu in cpus() {
        for layout in [RopeLayout::Interleaved, RopeLayout::HalfSplit] {
            for &(heads, head_dim, offset, dim) in SHAPES {
                let freq = inv_freq(10_000.0, dim, None);
                let mut angles = RopeAngles::new(8, dim);
                angles.fill(&freq, 1.0, &positions).expect("there is room");
                let x = uniform(3, positions.len() * heads * head_dim, 1.0);
                let mut found = x.clone();
                let what = Rope {
                    layout,
                    heads,
                    head_dim,
                    offset,
                };
                rope(&cpu, &what, &mut found, &angles).expect("the shapes fit");
                let mut expected: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
                for (row, head) in x.chunks_exact(head_dim).enumerate() {
                    let position = positions[row / heads];
                    // The angle itself is an f32 product, by contract.
                    let turn: Vec<f64> = freq
                        .iter()
                        .map(|f| f64::from(position as f32 * f))
                        .collect();
                    let part = offset..offset + dim;
                    let rotated = oracle::rope_head(layout, &head[part.clone()], &turn);
                    expected[row * head_dim..][part].copy_from_slice(&rotated);
                }
                let far = worst(&found, &expected, None);
                assert!(
                    far < 3e-7,
                    "{} {layout:?} {heads}x{head_dim}: {far:e}",
                    cpu.isa()
                );
            }
        }
    }
}

#[test]
fn a_factor_scales_and_position_zero_keeps() {
    let mut angles = RopeAngles::new(1, 4);
    angles
        .fill(&inv_freq(1e4, 4, None), 1.5, &[0])
        .expect("there is room");
    let mut x = [1.0f32, 2.0, 3.0, 4.0];
    let what = Rope {
        layout: RopeLayout::HalfSplit,
        heads: 1,
        head_dim: 4,
        offset: 0,
    };
    rope(&Cpu::new(1), &what, &mut x, &angles).expect("the shapes fit");
    assert_eq!(x, [1.5, 3.0, 4.5, 6.0]);
}

#[test]
fn learned_exponents_scale_frequencies() {
    let mut freq = inv_freq(10_000.0, 4, None);
    let plain = freq.clone();
    scale_inv_freq(&mut freq, &[0.0, 2.0f32.ln()]).expect("the lengths are equal");
    assert_eq!(freq[0], plain[0]);
    assert!((freq[1] / plain[1] - 2.0).abs() < 1e-6);
    assert!(scale_inv_freq(&mut freq, &[0.0]).is_err());
}

#[test]
fn wrong_shapes_are_refused() {
    let cpu = Cpu::new(1);
    let mut angles = RopeAngles::new(2, 4);
    assert!(angles.fill(&[1.0], 1.0, &[0]).is_err());
    let freq = inv_freq(1e4, 4, None);
    let error = angles
        .fill(&freq, 1.0, &[0, 1, 2])
        .expect_err("room for two");
    assert_eq!(
        error.to_string(),
        "rope angles: scratch holds 2 tokens, expected at least 3"
    );
    angles.fill(&freq, 1.0, &[5]).expect("there is room");
    let what = Rope {
        layout: RopeLayout::HalfSplit,
        heads: 2,
        head_dim: 4,
        offset: 0,
    };
    assert!(rope(&cpu, &what, &mut [0.0; 7], &angles).is_err());
    assert!(rope(&cpu, &what, &mut [0.0; 16], &angles).is_err());
    for offset in [1, usize::MAX - 3, usize::MAX] {
        let outside = Rope { offset, ..what };
        assert!(rope(&cpu, &outside, &mut [0.0; 8], &angles).is_err());
    }
    let endless = Rope {
        heads: usize::MAX / 2,
        ..what
    };
    assert!(rope(&cpu, &endless, &mut [0.0; 8], &angles).is_err());
}
