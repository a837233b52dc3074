//! Several sandboxes side by side.

use super::{Ds1000Error, Job, Kind, Problem, Ready, Sandbox, Setup, Verdict};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender};

/// One program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Index of its problem.
    pub problem: usize,
    /// Which sample of the problem it is.
    pub sample: u32,
    /// The program, or why there is none.
    pub solution: Result<String, String>,
}

/// A task and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    /// Index of its problem.
    pub problem: usize,
    /// Which sample of the problem it was.
    pub sample: u32,
    /// What came of it.
    pub verdict: Verdict,
}

/// Runs the tasks that arrive until their senders are gone, in as many sandboxes as there are in
/// `sandboxes`, and tells `results` of each as it ends.
///
/// A sandbox that ends by itself is replaced, and the program is run once more: it may have been its
/// neighbour's fault that memory ran out. The second time it is the program's.
///
/// # Errors
/// [`Ds1000Error::Python`] when no sandbox can be started any more.
pub fn examine(
    setup: &Setup,
    sandboxes: Vec<Sandbox>,
    problems: &[Problem],
    tasks: Receiver<Task>,
    results: &Sender<Examined>,
) -> Result<(), Ds1000Error> {
    let tasks = Mutex::new(tasks);
    std::thread::scope(|scope| {
        let workers: Vec<_> = sandboxes
            .into_iter()
            .map(|mut sandbox| {
                let tasks = &tasks;
                scope.spawn(move || -> Result<(), Ds1000Error> {
                    loop {
                        // A worker that panicked held no half-changed receiver.
                        let next = tasks
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner)
                            .recv();
                        let Ok(task) = next else { return Ok(()) };
                        let verdict = judge(setup, &mut sandbox, &problems[task.problem], &task)?;
                        let examined = Examined {
                            problem: task.problem,
                            sample: task.sample,
                            verdict,
                        };
                        if results.send(examined).is_err() {
                            return Ok(());
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = workers.into_iter().map(|w| w.join()).collect();
        ended.into_iter().try_for_each(|worker| match worker {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn judge(
    setup: &Setup,
    sandbox: &mut Sandbox,
    problem: &Problem,
    task: &Task,
) -> Result<Verdict, Ds1000Error> {
    let solution = match &task.solution {
        Ok(solution) => solution,
        Err(because) => return Ok(without_run(Kind::NoAnswer, because.clone())),
    };
    if let Some(module) = lacking(&sandbox.ready, &problem.library) {
        return Ok(without_run(Kind::Missing, module.to_owned()));
    }
    let job = Job {
        context: &problem.code_context,
        reference: &problem.reference_code,
        solution,
    };
    for _ in 0..2 {
        if let Some(verdict) = sandbox.examine(&job) {
            return Ok(verdict);
        }
        *sandbox = Sandbox::start(setup)?;
    }
    Ok(without_run(
        Kind::Ended,
        "took the interpreter with it, twice".to_owned(),
    ))
}

/// The module of a library that the interpreter is known to lack.
fn lacking(ready: &Ready, library: &str) -> Option<&'static str> {
    super::module_of(library).filter(|&module| matches!(ready.versions.get(module), Some(None)))
}

fn without_run(kind: Kind, detail: String) -> Verdict {
    Verdict {
        kind,
        detail,
        seconds: 0.0,
        output: String::new(),
    }
}
