//! How kernels cut and fetch the products of a model.

use std::error::Error;

use mistral_codegen::tune::{Bench, Case, Guard, Point, Space};
use mistral_core::precision::{Format, Precision};
use mistral_core::schedule::{Fingerprint, Found, Schedule, ScheduleBook, Shapes};
use mistral_examples::{print_line, today};
use mistral_kernels::testkit::values::uniform;

use crate::products::{Products, Shape};
use crate::{Line, Search, read, write};

/// Inputs that take turns.
const INPUTS: usize = 2;
/// How far an output may be from its definition, of the sum of its products' magnitudes: activations
/// are rounded to eight bits, or weights and activations to bf16.
const TOLERANCE: f64 = 0.01;

/// A model's products in one phase.
struct Phase {
    name: &'static str,
    experts: u32,
    few: bool,
    layers: usize,
    tokens: usize,
    /// Runs of a measurement, so that a pair takes some tens of milliseconds.
    runs: usize,
}

/// Both models have these widths; 8x7B reads two of eight experts for a token, and gives each a quarter
/// of a prompt's tokens.
const DIM: usize = 4096;
const HIDDEN: usize = 14336;
const PHASES: [Phase; 4] = [
    Phase {
        name: "7b decode",
        experts: 0,
        few: true,
        layers: 5,
        tokens: 1,
        runs: 1,
    },
    Phase {
        name: "7b prompt",
        experts: 0,
        few: false,
        layers: 1,
        tokens: 256,
        runs: 1,
    },
    Phase {
        name: "8x7b decode",
        experts: 8,
        few: true,
        layers: 5,
        tokens: 1,
        runs: 1,
    },
    Phase {
        name: "8x7b prompt",
        experts: 8,
        few: false,
        layers: 1,
        tokens: 64,
        runs: 1,
    },
];

impl Phase {
    fn shapes(&self) -> Vec<Shape> {
        let shape = |rows, cols, count| Shape { rows, cols, count };
        // An expert's tokens are a quarter of those that attention's products get: the latter matter
        // less, and stand with the same number.
        let read = match (self.experts, self.few) {
            (0, _) => 1,
            (_, true) => 2,
            (_, false) => 4,
        };
        vec![
            shape(DIM + 2 * DIM / 4, DIM, 1),
            shape(DIM, DIM, 1),
            shape(HIDDEN, DIM, 2 * read),
            shape(DIM, HIDDEN, read),
        ]
    }

    fn space(&self) -> Space {
        if self.few {
            Space::new([
                ("fetch_near", vec![256, 512, 1024, 2048, 4096]),
                ("fetch_far", vec![0, 2048, 4096, 8192, 16384]),
                ("few_tasks", vec![1, 2, 4, 8, 16, 32]),
                ("few_rows", vec![32, 64, 128, 256]),
            ])
        } else {
            Space::new([
                ("many_tasks", vec![1, 2, 4, 8, 16, 32]),
                ("many_rows", vec![32, 64, 128, 256]),
                ("panel_columns", vec![256, 512, 1024, 2048, 4096]),
            ])
        }
    }

    /// `usual` with the values of a point of [`space`](Self::space).
    fn schedule(&self, usual: Schedule, point: &Point) -> Schedule {
        let mut schedule = usual;
        match (self.few, point.0.as_slice()) {
            (true, &[near, far, tasks, rows]) => {
                schedule.fetch_near = near;
                schedule.fetch_far = far;
                schedule.few_tasks = tasks;
                schedule.few_rows = rows;
            }
            (false, &[tasks, rows, columns]) => {
                schedule.many_tasks = tasks;
                schedule.many_rows = rows;
                schedule.panel_columns = columns;
            }
            _ => {}
        }
        schedule
    }

    fn point(&self, s: &Schedule) -> Point {
        Point(if self.few {
            vec![s.fetch_near, s.fetch_far, s.few_tasks, s.few_rows]
        } else {
            vec![s.many_tasks, s.many_rows, s.panel_columns]
        })
    }
}

/// Times a schedule beside the usual one; both must give the same bits.
struct Kernels<'a> {
    phase: &'a Phase,
    products: &'a mut Products,
    usual: Schedule,
    guard: Guard<'a>,
    /// Which of the two goes first in the next pair.
    own_first: bool,
}

impl Kernels<'_> {
    /// Seconds of some runs that follow a schedule.
    fn seconds(&mut self, schedule: Schedule) -> Result<f64, String> {
        self.products.follow(schedule).map_err(|e| e.to_string())?;
        let mut seconds = 0.0;
        for _ in 0..self.phase.runs {
            let products = &mut *self.products;
            let time = self.guard.time(&mut |x, y| products.run(x, y));
            seconds += time.map_err(|wrong| wrong.to_string())?.as_secs_f64();
        }
        Ok(seconds)
    }
}

impl Bench for Kernels<'_> {
    fn check(&mut self, point: &Point) -> Result<(), String> {
        self.seconds(self.phase.schedule(self.usual, point))
            .map(|_| ())
    }

    fn pair(&mut self, point: &Point) -> Result<(f64, f64), String> {
        let own = self.phase.schedule(self.usual, point);
        self.own_first = !self.own_first;
        if self.own_first {
            let own = self.seconds(own)?;
            Ok((self.seconds(self.usual)?, own))
        } else {
            let usual = self.seconds(self.usual)?;
            Ok((usual, self.seconds(own)?))
        }
    }
}

/// Inputs with the outputs of the usual schedule, which were held against their definition.
fn cases(products: &mut Products) -> Result<Vec<Case>, Box<dyn Error>> {
    let mut cases = Vec::new();
    for i in 0..INPUTS {
        let input = uniform(7 + i as u64, products.inputs(), 1.0);
        let mut output = vec![f32::NAN; products.outputs()];
        products.run(&input, &mut output);
        for (at, expected, magnitude) in products.sampled(&input) {
            let found = f64::from(output[at]);
            if (found - expected).abs() > TOLERANCE * magnitude || found.is_nan() {
                return Err(format!("output {at} is {found}, expected {expected}").into());
            }
        }
        cases.push(Case {
            input,
            scale: vec![0.0; output.len()],
            expected: output.into_iter().map(f64::from).collect(),
        });
    }
    Ok(cases)
}

/// Searches each phase of each model and puts what is found into the book.
pub(crate) fn tune(search: &mut Search, book: Option<&str>) -> Result<(), Box<dyn Error>> {
    let mut found: ScheduleBook = read(book)?;
    for pair in PHASES.chunks(2) {
        let mut schedule = None;
        let mut gain = 1.0f64;
        let mut isa = String::new();
        for phase in pair {
            eprintln!("{}: making weights", phase.name);
            let format = Format::Q4K;
            let mut products = Products::new(
                &phase.shapes(),
                (phase.layers, phase.tokens),
                format,
                search.threads,
            )?;
            isa = products.isa();
            let usual = products.usual();
            let cases = cases(&mut products)?;
            let mut bench = Kernels {
                phase,
                products: &mut products,
                usual,
                guard: Guard::new(&cases, 0.0),
                own_first: false,
            };
            let space = phase.space();
            let outcome = search.run(&space, &phase.point(&usual), &mut bench, 32);
            print_line(&Line::new(phase.name, &space, &outcome))?;
            if let Some(best) = &outcome.best {
                schedule = Some(phase.schedule(schedule.unwrap_or(usual), best));
                gain = gain.max(outcome.gain);
            }
        }
        if let Some(schedule) = schedule {
            found.insert(Found {
                machine: Fingerprint::here(&isa, search.threads),
                shapes: Shapes {
                    dim: DIM as u32,
                    hidden_dim: HIDDEN as u32,
                    experts: pair[0].experts,
                    precision: Precision::Q4KM,
                },
                schedule,
                gain,
                command: std::env::args().collect::<Vec<_>>().join(" "),
                date: today(),
            });
        }
    }
    if let Some(path) = book {
        write(path, &found)?;
    }
    Ok(())
}
