//! Problems of our own in the benchmark's form: references pass, broken variants fail, hostile programs
//! fail and leave the machine well.
//!
//! `testdata/ds1000/*.toml` holds the problems, `frame.py.txt` what their tests have in common, and
//! `problems.jsonl` both put together, as the program reads it (`UPDATE_GOLDEN=1` writes it).

use mistral_examples::ds1000::{
    Ds1000Error, Examined, FileLimits, JobLimits, Kind, Problem, Sandbox, Setup, Task, examine,
    load, parse,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Instant;

const LIBRARIES: [(&str, &str); 5] = [
    ("numpy", "numpy"),
    ("pandas", "pandas"),
    ("scipy", "scipy"),
    ("sklearn", "sklearn"),
    ("matplotlib", "matplotlib.pyplot"),
];
const SAME: &str = "def same(result, expected):\n    np.testing.assert_allclose(result, expected)";

#[derive(Deserialize)]
struct Library {
    library: String,
    imports: String,
    same: Option<String>,
    wanted: Option<String>,
    problem: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    task: String,
    shown: String,
    given: String,
    after: Option<String>,
    wanted: Option<String>,
    #[serde(default)]
    unchanged: bool,
    tests: String,
    reference: String,
    broken: Vec<Broken>,
}

#[derive(Deserialize)]
struct Broken {
    why: String,
    code: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/ds1000")
}

fn libraries() -> Vec<Library> {
    let read = |(name, _): &(&str, &str)| {
        let text = std::fs::read_to_string(folder().join(format!("{name}.toml")));
        toml::from_str(&text.expect("the file can be read")).expect("the file has the form")
    };
    LIBRARIES.iter().map(read).collect()
}

fn context(frame: &str, library: &Library, entry: &Entry) -> String {
    let same = library.same.as_deref().unwrap_or(SAME);
    let unchanged = if entry.unchanged { "True" } else { "False" };
    [
        ("@IMPORTS@", library.imports.as_str()),
        ("@SAME@", same.trim_matches('\n')),
        ("@TESTS@", entry.tests.trim_matches('\n')),
        ("@GIVEN@", &entry.given),
        ("@AFTER@", entry.after.as_deref().unwrap_or_default()),
        ("@UNCHANGED@", unchanged),
    ]
    .iter()
    .fold(frame.to_owned(), |text, (mark, value)| {
        text.replace(mark, value)
    })
}

fn prompt(library: &Library, entry: &Entry) -> String {
    let wanted = entry.wanted.as_deref().or(library.wanted.as_deref());
    format!(
        "Problem:\n{}\nThe answer is {}.\n\nA:\n<code>\n{}\n{}\n</code>\nBEGIN SOLUTION\n<code>\n",
        entry.task,
        wanted.unwrap_or("the variable `result`"),
        library.imports,
        entry.shown
    )
}

/// The rows of `problems.jsonl`, and by row the broken variants.
fn composed() -> (String, Vec<Vec<Broken>>) {
    let frame = std::fs::read_to_string(folder().join("frame.py.txt")).expect("the frame is there");
    let (mut text, mut broken) = (String::new(), Vec::new());
    for library in libraries() {
        for entry in &library.problem {
            let row = serde_json::json!({
                "prompt": prompt(&library, entry),
                "reference_code": entry.reference.trim_matches('\n'),
                "metadata": {
                    "problem_id": broken.len(),
                    "library": library.library,
                    "perturbation_type": "Origin",
                    "name": entry.name,
                },
                "code_context": context(&frame, &library, entry),
            });
            text.push_str(&row.to_string());
            text.push('\n');
            broken.push(Vec::new());
        }
        let from = broken.len() - library.problem.len();
        for (entry, place) in library.problem.into_iter().zip(&mut broken[from..]) {
            *place = entry.broken;
        }
    }
    (text, broken)
}

fn problems() -> Vec<Problem> {
    load(&folder().join("problems.jsonl"), &FileLimits::default()).expect("the file has the form")
}

/// An interpreter with all five libraries, or a remark why there is none.
fn python() -> Option<PathBuf> {
    let imports: Vec<String> = LIBRARIES
        .iter()
        .map(|(_, m)| format!("import {m}"))
        .collect();
    let output = Command::new("python3")
        .args(["-c", &imports.join("\n")])
        .output();
    match output {
        Ok(output) if output.status.success() => Some(PathBuf::from("python3")),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            eprintln!(
                "skipped: python3 says {}",
                text.lines().last().unwrap_or("nothing")
            );
            None
        }
        Err(error) => {
            eprintln!("skipped: python3: {error}");
            None
        }
    }
}

/// Runs programs against problems by index; the verdicts come in the order of `programs`.
fn verdicts(
    python: &Path,
    limits: JobLimits,
    problems: &[Problem],
    programs: &[(usize, String)],
) -> Vec<Examined> {
    let modules: Vec<&str> = LIBRARIES
        .iter()
        .map(|(name, _)| *name)
        .chain(["matplotlib.pyplot", "scipy.stats", "sklearn.linear_model"])
        .collect();
    let setup = Setup::new(python, &modules, limits).expect("the interpreter starts");
    let sandboxes: Vec<Sandbox> = (0..2)
        .map(|_| Sandbox::start(&setup).expect("the libraries can be imported"))
        .collect();
    let (tasks_in, tasks) = channel();
    let (results_in, results) = channel();
    for (sample, (problem, solution)) in programs.iter().enumerate() {
        let task = Task {
            problem: *problem,
            sample: u32::try_from(sample).expect("there are few"),
            solution: Ok(solution.clone()),
        };
        tasks_in.send(task).expect("the receiver is here");
    }
    drop(tasks_in);
    examine(&setup, sandboxes, problems, tasks, &results_in).expect("sandboxes can be started");
    drop(results_in);
    let mut all: Vec<Examined> = results.iter().collect();
    all.sort_by_key(|e| e.sample);
    assert_eq!(all.len(), programs.len());
    all
}

#[test]
fn the_file_is_what_the_tables_say() {
    let (text, broken) = composed();
    let path = folder().join("problems.jsonl");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the file can be written");
    }
    // The order of keys is the build's.
    let parsed = |text: &str| -> Vec<serde_json::Value> {
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("JSON lines")
    };
    let kept = std::fs::read_to_string(&path).expect("problems.jsonl");
    assert!(
        parsed(&kept) == parsed(&text),
        "UPDATE_GOLDEN=1 writes problems.jsonl"
    );
    assert!(broken.len() >= 40 && broken.iter().all(|b| !b.is_empty()));
    let mut by_library: BTreeMap<String, usize> = BTreeMap::new();
    for problem in problems() {
        *by_library.entry(problem.library).or_default() += 1;
    }
    assert_eq!(by_library.len(), LIBRARIES.len());
    assert!(by_library.values().all(|&n| n >= 8), "{by_library:?}");
}

#[test]
fn references_pass_and_broken_variants_fail() {
    let Some(python) = python() else { return };
    let problems = problems();
    let (_, broken) = composed();
    let mut programs = Vec::new();
    let mut names = Vec::new();
    for (index, problem) in problems.iter().enumerate() {
        programs.push((index, problem.reference_code.clone()));
        names.push((true, "the reference"));
        for variant in &broken[index] {
            programs.push((index, variant.code.clone()));
            names.push((false, variant.why.as_str()));
        }
    }
    let mut astray = Vec::new();
    for (examined, (good, name)) in verdicts(&python, JobLimits::default(), &problems, &programs)
        .iter()
        .zip(names)
    {
        let verdict = &examined.verdict;
        // A broken variant is wrong in its result, or at most raises: anything else is our mistake.
        let expected = match verdict.kind {
            Kind::Passed => good,
            Kind::Wrong | Kind::Exception => !good,
            _ => false,
        };
        if !expected {
            astray.push(format!("{} {name}: {verdict:?}", examined.problem));
        }
    }
    assert!(astray.is_empty(), "{}", astray.join("\n"));
}

/// A problem whose reference is `result = a.mean(axis=0)`.
fn means() -> Problem {
    let code_context = "
import numpy as np

exec_context = '''
import numpy as np
a = test_input
[insert]
'''

def test_execution(solution):
    a = np.arange(12.0).reshape(3, 4)
    test_env = {'test_input': a}
    exec(exec_context.replace('[insert]', solution), test_env)
    np.testing.assert_allclose(test_env['result'], [4.0, 5.0, 6.0, 7.0])
";
    Problem {
        id: "means".to_owned(),
        library: "Numpy".to_owned(),
        perturbation: String::new(),
        prompt: String::new(),
        reference_code: "result = a.mean(axis=0)".to_owned(),
        code_context: code_context.to_owned(),
    }
}

/// What a program that means ill does, and how it may end.
const HOSTILE: &[(&str, &[Kind])] = &[
    ("while True: pass", &[Kind::Timeout]),
    (
        "import time\ntry: time.sleep(99)\nfinally: time.sleep(99)",
        &[Kind::Timeout],
    ),
    ("result = np.ones(10**11)", &[Kind::Memory]),
    (
        "keep = []\nwhile True: keep.append(bytearray(10**7))",
        &[Kind::Memory],
    ),
    (
        "try:\n    keep = []\n    while True: keep.append(bytearray(10**7))\nexcept MemoryError: result = 0",
        &[Kind::Wrong, Kind::Memory],
    ),
    ("while True: print('x' * 10**4)", &[Kind::Output]),
    (
        "n = 0\nwhile True:\n    n += 1\n    open(str(n), 'wb').write(bytes(10**7))",
        &[Kind::Disk, Kind::Exception],
    ),
    ("open('FOREIGN', 'w').write('x')", &[Kind::Banned]),
    ("a.tofile('FOREIGN')", &[Kind::Banned]),
    ("np.save('FOREIGN', a)", &[Kind::Exception]),
    ("import os\nos.mkdir('FOREIGN')", &[Kind::Banned]),
    (
        "import os\nos.symlink('/', 'up')\nopen('upFOREIGN', 'w')",
        &[Kind::Banned, Kind::Exception],
    ),
    (
        "import socket\nsocket.create_connection(('127.0.0.1', 80))",
        &[Kind::Banned],
    ),
    (
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1')",
        &[Kind::Banned],
    ),
    ("import os\nwhile True: os.fork()", &[Kind::Banned]),
    (
        "import multiprocessing as m\nm.get_context('fork').Process(target=print).start()",
        &[Kind::Banned],
    ),
    (
        "import subprocess\nsubprocess.run(['true'])",
        &[Kind::Banned],
    ),
    ("import os\nos.kill(os.getppid(), 9)", &[Kind::Banned]),
    ("import ctypes\nctypes.CDLL(None).fork()", &[Kind::Banned]),
    ("import os\nos._exit(0)", &[Kind::Ended]),
    ("import sys\nsys.exit(0)", &[Kind::Ended]),
    ("raise SystemExit", &[Kind::Ended]),
    (
        "print('passed')\nraise KeyboardInterrupt",
        &[Kind::Exception],
    ),
    (
        "import os\nfor fd in range(3, 99):\n    try: os.write(fd, b'[\"passed\", \"\"]')\n    except OSError: pass\nos._exit(0)",
        &[Kind::Banned, Kind::Ended],
    ),
    (
        "np.testing.assert_allclose = lambda *a, **k: None\nresult = 0",
        &[Kind::Banned],
    ),
    (
        "np.testing.assert_allclose.__code__ = (lambda *a, **k: None).__code__\nresult = 0",
        &[Kind::Banned],
    ),
    (
        "import builtins\nbuiltins.all = lambda *a: True\nresult = 0",
        &[Kind::Banned],
    ),
    (
        "import sys\nsys.modules['numpy'] = sys\nresult = 0",
        &[Kind::Banned],
    ),
    (
        "class Yes:\n    def __eq__(self, other): return True\n    def __array__(self, *a, **k): return np.array([4.0, 5, 6, 7])\nresult = Yes()",
        &[Kind::Banned],
    ),
    (
        "import inspect\nfor f in inspect.stack(): f.frame",
        &[Kind::Banned],
    ),
    (
        "import sys\nsys._getframe(1).f_globals['test_execution'] = print",
        &[Kind::Banned],
    ),
    ("import gc\ngc.get_objects()", &[Kind::Banned]),
    (
        "try: 1 / 0\nexcept Exception as e: getattr(e.__traceback__, 'tb' + '_frame')",
        &[Kind::Banned],
    ),
    (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(99,), daemon=True).start()\nresult = a.mean(axis=0)",
        &[Kind::Banned],
    ),
    (
        "import sys\nsys.setrecursionlimit(10**9)\nf = lambda: f()\nf()",
        &[Kind::Ended, Kind::Timeout, Kind::Memory, Kind::Exception],
    ),
    ("import no_such_module_here", &[Kind::Exception]),
    ("result = (", &[Kind::Exception]),
    ("result = '[insert]'", &[Kind::Wrong, Kind::Exception]),
    ("", &[Kind::Exception]),
];

#[test]
fn hostile_programs_fail_and_leave_the_machine_well() {
    let Some(python) = python() else { return };
    let foreign = tempfile::tempdir().expect("a folder can be made");
    let target = foreign.path().join("x");
    let problems = [means()];
    let mut programs: Vec<(usize, String)> = HOSTILE
        .iter()
        .map(|(text, _)| (0, text.replace("FOREIGN", &target.to_string_lossy())))
        .collect();
    // After all of them an honest program passes, and so does one that uses what looks suspicious.
    let honest = [
        "result = a.mean(axis=0)",
        "open('mine', 'w').write('x')\nnp.save('too.npy', a)\nresult = a.mean(axis=0)",
        "import collections, dataclasses, enum, logging, traceback, warnings\n\
         P = collections.namedtuple('P', 'x y')\n\
         E = enum.Enum('E', 'x y')\n\
         logging.warning('w')\nwarnings.warn('w')\n\
         D = dataclasses.make_dataclass('D', ['x'])\nd = D(1)\n\
         try: 1 / 0\nexcept ZeroDivisionError: traceback.print_exc()\n\
         result = a.mean(axis=0)",
        "from sklearn.linear_model import LinearRegression\n\
         from sklearn.model_selection import cross_val_score\n\
         cross_val_score(LinearRegression(), a, a[:, 0], cv=3, n_jobs=-1)\n\
         import pandas as pd\npd.DataFrame(a).groupby(0).mean()\n\
         result = a.mean(axis=0)",
    ];
    programs.extend(honest.map(|text| (0, text.to_owned())));
    let limits = JobLimits {
        seconds: 6.0,
        memory_bytes: 512 << 20,
        ..JobLimits::default()
    };
    let start = Instant::now();
    let mut astray = Vec::new();
    for (at, examined) in verdicts(&python, limits, &problems, &programs)
        .iter()
        .enumerate()
    {
        let kind = examined.verdict.kind;
        let good = match HOSTILE.get(at) {
            Some((_, expected)) => expected.contains(&kind),
            None => kind == Kind::Passed,
        };
        if !good {
            astray.push(format!("{}: {:?}", programs[at].1, examined.verdict));
        }
    }
    assert!(astray.is_empty(), "{}", astray.join("\n"));
    assert!(!target.exists() && !target.with_extension("npy").exists());
    assert!(start.elapsed().as_secs() < 240, "{:?}", start.elapsed());
}

#[test]
fn missing_modules_are_named() {
    let Some(python) = python() else { return };
    let mut problem = means();
    problem
        .code_context
        .insert_str(0, "import no_such_library\n");
    let programs = [(0, "result = 0".to_owned())];
    let verdict = &verdicts(&python, JobLimits::default(), &[problem], &programs)[0].verdict;
    assert_eq!(
        (verdict.kind, verdict.detail.as_str()),
        (Kind::Missing, "no_such_library")
    );
}

fn row(id: &str, context: &str) -> String {
    format!(
        r#"{{"prompt":"p","reference_code":"r","code_context":"{context}","metadata":{{"problem_id":{id},"library":"Numpy"}}}}"#
    )
}

#[test]
fn broken_files_are_refused_with_their_line() {
    let good = row("1", "def test_execution(solution): pass");
    let limits = FileLimits {
        line_bytes: 400,
        total_bytes: 1000,
        rows: 4,
    };
    let many: Vec<String> = (0..5)
        .map(|i| row(&i.to_string(), "def test_execution(solution): pass"))
        .collect();
    let rows = [
        (String::new(), "at least one problem"),
        ("{".to_owned(), "line 1: expected an object"),
        (format!("{good}\n[]"), "line 2: expected an object"),
        (format!("{good}\n\n{good}"), "line 3: metadata.problem_id"),
        (row("1", "pass"), "line 1: code_context"),
        (
            row("-1", "def test_execution("),
            "line 1: expected an object",
        ),
        (
            "x".repeat(500),
            "line 1: expected at most 400 bytes in a line",
        ),
        (many.join("\n"), "expected at most 4 rows"),
        (
            format!("{}\n", " ".repeat(300)).repeat(4),
            "line 4: expected at most 1000 bytes in all",
        ),
        ("[".repeat(399), "line 1: expected an object"),
    ];
    for (text, expected) in rows {
        let error = parse(text.as_bytes(), Path::new("file"), &limits).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
    let invalid = parse(&b"\xff\n"[..], Path::new("file"), &limits);
    assert!(matches!(invalid, Err(Ds1000Error::Field { line: 1, .. })));
    let ids: BTreeSet<String> = parse(
        format!("{good}\n{}", row("\"two\"", "def test_execution(s): pass")).as_bytes(),
        Path::new("file"),
        &limits,
    )
    .expect("both are problems")
    .into_iter()
    .map(|p| p.id)
    .collect();
    assert_eq!(ids, BTreeSet::from(["1".to_owned(), "two".to_owned()]));
}

#[test]
fn gzipped_files_are_read_and_truncated_ones_refused() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("problems.jsonl.gz");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed
        .write_all(row("1", "def test_execution(s): pass").as_bytes())
        .expect("memory takes it");
    let packed = packed.finish().expect("memory takes it");
    std::fs::write(&path, &packed).expect("the file can be written");
    let problems = load(&path, &FileLimits::default()).expect("one problem");
    assert_eq!(problems.len(), 1);
    std::fs::write(&path, &packed[..packed.len() / 2]).expect("the file can be written");
    let error = load(&path, &FileLimits::default());
    assert!(matches!(error, Err(Ds1000Error::Io { .. })), "{error:?}");
}
