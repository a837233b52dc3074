//! A Python process that forks one enclosed child for each program, and the limits around both.

use super::Ds1000Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use tempfile::TempDir;

/// The runner's files; they are written to a folder that vanishes with the sandbox.
const FILES: [(&str, &str); 4] = [
    ("zygote.py", include_str!("runner/zygote.py")),
    ("judge.py", include_str!("runner/judge.py")),
    ("guard.py", include_str!("runner/guard.py")),
    ("limits.py", include_str!("runner/limits.py")),
];
/// Importing everything takes seconds; a first font cache and a cold disk take longer.
const START: Duration = Duration::from_secs(180);
/// What the runner may take beyond a program's own time to end it and clean up.
const GRACE: Duration = Duration::from_secs(30);
/// The longest answer of a runner; a verdict and the end of an output are far shorter.
const ANSWER_BYTES: u64 = 1 << 20;
/// Namespaces without network and with process numbers of their own, as root and without being it.
const NAMESPACES: [&[&str]; 2] = [
    &["--net", "--pid", "--ipc", "--fork", "--kill-child"],
    &[
        "--user",
        "--map-root-user",
        "--net",
        "--pid",
        "--ipc",
        "--fork",
        "--kill-child",
    ],
];

/// What one program may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JobLimits {
    /// Seconds from start to verdict.
    pub seconds: f64,
    /// Bytes of address space beyond what the imported libraries take.
    pub memory_bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all its files.
    pub folder_bytes: u64,
    /// Bytes of its two outputs together.
    pub output_bytes: u64,
}

impl Default for JobLimits {
    /// 60 s, 2 GiB, files of 64 MiB and 256 MiB together, 4 MiB of output.
    fn default() -> Self {
        Self {
            seconds: 60.0,
            memory_bytes: 2 << 30,
            file_bytes: 64 << 20,
            folder_bytes: 256 << 20,
            output_bytes: 4 << 20,
        }
    }
}

/// One solution to examine.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The problem's `code_context`.
    pub context: &'a str,
    /// The problem's `reference_code`: what it imports is needed, too.
    pub reference: &'a str,
    /// The program.
    pub solution: &'a str,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// All tests passed.
    Passed,
    /// A test's assertion failed.
    Wrong,
    /// An exception, a syntax error among them.
    Exception,
    /// Its time was up.
    Timeout,
    /// It asked for more memory than it may have.
    Memory,
    /// It printed more than it may.
    Output,
    /// It wrote more than it may.
    Disk,
    /// The process ended before the tests were over.
    Ended,
    /// It reached for the network, other processes, foreign files or its examiner.
    Banned,
    /// There is no reply to the problem.
    NoAnswer,
    /// Not run: the interpreter lacks a module that the problem imports.
    Missing,
    /// Not run: `code_context` itself is unusable.
    Broken,
    /// Not run: the child could not be set up.
    Sandbox,
}

impl Kind {
    /// Whether the verdict is about the program, so that it counts.
    #[must_use]
    pub fn counts(self) -> bool {
        !matches!(self, Self::Missing | Self::Broken | Self::Sandbox)
    }
}

/// What came of one program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// How it ended.
    pub kind: Kind,
    /// One line of explanation; names of modules for [`Kind::Missing`].
    pub detail: String,
    /// Wall time.
    pub seconds: f64,
    /// The end of what it printed.
    pub output: String,
}

/// The interpreter and what protects the machine from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Its version.
    pub python: String,
    /// Versions of the libraries asked for; `None` for one that is missing.
    pub versions: BTreeMap<String, Option<String>>,
    /// Layers of the kernel's protection by name, and whether each holds in every child.
    pub layers: BTreeMap<String, bool>,
    /// Whether children live in namespaces of their own, without network.
    pub namespace: bool,
}

impl Ready {
    /// What keeps programs from the network.
    #[must_use]
    pub fn network(&self) -> &'static str {
        match (self.namespace, self.layers.get("seccomp")) {
            (true, _) => "refused by a namespace without network",
            (false, Some(true)) => "refused by seccomp",
            (false, _) => "refused inside of Python only: native code could reach it",
        }
    }

    /// What keeps programs from files outside of their folder.
    #[must_use]
    pub fn files(&self) -> &'static str {
        match self.layers.get("landlock") {
            Some(true) => "refused by Landlock",
            _ => "refused inside of Python only: native code could write them",
        }
    }
}

/// What every sandbox of a run is started from.
#[derive(Debug)]
pub struct Setup {
    python: PathBuf,
    namespaces: Option<&'static [&'static str]>,
    preload: Vec<String>,
    limits: JobLimits,
    folder: TempDir,
}

impl Setup {
    /// Finds the interpreter behind `python` and what this machine permits, and writes the runner.
    /// `modules` are imported once, before any program runs.
    ///
    /// # Errors
    /// [`Ds1000Error::Python`] when `python` can't be started.
    pub fn new(python: &Path, modules: &[&str], limits: JobLimits) -> Result<Self, Ds1000Error> {
        let folder = TempDir::with_prefix("ds1000-").map_err(|source| Ds1000Error::Io {
            path: std::env::temp_dir(),
            source,
        })?;
        for (name, text) in FILES {
            let path = folder.path().join(name);
            std::fs::write(&path, text).map_err(|source| Ds1000Error::Io { path, source })?;
        }
        Ok(Self {
            python: interpreter(python)?,
            namespaces: NAMESPACES.into_iter().find(|flags| permitted(flags)),
            preload: modules.iter().map(|&m| m.to_owned()).collect(),
            limits,
            folder,
        })
    }

    fn command(&self) -> Command {
        let mut command = match self.namespaces {
            Some(flags) => {
                let mut command = Command::new("unshare");
                command.args(flags).arg(&self.python);
                command
            }
            None => Command::new(&self.python),
        };
        let config = serde_json::json!({
            "preload": self.preload,
            "file_bytes": self.limits.file_bytes,
            "folder_bytes": self.limits.folder_bytes,
            "output_bytes": self.limits.output_bytes,
        });
        command
            .args(["-s", "-B"])
            .arg(self.folder.path().join("zygote.py"))
            .arg(self.folder.path())
            .arg(config.to_string())
            .current_dir(self.folder.path())
            .env_clear()
            .env("LANG", "C.UTF-8")
            .env("PYTHONHASHSEED", "0")
            .env("MPLBACKEND", "Agg")
            .env("MPLCONFIGDIR", self.folder.path().join("matplotlib"))
            .env("TF_CPP_MIN_LOG_LEVEL", "3")
            .env("CUDA_VISIBLE_DEVICES", "")
            // A program has one core, and no processes to spread over.
            .env("JOBLIB_MULTIPROCESSING", "0")
            .envs(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"].map(|v| (v, "1")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.namespaces.is_some()
            && let Some(path) = std::env::var_os("PATH")
        {
            // Only `unshare` is looked up by it; the runner hands it on to nobody.
            command.env("PATH", path);
        }
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
    }
}

/// The interpreter that a launcher starts, so that it runs without the launcher's environment.
fn interpreter(python: &Path) -> Result<PathBuf, Ds1000Error> {
    let failed = |found: String| Ds1000Error::Python {
        python: python.to_owned(),
        found,
    };
    let output = Command::new(python)
        .args(["-c", "import sys; print(sys.executable)"])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| failed(e.to_string()))?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || path.is_empty() {
        return Err(failed(output.status.to_string()));
    }
    Ok(PathBuf::from(path))
}

fn permitted(flags: &[&str]) -> bool {
    let status = Command::new("unshare")
        .args(flags)
        .arg("true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|s| s.success())
}

/// A running interpreter that examines one program after another.
#[derive(Debug)]
pub struct Sandbox {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    limits: JobLimits,
    /// What it said of itself.
    pub ready: Ready,
}

#[derive(Deserialize)]
struct Hello {
    ready: Ready,
}

impl Sandbox {
    /// Starts an interpreter and waits until the libraries are imported.
    ///
    /// # Errors
    /// [`Ds1000Error::Python`] with the end of what it said, when it ends or takes minutes.
    pub fn start(setup: &Setup) -> Result<Self, Ds1000Error> {
        let failed = |found: String| Ds1000Error::Python {
            python: setup.python.clone(),
            found,
        };
        let mut child = setup.command().spawn().map_err(|e| failed(e.to_string()))?;
        let input = child.stdin.take();
        let errors = child.stderr.take().map(|mut pipe| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                // The rest is read, too, or the child would stand still.
                let _ = (&mut pipe).take(1 << 16).read_to_end(&mut bytes);
                let _ = std::io::copy(&mut pipe, &mut std::io::sink());
                String::from_utf8_lossy(&bytes).trim().to_owned()
            })
        });
        let mut sandbox = Self {
            lines: lines_of(child.stdout.take()),
            child,
            input,
            limits: setup.limits,
            ready: Ready {
                python: String::new(),
                versions: BTreeMap::new(),
                layers: BTreeMap::new(),
                namespace: false,
            },
        };
        let hello = sandbox.lines.recv_timeout(START);
        match hello
            .ok()
            .and_then(|line| serde_json::from_str::<Hello>(&line).ok())
        {
            Some(hello) => sandbox.ready = hello.ready,
            None => {
                sandbox.end();
                let said = errors
                    .and_then(|thread| thread.join().ok())
                    .unwrap_or_default();
                let last = said.lines().last().unwrap_or("no answer").to_owned();
                return Err(failed(last));
            }
        }
        Ok(sandbox)
    }

    /// Examines one program. `None` when the interpreter itself ended or hung; the sandbox is of no
    /// further use then.
    pub fn examine(&mut self, job: &Job<'_>) -> Option<Verdict> {
        let line = serde_json::json!({
            "context": job.context,
            "solution": job.solution,
            "needs": [job.context, job.reference],
            "seconds": self.limits.seconds,
            "memory_bytes": self.limits.memory_bytes,
        });
        let input = self.input.as_mut()?;
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .ok()?;
        let time = Duration::from_secs_f64(self.limits.seconds.clamp(0.0, 86_400.0)) + GRACE;
        match self.lines.recv_timeout(time) {
            Ok(answer) => serde_json::from_str(&answer).ok(),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Ends the interpreter and everything that it started.
    fn end(&mut self) {
        self.input = None;
        #[cfg(unix)]
        {
            let group = rustix::process::Pid::from_child(&self.child);
            // A group that is gone already is what is wanted.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.end();
    }
}

/// The lines of a pipe, each of bounded length, read by a thread that ends with the pipe.
fn lines_of(pipe: Option<std::process::ChildStdout>) -> Receiver<String> {
    let (send, lines) = sync_channel(4);
    if let Some(pipe) = pipe {
        std::thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            loop {
                let mut line = String::new();
                match (&mut reader).take(ANSWER_BYTES).read_line(&mut line) {
                    Ok(1..) if send.send(line).is_ok() => {}
                    _ => return,
                }
            }
        });
    }
    lines
}
