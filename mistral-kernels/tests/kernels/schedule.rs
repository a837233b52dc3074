use mistral_core::precision::Format;
use mistral_core::schedule::Schedule;
use mistral_kernels::testkit::cpus;
use mistral_kernels::testkit::values::{Weights, blocks, uniform};
use mistral_kernels::{Blocks, Cpu, KernelError, LinearScratch, Matrix, WeightData, linear};

/// Schedules at the ends of each range.
fn extremes() -> Vec<Schedule> {
    let usual = Schedule::default();
    vec![
        Schedule {
            fetch_near: 0,
            fetch_far: 0,
            few_tasks: 1,
            few_rows: 32,
            ..usual
        },
        Schedule {
            fetch_near: 65536,
            fetch_far: 65536,
            few_tasks: 64,
            few_rows: 96,
            ..usual
        },
        Schedule {
            many_tasks: 1,
            many_rows: 32,
            panel_columns: 256,
            ..usual
        },
        Schedule {
            many_tasks: 64,
            many_rows: 160,
            panel_columns: 4096,
            ..usual
        },
    ]
}

fn product(cpu: &Cpu, w: &Matrix<'_>, x: &[f32], tokens: usize) -> Vec<u32> {
    let mut y = vec![f32::NAN; tokens * w.rows()];
    let mut scratch = LinearScratch::new(cpu.threads(), tokens, w.cols());
    linear(cpu, w, x, &mut y, &mut scratch).expect("the shapes fit");
    y.into_iter().map(f32::to_bits).collect()
}

#[test]
fn results_are_the_same_bit_by_bit() {
    let (rows, cols) = (300, 2560);
    let formats = [Format::Q4K, Format::Q6K, Format::Q8_0];
    let bytes = formats.map(|format| (format, blocks(3, format, rows * cols)));
    let floats = Weights::all(&uniform(4, rows * cols, 1.0));
    let weights = bytes
        .iter()
        .map(|(format, bytes)| {
            WeightData::Blocks(Blocks::new(*format, bytes).expect("whole blocks"))
        })
        .chain(floats.iter().map(Weights::data));
    for data in weights {
        let w = Matrix::new(rows, cols, data).expect("the length fits");
        for tokens in [1, 5, 70] {
            let x = uniform(tokens as u64, tokens * cols, 1.0);
            for mut cpu in cpus() {
                let expected = product(&cpu, &w, &x, tokens);
                let (isa, threads) = (cpu.isa(), cpu.threads());
                for schedule in extremes() {
                    cpu.set_schedule(schedule).expect("inside the ranges");
                    assert!(
                        product(&cpu, &w, &x, tokens) == expected,
                        "{isa} threads {threads} tokens {tokens} {schedule:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_schedule_outside_of_its_ranges_is_refused() {
    let schedule = Schedule {
        few_rows: 33,
        ..Schedule::default()
    };
    let mut cpu = Cpu::new(1);
    let before = *cpu.schedule();
    let refused = cpu.set_schedule(schedule).expect_err("33 rows");
    assert!(matches!(refused, KernelError::Schedule(_)), "{refused}");
    assert_eq!(*cpu.schedule(), before);
}
