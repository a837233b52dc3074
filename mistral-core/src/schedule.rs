//! The free parameters of the CPU kernels, and a book of those that were found best.
//!
//! A schedule changes how work is cut and fetched, never what is computed: results are the same
//! bit by bit.

use serde::{Deserialize, Deserializer, Serialize};

use crate::hardware::Hardware;
use crate::model::ModelSpec;
use crate::precision::Precision;

/// How products of weights and activations are cut over threads and caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Bytes ahead of its reads that a row of weights is fetched into the nearest cache, with few
    /// tokens. Only formats in blocks have it.
    pub fetch_near: u32,
    /// The same for the second-level cache; 0 leaves it out.
    pub fetch_far: u32,
    /// Tasks a thread that a product with few tokens is cut into.
    pub few_tasks: u32,
    /// Most rows of such a task: a multiple of 32.
    pub few_rows: u32,
    /// Tasks a thread that a product with many tokens is cut into.
    pub many_tasks: u32,
    /// Most rows of such a task: a multiple of 32.
    pub many_rows: u32,
    /// Columns of a panel of tiles: a multiple of 256.
    pub panel_columns: u32,
}

/// A parameter outside of what kernels have room for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schedule: {parameter} is {found}, expected {expected}")]
pub struct BadSchedule {
    /// The parameter's name.
    pub parameter: &'static str,
    /// Its value.
    pub found: u32,
    /// What is allowed, in words.
    pub expected: &'static str,
}

impl Default for Schedule {
    /// What was found by hand on two threads of an Intel Xeon with AMX.
    fn default() -> Self {
        Self {
            fetch_near: 1024,
            fetch_far: 4096,
            few_tasks: 8,
            few_rows: 256,
            many_tasks: 8,
            many_rows: 256,
            panel_columns: 1024,
        }
    }
}

impl Schedule {
    /// Checks every parameter.
    ///
    /// # Errors
    /// [`BadSchedule`] for the first one outside of its range.
    pub fn check(&self) -> Result<(), BadSchedule> {
        let rows = "a multiple of 32 from 32 to 256";
        let tasks = "from 1 to 64";
        let ahead = "at most 65536";
        let fits = |n: u32, step: u32, most: u32| n >= step && n <= most && n.is_multiple_of(step);
        let rules = [
            (
                "fetch_near",
                self.fetch_near,
                self.fetch_near <= 65536,
                ahead,
            ),
            ("fetch_far", self.fetch_far, self.fetch_far <= 65536, ahead),
            (
                "few_tasks",
                self.few_tasks,
                fits(self.few_tasks, 1, 64),
                tasks,
            ),
            (
                "few_rows",
                self.few_rows,
                fits(self.few_rows, 32, 256),
                rows,
            ),
            (
                "many_tasks",
                self.many_tasks,
                fits(self.many_tasks, 1, 64),
                tasks,
            ),
            (
                "many_rows",
                self.many_rows,
                fits(self.many_rows, 32, 256),
                rows,
            ),
            (
                "panel_columns",
                self.panel_columns,
                fits(self.panel_columns, 256, 4096),
                "a multiple of 256 from 256 to 4096",
            ),
        ];
        match rules.into_iter().find(|(_, _, fits, _)| !fits) {
            None => Ok(()),
            Some((parameter, found, _, expected)) => Err(BadSchedule {
                parameter,
                found,
                expected,
            }),
        }
    }
}

/// What a schedule was found for: the processor as it calls itself, and how it was used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// The processor's name.
    pub cpu: String,
    /// The instruction set that kernels ran on.
    pub isa: String,
    /// Threads.
    pub threads: u32,
}

impl Fingerprint {
    /// This machine, with kernels on an instruction set and a number of threads. The processor's name
    /// is empty where the system doesn't tell it.
    #[must_use]
    pub fn here(isa: &str, threads: usize) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            cpu: Hardware::from_proc(&cpu, "").cpu.model,
            isa: isa.to_owned(),
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
        }
    }
}

/// Which products a schedule was found for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shapes {
    /// Width of the residual stream.
    pub dim: u32,
    /// Width of a feed-forward layer.
    pub hidden_dim: u32,
    /// Experts; 0 for a dense model.
    pub experts: u32,
    /// Storage of the weights.
    pub precision: Precision,
}

impl Shapes {
    /// The products of a model whose weights are stored in `precision`.
    #[must_use]
    pub fn of(spec: &ModelSpec, precision: Precision) -> Self {
        let width = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let moe = spec.moe.as_ref();
        Self {
            dim: width(spec.dim),
            hidden_dim: width(moe.map_or(spec.hidden_dim, |m| m.expert_hidden_dim)),
            experts: moe.map_or(0, |m| width(m.num_experts)),
            precision,
        }
    }
}

/// A schedule that was found, with what it gained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// Where.
    pub machine: Fingerprint,
    /// For what.
    pub shapes: Shapes,
    /// What.
    pub schedule: Schedule,
    /// Time with the default schedule over time with this one, in pairs of runs: the median.
    pub gain: f64,
    /// The command, with its arguments.
    pub command: String,
    /// When, as `YYYY-MM-DD`.
    pub date: String,
}

/// Schedules by machine and shapes: what a search writes, and `mistral-infer` looks up when it loads a
/// model (`LoadOptions::schedules`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleBook {
    /// Version of the serialised form; another one isn't read.
    #[serde(deserialize_with = "own_version")]
    pub schema: u32,
    /// One a machine and shapes.
    pub found: Vec<Found>,
}

fn own_version<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let (found, expected) = (u32::deserialize(from)?, ScheduleBook::SCHEMA);
    if found == expected {
        return Ok(found);
    }
    let message = format!("schedules of version {found}, expected {expected}");
    Err(serde::de::Error::custom(message))
}

impl Default for ScheduleBook {
    fn default() -> Self {
        Self {
            schema: Self::SCHEMA,
            found: Vec::new(),
        }
    }
}

impl ScheduleBook {
    /// Version of the serialised form that this code writes.
    pub const SCHEMA: u32 = 1;

    /// The schedule for these shapes on this machine, else that for the shapes of the same
    /// precision whose feed-forward layers are nearest in size; `None` for another machine, another
    /// precision, and for a schedule that [`Schedule::check`] refuses.
    #[must_use]
    pub fn find(&self, machine: &Fingerprint, shapes: &Shapes) -> Option<Schedule> {
        let size = |s: &Shapes| f64::from(s.dim.max(1)) * f64::from(s.hidden_dim.max(1));
        let apart = |s: &Shapes| (size(s) / size(shapes)).ln().abs();
        self.found
            .iter()
            .filter(|f| f.machine == *machine && f.shapes.precision == shapes.precision)
            .filter(|f| f.schedule.check().is_ok())
            .min_by(|a, b| {
                let exact = |f: &Found| f.shapes != *shapes;
                exact(a)
                    .cmp(&exact(b))
                    .then(apart(&a.shapes).total_cmp(&apart(&b.shapes)))
            })
            .map(|f| f.schedule)
    }

    /// Puts a schedule in the place of an earlier one for the same machine and shapes.
    pub fn insert(&mut self, found: Found) {
        self.found
            .retain(|f| f.machine != found.machine || f.shapes != found.shapes);
        self.found.push(found);
        self.found
            .sort_by(|a, b| (&a.machine, &a.shapes).cmp(&(&b.machine, &b.shapes)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(threads: u32, hidden_dim: u32, few_tasks: u32) -> Found {
        Found {
            machine: machine(threads),
            shapes: shapes(hidden_dim),
            schedule: Schedule {
                few_tasks,
                ..Schedule::default()
            },
            gain: 1.1,
            command: "tune".to_owned(),
            date: "2026-11-23".to_owned(),
        }
    }

    fn machine(threads: u32) -> Fingerprint {
        Fingerprint {
            cpu: "a processor".to_owned(),
            isa: "amx".to_owned(),
            threads,
        }
    }

    fn shapes(hidden_dim: u32) -> Shapes {
        Shapes {
            dim: 4096,
            hidden_dim,
            experts: 0,
            precision: Precision::Q4KM,
        }
    }

    #[test]
    fn the_nearest_of_the_same_machine_is_found() {
        let mut book = ScheduleBook::default();
        book.insert(found(2, 14336, 1));
        book.insert(found(2, 4096, 2));
        book.insert(found(2, 14336, 3));
        book.insert(found(4, 14336, 4));
        assert_eq!(book.found.len(), 3, "the same shapes are replaced");
        let cases = [
            (2, 14336, Some(3)),
            (2, 12288, Some(3)),
            (2, 2048, Some(2)),
            (4, 2048, Some(4)),
            (8, 14336, None),
        ];
        for (threads, hidden, tasks) in cases {
            let schedule = book.find(&machine(threads), &shapes(hidden));
            assert_eq!(schedule.map(|s| s.few_tasks), tasks, "{threads} {hidden}");
        }
        let other = Shapes {
            precision: Precision::Bf16,
            ..shapes(14336)
        };
        assert_eq!(book.find(&machine(2), &other), None);
        let mut broken = found(16, 14336, 0);
        broken.schedule.few_tasks = 0;
        book.insert(broken);
        assert_eq!(book.find(&machine(16), &shapes(14336)), None);
    }

    #[test]
    fn a_book_of_another_version_is_not_read() {
        let mut book = ScheduleBook::default();
        book.insert(found(2, 14336, 1));
        let text = serde_json::to_string(&book).expect("plain data");
        assert_eq!(serde_json::from_str::<ScheduleBook>(&text).ok(), Some(book));
        let newer = text.replacen("\"schema\":1", "\"schema\":2", 1);
        let error = serde_json::from_str::<ScheduleBook>(&newer).expect_err("another version");
        assert!(
            error.to_string().contains("version 2, expected 1"),
            "{error}"
        );
    }

    #[test]
    fn parameters_have_bounds() {
        Schedule::default().check().expect("the default is allowed");
        type Change = fn(&mut Schedule);
        let change: [(&str, Change); 7] = [
            ("fetch_near", |s| s.fetch_near = 65537),
            ("fetch_far", |s| s.fetch_far = u32::MAX),
            ("few_tasks", |s| s.few_tasks = 0),
            ("few_rows", |s| s.few_rows = 48),
            ("many_tasks", |s| s.many_tasks = 65),
            ("many_rows", |s| s.many_rows = 0),
            ("panel_columns", |s| s.panel_columns = 8192),
        ];
        for (parameter, change) in change {
            let mut schedule = Schedule::default();
            change(&mut schedule);
            let error = schedule.check().expect_err(parameter);
            assert_eq!(error.parameter, parameter);
        }
    }
}
