//! A checker in a process of its own, with limits.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Check, Checkers, FILE_TIME};
use crate::CodegenError;

/// Bytes kept of each of a child's two outputs: enough for a page of findings.
const KEPT_BYTES: usize = 16 << 10;
/// How often a running child is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Limits set by `prlimit`: memory that a compiler needs, and no file that fills a disk.
const LIMITS: [&str; 3] = ["--data=8589934592", "--fsize=2147483648", "--core=0"];

/// A checker's command line.
pub(super) struct Job<'a> {
    /// The name that verdicts have.
    pub(super) tool: &'static str,
    /// The program's file name, or its absolute path.
    pub(super) program: &'a str,
    pub(super) arguments: &'a [&'a str],
    pub(super) variables: &'a [(&'a str, &'a Path)],
    pub(super) folder: &'a Path,
    pub(super) time: Duration,
}

impl<'a> Job<'a> {
    /// A tool whose name begins with its program's, with the time for one file.
    pub(super) fn new(tool: &'static str, arguments: &'a [&'a str], folder: &'a Path) -> Self {
        Self {
            tool,
            program: program(tool),
            arguments,
            variables: &[],
            folder,
            time: FILE_TIME,
        }
    }
}

/// The program of a tool: its name's first word.
pub(super) fn program(tool: &'static str) -> &'static str {
    tool.split(' ').next().unwrap_or(tool)
}

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit status; `None` when a signal or the time limit ended it.
    pub(super) status: Option<i32>,
    /// Whether its time was up.
    pub(super) late: bool,
    /// The end of what it printed.
    pub(super) stdout: String,
    /// The end of what it said besides.
    pub(super) stderr: String,
}

impl Ended {
    /// Whether it says so.
    pub(super) fn succeeded(&self) -> bool {
        self.status == Some(0)
    }

    /// What it printed to both.
    pub(super) fn printed(&self) -> String {
        format!("{}{}", self.stdout, self.stderr).trim().to_owned()
    }
}

impl Job<'_> {
    /// Runs it; `None` when the program isn't installed.
    ///
    /// # Errors
    /// [`CodegenError::Io`] when a program that is there can't be started or waited for.
    pub(super) fn run(&self, checkers: &Checkers) -> Result<Option<Check>, CodegenError> {
        Ok(self.end(checkers)?.map(|ended| self.check(&ended)))
    }

    /// What its end says of the file: a program that succeeds has found nothing.
    pub(super) fn check(&self, ended: &Ended) -> Check {
        let ok = ended.succeeded();
        let mut detail = if ok { String::new() } else { ended.printed() };
        if ended.late {
            detail.push_str(&format!("\nended after {} s", self.time.as_secs()));
        }
        Check {
            tool: self.tool,
            ok,
            detail,
        }
    }

    /// Runs it and gives back how it ended; `None` when the program isn't installed.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(super) fn end(&self, checkers: &Checkers) -> Result<Option<Ended>, CodegenError> {
        let Some(program) = checkers.find(self.program) else {
            return Ok(None);
        };
        let mut command = match checkers.find("prlimit") {
            Some(prlimit) => {
                let mut command = Command::new(prlimit);
                command.args(LIMITS).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        command
            .args(self.arguments)
            .current_dir(self.folder)
            .env_clear()
            .envs(
                checkers
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .envs(self.variables.iter().copied())
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let path = std::env::join_paths(&checkers.path)
            .map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidInput, e));
        let io = |source| CodegenError::io(&program)(source);
        command.env("PATH", path.map_err(io)?);
        own_group(&mut command);
        let mut child = command.spawn().map_err(io)?;
        let out = tail(child.stdout.take());
        let err = tail(child.stderr.take());
        let ended = wait(&mut child, self.time, checkers).map_err(io)?;
        Ok(Some(Ended {
            status: ended.and_then(|status| status.code()),
            late: ended.is_none(),
            stdout: collect(out),
            stderr: collect(err),
        }))
    }
}

/// How the child ended; `None` when its time was up and it was ended.
fn wait(
    child: &mut Child,
    time: Duration,
    checkers: &Checkers,
) -> Result<Option<ExitStatus>, std::io::Error> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= time {
            end_group(child, checkers);
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(unix)]
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0);
}

#[cfg(not(unix))]
fn own_group(_: &mut Command) {}

/// Ends the child's own children too (a compiler's, for one), where a `kill` program exists.
fn end_group(child: &Child, checkers: &Checkers) {
    if let Some(kill) = checkers.find("kill") {
        let group = format!("-{}", child.id());
        // A group that is gone already is what was wanted.
        let _ = Command::new(kill)
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
    }
}

/// Reads a pipe to its end and keeps the last part.
fn tail(pipe: Option<impl Read + Send + 'static>) -> Option<JoinHandle<Vec<u8>>> {
    let mut pipe = pipe?;
    Some(std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..n]);
            if kept.len() > 2 * KEPT_BYTES {
                kept.drain(..kept.len() - KEPT_BYTES);
            }
        }
        kept
    }))
}

fn collect(reader: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = reader.and_then(|r| r.join().ok()).unwrap_or_default();
    let from = bytes.len().saturating_sub(KEPT_BYTES);
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn checkers() -> Checkers {
        Checkers::from_environment(std::env::vars_os(), std::env::temp_dir())
    }

    fn run(program: &'static str, arguments: &[&str], time: Duration) -> Option<Check> {
        let folder = std::env::temp_dir();
        let job = Job {
            time,
            ..Job::new(program, arguments, &folder)
        };
        job.run(&checkers()).expect("starts")
    }

    #[test]
    fn outcome_of_each_ending() {
        let long = Duration::from_secs(30);
        assert_eq!(run("no-such-program-here", &[], long), None);
        assert!(run("true", &[], long).expect("installed").ok);
        let failed = run("ls", &["no-such-file-here"], long).expect("installed");
        assert!(
            !failed.ok && failed.detail.contains("no-such-file-here"),
            "{failed:?}"
        );
        let start = Instant::now();
        let ended = run("sleep", &["30"], Duration::from_millis(100)).expect("installed");
        assert!(
            !ended.ok && ended.detail.contains("ended after"),
            "{ended:?}"
        );
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_flood_of_output_is_cut() {
        let check = run(
            "sh",
            &["-c", "yes | head -c 1000000; exit 1"],
            Duration::from_secs(30),
        );
        let detail = check.expect("installed").detail;
        assert!(detail.len() <= KEPT_BYTES, "{}", detail.len());
    }
}
