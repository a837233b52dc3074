//! Pass rates on DS-1000: `ds1000 DS1000.jsonl.gz --model MODEL`.
//!
//! Asks a model for data-science programs, runs each in a sandbox, and prints pass@1 by library. The
//! benchmark's file is `data/ds1000.jsonl.gz` of its repository; problems of one's own in the same form work,
//! too. `--reference` runs the reference solutions, which tells whether the interpreter's libraries are fit
//! for the benchmark; `--answers` judges what was written before.

use mistral_core::llm::TextGenerator;
use mistral_examples::ds1000::answers::{self, Extraction};
use mistral_examples::ds1000::{
    Asking, Ds1000Error, Examined, FileLimits, JobLimits, Kind, Line, Problem, Report, Sandbox,
    Setup, Task, ask, examine, load, modules, submodules,
};
use mistral_examples::{Arguments, Options, Outcome, UsageError, print_line, run};
use mistral_infer::{LoadOptions, Model, SessionLimits, TextSession};
use std::collections::BTreeSet;
use std::error::Error;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const USAGE: &str = "DS1000.jsonl[.gz] --model MODEL | --url BASE --name NAME [--key-env VARIABLE] \
    [--concurrency N] | --answers FILE.jsonl | --reference; [--library NAME] [--limit N] [--samples N] \
    [--seed S] [--temperature T] [--max-tokens N] [--context TOKENS] [--extract benchmark|block] \
    [--python PATH] [--workers N] [--timeout SECONDS] [--memory-mb N] [--fresh] [--json]";
const OPTIONS: Options<'static> = Options {
    valued: &[
        "model",
        "url",
        "name",
        "key-env",
        "concurrency",
        "answers",
        "library",
        "limit",
        "samples",
        "seed",
        "temperature",
        "max-tokens",
        "context",
        "extract",
        "python",
        "workers",
        "timeout",
        "memory-mb",
    ],
    switches: &["reference", "fresh", "json"],
    max_positional: 1,
};
fn main() -> ExitCode {
    run(USAGE, &OPTIONS, |arguments| {
        let path = Path::new(arguments.required(0, "DS1000.jsonl")?);
        let problems = load(path, &FileLimits::default())?;
        let chosen = choose(arguments, &problems)?;
        let source = source(arguments)?;
        let setup = Setup::new(
            Path::new(arguments.text("python").unwrap_or("python3")),
            &imported(arguments, &problems, &chosen),
            limits(arguments)?,
        )?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = arguments.value("workers", cores)?.clamp(1, 256);
        let sandboxes: Result<Vec<Sandbox>, Ds1000Error> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..workers.min(chosen.len()))
                .map(|_| scope.spawn(|| Sandbox::start(&setup)))
                .collect();
            let join = |s: std::thread::ScopedJoinHandle<'_, _>| {
                s.join().unwrap_or_else(|panic| resume_unwind(panic))
            };
            starts.into_iter().map(join).collect()
        });
        let sandboxes = sandboxes?;
        let ready = sandboxes[0].ready.clone();
        eprintln!(
            "{} programs; network {}; foreign files {}",
            chosen.len() * source.samples as usize,
            ready.network(),
            ready.files()
        );
        let json = arguments.switch("json");
        let report = judge(&setup, sandboxes, &problems, &chosen, &source, json)?;
        if json {
            print_line(&report.totals(source.samples, &ready))?;
        } else {
            print!("{}", report.table(source.samples, &ready));
        }
        if report.problems() == 0 {
            return Err(Ds1000Error::NoProblems {
                because: Some("no problem could be run".to_owned()),
            }
            .into());
        }
        Ok(match source.kind {
            Origin::Reference if !report.all_passed() => Outcome::OutOfTolerance,
            _ => Outcome::Good,
        })
    })
}

/// Where the programs come from.
struct Source<'a> {
    kind: Origin<'a>,
    samples: u32,
    asking: Asking,
}

enum Origin<'a> {
    Model {
        path: &'a str,
        context: Option<usize>,
    },
    Url {
        base: &'a str,
        name: &'a str,
        key: Option<String>,
        concurrency: usize,
    },
    Answers(&'a str),
    Reference,
}

fn source(arguments: &Arguments) -> Result<Source<'_>, Box<dyn Error>> {
    let given = ["model", "url", "answers"];
    let given = given.iter().filter(|o| arguments.text(o).is_some()).count()
        + usize::from(arguments.switch("reference"));
    if given != 1 {
        let text = "expected one of --model, --url, --answers and --reference";
        return Err(UsageError(format!("{text}, found {given}")).into());
    }
    let kind = if let Some(path) = arguments.text("model") {
        let context: usize = arguments.value("context", 0)?;
        Origin::Model {
            path,
            context: (context > 0).then_some(context),
        }
    } else if let Some(base) = arguments.text("url") {
        let name = arguments.text("name");
        let variable = arguments.text("key-env").unwrap_or("OPENAI_API_KEY");
        Origin::Url {
            base,
            name: name.ok_or_else(|| UsageError("--url wants --name".to_owned()))?,
            key: std::env::var(variable).ok(),
            concurrency: arguments.value("concurrency", 4)?.clamp(1, 64),
        }
    } else if let Some(path) = arguments.text("answers") {
        Origin::Answers(path)
    } else {
        Origin::Reference
    };
    let samples = arguments.value("samples", 1u32)?;
    if !(1..=1000).contains(&samples) || (samples > 1 && matches!(kind, Origin::Reference)) {
        let text = "--samples: expected 1 to 1000, and 1 with --reference";
        return Err(UsageError(format!("{text}, found {samples}")).into());
    }
    // Several samples want to differ: the values with which the benchmark's paper drew its forty.
    let (temperature, top_p) = if samples > 1 { (0.2, 0.95) } else { (0.0, 1.0) };
    let asking = Asking {
        samples,
        seed: arguments.value("seed", 0)?,
        max_tokens: arguments.value("max-tokens", 1024)?,
        temperature: arguments.value("temperature", temperature)?,
        top_p,
        extraction: arguments.value("extract", Extraction::Benchmark)?,
    };
    Ok(Source {
        kind,
        samples,
        asking,
    })
}

fn limits(arguments: &Arguments) -> Result<JobLimits, UsageError> {
    let usual = JobLimits::default();
    let seconds: f64 = arguments.value("timeout", usual.seconds)?;
    if !(0.1..=86_400.0).contains(&seconds) {
        let text = format!("--timeout: expected 0.1 to 86400 seconds, found {seconds}");
        return Err(UsageError(text));
    }
    let memory_mb: u64 = arguments.value("memory-mb", usual.memory_bytes >> 20)?;
    Ok(JobLimits {
        seconds,
        memory_bytes: memory_mb.saturating_mul(1 << 20).min(1 << 50),
        ..usual
    })
}

/// Indices of the problems asked for.
fn choose(arguments: &Arguments, problems: &[Problem]) -> Result<Vec<usize>, Box<dyn Error>> {
    let limit = arguments.value("limit", usize::MAX)?;
    let library = arguments.text("library");
    let wanted = |p: &Problem| library.is_none_or(|name| p.library.eq_ignore_ascii_case(name));
    let chosen: Vec<usize> = (0..problems.len())
        .filter(|&i| wanted(&problems[i]))
        .take(limit)
        .collect();
    if chosen.is_empty() {
        let there: BTreeSet<&str> = problems.iter().map(|p| p.library.as_str()).collect();
        let because = format!("the file has {there:?}");
        return Err(Ds1000Error::NoProblems {
            because: Some(because),
        }
        .into());
    }
    Ok(chosen)
}

/// What the sandboxes import before they run anything.
fn imported(arguments: &Arguments, problems: &[Problem], chosen: &[usize]) -> Vec<&'static str> {
    let mut modules = modules(chosen.iter().map(|&i| &problems[i]));
    if !arguments.switch("fresh") {
        modules.extend(submodules(&modules));
    }
    modules
}

/// Asks, runs and counts, all at once.
fn judge(
    setup: &Setup,
    sandboxes: Vec<Sandbox>,
    problems: &[Problem],
    chosen: &[usize],
    source: &Source<'_>,
    json: bool,
) -> Result<Report, Box<dyn Error>> {
    let (tasks_in, tasks) = channel();
    let (results_in, results) = channel();
    let total = chosen.len() * source.samples as usize;
    std::thread::scope(|scope| {
        let running = scope.spawn(move || {
            let ended = examine(setup, sandboxes, problems, tasks, &results_in);
            drop(results_in);
            ended
        });
        let counting =
            scope.spawn(move || count(problems, &results, total, json).map_err(|e| e.to_string()));
        let asked = write_programs(source, problems, chosen, tasks_in);
        let ran = running.join().unwrap_or_else(|panic| resume_unwind(panic));
        let report = counting.join().unwrap_or_else(|panic| resume_unwind(panic));
        asked?;
        ran?;
        Ok(report?)
    })
}

/// Sends every program of `source`, and closes the queue.
fn write_programs(
    source: &Source<'_>,
    problems: &[Problem],
    chosen: &[usize],
    tasks: Sender<Task>,
) -> Result<(), Box<dyn Error>> {
    let asking = &source.asking;
    match &source.kind {
        Origin::Reference => {
            for &problem in chosen {
                let solution = Ok(problems[problem].reference_code.clone());
                // Whoever takes the programs says why it stopped.
                let _ = tasks.send(Task {
                    problem,
                    sample: 0,
                    solution,
                });
            }
        }
        Origin::Answers(path) => {
            let replies = answers::read(Path::new(path), &FileLimits::default())?;
            for &problem in chosen {
                let found = replies.get(&problems[problem].id);
                for sample in 0..source.samples {
                    let reply = found.and_then(|r| r.get(sample as usize));
                    let solution = reply
                        .map(|r| answers::program(r, asking.extraction))
                        .ok_or_else(|| format!("{path} has no answer"));
                    let _ = tasks.send(Task {
                        problem,
                        sample,
                        solution,
                    });
                }
            }
        }
        Origin::Model { path, context } => {
            let model = Model::load(Path::new(path), &LoadOptions::default())?;
            let limits = SessionLimits {
                max_seq_len: *context,
                ..SessionLimits::default()
            };
            let session = TextSession::new(&model, *path, limits)?;
            let mut generators: Vec<Box<dyn TextGenerator + Send>> = vec![Box::new(session)];
            ask(&mut generators, problems, chosen, asking, &tasks)?;
        }
        Origin::Url {
            base,
            name,
            key,
            concurrency,
        } => {
            let mut generators = remote(base, name, key.as_ref(), *concurrency)?;
            ask(&mut generators, problems, chosen, asking, &tasks)?;
        }
    }
    Ok(())
}

#[cfg(feature = "remote")]
fn remote(
    base: &str,
    name: &str,
    key: Option<&String>,
    concurrency: usize,
) -> Result<Vec<Box<dyn TextGenerator + Send>>, Box<dyn Error>> {
    use mistral_examples::ds1000::Remote;
    let one = |_| Box::new(Remote::new(base, name, key.cloned())) as Box<dyn TextGenerator + Send>;
    Ok((0..concurrency).map(one).collect())
}

#[cfg(not(feature = "remote"))]
fn remote(
    _: &str,
    _: &str,
    _: Option<&String>,
    _: usize,
) -> Result<Vec<Box<dyn TextGenerator + Send>>, Box<dyn Error>> {
    Err(UsageError("--url wants a build with --features remote".to_owned()).into())
}

/// Counts results until their senders are gone; prints each problem's once those before it are there, and
/// the progress to standard error.
fn count(
    problems: &[Problem],
    results: &Receiver<Examined>,
    total: usize,
    json: bool,
) -> Result<Report, Box<dyn Error>> {
    let mut all = Vec::new();
    let mut passed = 0;
    let start = Instant::now();
    let mut told = start;
    for examined in results {
        passed += usize::from(examined.verdict.kind == Kind::Passed);
        all.push(examined);
        if told.elapsed() >= Duration::from_secs(5) {
            told = Instant::now();
            let left =
                start.elapsed().as_secs_f64() / all.len() as f64 * (total - all.len()) as f64;
            eprintln!(
                "{} of {total} programs, {passed} passed, about {left:.0} s left",
                all.len()
            );
        }
    }
    all.sort_by_key(|e| (e.problem, e.sample));
    let mut report = Report::default();
    for examined in &all {
        let problem = &problems[examined.problem];
        report.add(problem, examined);
        let verdict = &examined.verdict;
        if json {
            print_line(&Line::new(problem, examined))?;
        } else if verdict.kind != Kind::Passed && verdict.kind != Kind::Missing {
            let kind = format!("{:?}", verdict.kind).to_lowercase();
            println!(
                "{} {} {kind} {}",
                problem.id, problem.library, verdict.detail
            );
        }
    }
    Ok(report)
}
