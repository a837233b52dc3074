//! Programs that measure a model, each in its own words.

use crate::figures::{Case, Test};
use mistral_examples::BenchLine;
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Tokens of a first pass that isn't counted: it maps the file's pages.
const WARM_UP: &str = "16";

/// A program in one mode.
#[derive(Debug, Clone)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    program: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// Takes the arguments of `bench_model` and prints its line.
    Line,
    /// As `Line`, and takes part only where sequences are decoded together, with one.
    OneSequence,
    /// llama.cpp's `llama-bench`, with more arguments.
    Llama(Vec<&'static str>),
    /// That of ik_llama.cpp, which has other words for some arguments.
    Ik(Vec<&'static str>),
}

/// One figure of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Measured {
    pub(crate) value: f64,
    /// Bytes of weights a second, when decoding.
    pub(crate) read_bytes_per_s: Option<f64>,
    pub(crate) plain_read_bytes_per_s: Option<f64>,
    pub(crate) kernel_path: Option<String>,
}

type Run<T> = Result<T, Box<dyn Error>>;

impl Contestant {
    fn new(name: &str, program: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            kind,
        }
    }

    pub(crate) fn ours(program: &str) -> Self {
        Self::new("ours", program, Kind::Line)
    }

    pub(crate) fn one_sequence(program: &str) -> Self {
        Self::new("ours, one sequence", program, Kind::OneSequence)
    }

    pub(crate) fn line(name: &str, program: &str) -> Self {
        Self::new(name, program, Kind::Line)
    }

    pub(crate) fn llama_bench(name: &str, program: &str, more: &[&'static str]) -> Self {
        Self::new(name, program, Kind::Llama(more.to_vec()))
    }

    pub(crate) fn ik_llama_bench(name: &str, program: &str, more: &[&'static str]) -> Self {
        Self::new(name, program, Kind::Ik(more.to_vec()))
    }

    /// The case's figures in order; None for those that the program doesn't have.
    pub(crate) fn measure(&self, model: &Path, case: &Case) -> Run<Vec<Option<Measured>>> {
        let mut values = Vec::new();
        for &test in &case.tests {
            values.push(match (&self.kind, test) {
                (Kind::Line, _) | (Kind::OneSequence, Test::Together(_)) => {
                    Some(self.line_test(model, case, test)?)
                }
                (Kind::OneSequence, _) | (_, Test::Together(_)) => None,
                (_, Test::Memory | Test::Load) => Some(self.cost(model, case, test)?),
                (_, Test::Prefill(_) | Test::Decode { .. }) => None,
            });
        }
        if let Kind::Llama(_) | Kind::Ik(_) = self.kind {
            self.speeds(model, case, &mut values)?;
        }
        Ok(values)
    }

    fn line_test(&self, model: &Path, case: &Case, test: Test) -> Run<Measured> {
        let (prompt, generate, depth, batch) = match test {
            Test::Prefill(tokens) => (tokens, 0, 0, 1),
            Test::Decode { depth } => (1, case.generate, depth, 1),
            Test::Together(n) => match self.kind {
                Kind::OneSequence => (1, case.generate, 0, 1),
                _ => (1, case.generate, 0, n),
            },
            Test::Memory | Test::Load => (16, case.generate, 0, 1),
        };
        let mut command = Command::new(&self.program);
        command.arg(model).args(["--repeat", "1"]);
        for (name, value) in [
            ("--prompt", prompt),
            ("--gen", generate),
            ("--depth", depth),
            ("--batch", batch),
            ("--threads", case.threads),
        ] {
            command.args([name, &value.to_string()]);
        }
        let output = self.finish(self.start(&mut command)?)?;
        let line: BenchLine = serde_json::from_str(output.trim())
            .map_err(|e| format!("{} printed {output:?}: {e}", self.program))?;
        let decode = generate > 0 && !test.is_cost();
        Ok(Measured {
            value: match test {
                Test::Prefill(_) => line.prefill_tokens_per_s,
                Test::Decode { .. } | Test::Together(_) => line.decode_tokens_per_s,
                Test::Memory => line.peak_rss_bytes as f64,
                Test::Load => line.load_ms / 1e3,
            },
            read_bytes_per_s: decode.then_some(line.read_bytes_per_s),
            plain_read_bytes_per_s: Some(line.plain_read_bytes_per_s).filter(|&rate| rate > 0.0),
            kernel_path: Some(line.kernel_path),
        })
    }

    fn is_ik(&self) -> bool {
        matches!(self.kind, Kind::Ik(_))
    }

    /// llama-bench with what all its runs have; one measured repeat.
    fn llama(&self, model: &Path, case: &Case) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("-m")
            .arg(model)
            .args(["-t", &case.threads.to_string()]);
        command.args(["-r", "1", "-o", "json"]);
        match &self.kind {
            Kind::Ik(more) => command.args(["-fa", "1"]).args(more),
            Kind::Llama(more) => command.args(["-fa", "on", "--no-warmup"]).args(more),
            Kind::Line | Kind::OneSequence => &mut command,
        };
        command
    }

    /// Fills in prefills and decodes, with one process for all tests of a depth.
    fn speeds(&self, model: &Path, case: &Case, values: &mut [Option<Measured>]) -> Run<()> {
        let depth_of = |test: &Test| match test {
            Test::Prefill(_) => Some(0),
            Test::Decode { depth } => Some(*depth),
            _ => None,
        };
        let mut depths: Vec<u32> = case.tests.iter().filter_map(depth_of).collect();
        depths.dedup();
        for depth in depths {
            let mut prompts = vec![WARM_UP.to_owned()];
            let mut generate = 0;
            for test in case
                .tests
                .iter()
                .filter(|test| depth_of(test) == Some(depth))
            {
                match test {
                    Test::Prefill(tokens) => prompts.push(tokens.to_string()),
                    _ => generate = case.generate,
                }
            }
            let mut command = self.llama(model, case);
            let generate = generate.to_string();
            // What fills the cache warms up as well.
            match (&self.kind, depth) {
                (_, 0) => command.args(["-p", &prompts.join(","), "-n", &generate]),
                (Kind::Ik(_), _) => {
                    command.args(["-p", "0", "-n", "0", "-gp", &format!("{depth},{generate}")])
                }
                _ => command.args(["-p", "0", "-n", &generate, "-d", &depth.to_string()]),
            };
            let output = self.finish(self.start(&mut command)?)?;
            for (test, value) in case.tests.iter().zip(values.iter_mut()) {
                let (prompt, generate) = match *test {
                    Test::Prefill(tokens) => (tokens, 0),
                    Test::Decode { depth } if self.is_ik() => (depth, case.generate),
                    Test::Decode { .. } => (0, case.generate),
                    _ => continue,
                };
                if depth_of(test) == Some(depth) {
                    let speed = find(&output, prompt, generate)?;
                    *value = Some(Measured {
                        value: speed,
                        ..Measured::default()
                    });
                }
            }
        }
        Ok(())
    }

    /// Memory by watching the process; loading as its whole time less the measured part.
    fn cost(&self, model: &Path, case: &Case, test: Test) -> Run<Measured> {
        let mut command = self.llama(model, case);
        command.args(["-p", WARM_UP, "-n", &case.generate.to_string()]);
        let start = Instant::now();
        let mut child = self.start(&mut command)?;
        let mut peak_rss_bytes = 0;
        while child.try_wait()?.is_none() {
            peak_rss_bytes = peak_rss_bytes.max(high_water(child.id()));
            std::thread::sleep(Duration::from_millis(10));
        }
        let whole_s = start.elapsed().as_secs_f64();
        let output = self.finish(child)?;
        let measured_s: f64 = (tests(&output)?.iter())
            .filter_map(|test| test["avg_ns"].as_f64())
            .sum::<f64>()
            / 1e9;
        Ok(Measured {
            value: match test {
                Test::Memory => peak_rss_bytes as f64,
                _ => whole_s - measured_s,
            },
            ..Measured::default()
        })
    }

    fn start(&self, command: &mut Command) -> Run<Child> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{}: {e}", self.program).into())
    }

    /// What the process printed, once it has ended well.
    fn finish(&self, mut child: Child) -> Run<String> {
        let mut text = String::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_string(&mut text)?;
        }
        let status: ExitStatus = child.wait()?;
        match status.success() {
            true => Ok(text),
            false => Err(format!("{}: {status}", self.program).into()),
        }
    }
}

fn tests(output: &str) -> Run<Vec<Value>> {
    serde_json::from_str(output).map_err(|e| format!("not llama-bench's JSON: {e}").into())
}

/// The speed of the test with these lengths.
fn find(output: &str, prompt: u32, generate: u32) -> Run<f64> {
    tests(output)?
        .iter()
        .find(|test| test["n_prompt"] == prompt && test["n_gen"] == generate)
        .and_then(|test| test["avg_ts"].as_f64())
        .ok_or_else(|| format!("no test of {prompt} and {generate} tokens in {output}").into())
}

/// The largest resident set of a process so far, in bytes.
fn high_water(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests_of_parsing {
    use super::*;

    #[test]
    fn speeds_are_found_by_their_lengths() {
        let output =
            r#"[{"n_prompt":16,"n_gen":0,"avg_ts":3.5},{"n_prompt":0,"n_gen":24,"avg_ts":7.0}]"#;
        assert_eq!(find(output, 0, 24).ok(), Some(7.0));
        assert_eq!(find(output, 16, 0).ok(), Some(3.5));
        assert!(find(output, 512, 0).is_err());
        assert!(find("", 512, 0).is_err());
    }
}
