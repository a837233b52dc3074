//! Runs a generated Python program on a small model and compares its tokens with those that are
//! known.
//!
//! The modules that run are the plan's; only what a plan decides (`settings.py`, and which tokenizer
//! is read) is that of a plan for the small model on this machine's processor.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mistral_core::files::FileSet;
use mistral_core::plan::{KvPrecision, Plan, TokenizerMode};
use mistral_core::precision::Precision;
use serde::Deserialize;

use super::child::Job;
use super::{Check, Checkers, Copy, Verdict, plan_of};
use crate::{CodegenError, Options, Target, generate};

const TOOL: &str = "python3 greedy tokens";
/// What is missing when the libraries aren't installed: mypy then takes their names for anything.
const UNREAD: &str = "mypy on the libraries";

/// Time for a program to load a small model and continue one text, its compilation included.
const RUN_TIME: Duration = Duration::from_secs(180);

/// Ends with 0 if every package of a requirements file is installed in its version.
const INSTALLED: &str = "\
import sys
from importlib.metadata import PackageNotFoundError, version
for line in open(sys.argv[1]):
    name, wanted = line.strip().split('==')
    try:
        found = version(name.split('[')[0])
    except PackageNotFoundError:
        found = 'none'
    if found.split('+')[0] != wanted:
        sys.exit(f'{name}: expected {wanted}, found {found}')
";

/// A small model and how it is known to continue some texts.
#[derive(Debug, Clone)]
pub struct Witness {
    /// Folder with `config.json`, `model.safetensors` and `tokenizer.json`.
    pub folder: PathBuf,
    /// The same model as a GGUF file, for programs that read those.
    pub gguf: Option<PathBuf>,
    /// The same model in a folder as the library of an `openvino-genai` or `onnxruntime-genai` program reads
    /// it: what `optimum-cli export openvino` or the library's builder made.
    pub converted: Option<PathBuf>,
    /// The continuations.
    pub greedy: Vec<Greedy>,
}

/// A text and the likeliest tokens after it.
#[derive(Debug, Clone, Deserialize)]
pub struct Greedy {
    /// The text.
    pub prompt: String,
    /// The tokens, each the likeliest after those before it.
    pub token_ids: Vec<u32>,
    /// Their text.
    pub text: String,
}

/// What a program prints for `--json`.
#[derive(Deserialize)]
struct Answer {
    text: String,
    token_ids: Vec<u32>,
}

/// Runs the program of `target`, if it can run on a processor, on every text of `witness`.
pub(super) fn check(
    target: Target,
    files: &FileSet,
    witness: &Witness,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    let Some(standing_in) = plan_of(files).and_then(|plan| stand_in(target, plan, witness)) else {
        return Ok(());
    };
    let running = generate(target, &standing_in, &Options::default())?;
    // The verdict is for what is the same in both.
    let mut same: Vec<&str> = Vec::new();
    for file in running.iter().filter(|f| f.path.as_str().ends_with(".py")) {
        let theirs = files.get(file.path.as_str());
        if theirs.is_some_and(|theirs| theirs.contents == file.contents) {
            same.push(file.path.as_str());
        }
    }
    let copy = Copy::named(&running, &checkers.scratch, "running")?;
    let installed = Job {
        time: RUN_TIME,
        ..Job::new(TOOL, &["-I", "-c", INSTALLED, "requirements.txt"], &copy.0)
    };
    let installed = installed.run(checkers)?.is_some_and(|check| check.ok);
    if !installed {
        for path in same {
            verdict.add(path, None, TOOL);
            verdict.add(path, None, UNREAD);
        }
        return Ok(());
    }
    let mut detail = String::new();
    for greedy in &witness.greedy {
        detail.push_str(&run(greedy, &copy.0, checkers)?);
    }
    for path in same {
        let check = Check::of(TOOL, detail.trim().to_owned());
        verdict.add(path, Some(check), TOOL);
    }
    Ok(())
}

/// `plan` for the small model on a processor; `None` where a target needs something else.
fn stand_in(target: Target, mut plan: Plan, witness: &Witness) -> Option<Plan> {
    let gguf = target == Target::LlamaCppPython;
    let model = match target {
        Target::LlamaCppPython => witness.gguf.as_ref()?,
        Target::OpenvinoGenai | Target::OnnxruntimeGenai => witness.converted.as_ref()?,
        Target::PythonTransformers | Target::Jax => &witness.folder,
        _ => return None,
    };
    plan.model.local_path = Some(model.to_str()?.to_owned());
    plan.model.revision = None;
    plan.spec = None;
    plan.precision = if gguf {
        Precision::Bf16
    } else {
        Precision::F32
    };
    plan.kv_precision = KvPrecision::Auto;
    plan.tokenizer = if gguf {
        TokenizerMode::Gguf
    } else {
        TokenizerMode::Hf
    };
    plan.placement.device = "CPU".to_owned();
    plan.placement.count = 1;
    plan.placement.tensor_parallel = 1;
    plan.placement.pipeline_parallel = 1;
    plan.placement.threads = Some(2);
    plan.limits.context_tokens = 256;
    plan.limits.max_output_tokens = None;
    Some(plan)
}

/// What is wrong with the continuation of a text; empty when nothing is.
fn run(greedy: &Greedy, folder: &Path, checkers: &Checkers) -> Result<String, CodegenError> {
    let longest = greedy.token_ids.len().to_string();
    let arguments = [
        "generate.py",
        "--prompt",
        &greedy.prompt,
        "--max-tokens",
        &longest,
        "--temperature",
        "0",
        "--json",
    ];
    let job = Job {
        // Nothing is fetched: the model lies on this machine.
        variables: &[
            ("HF_HUB_OFFLINE", Path::new("1")),
            ("JAX_PLATFORMS", Path::new("cpu")),
            ("CUDA_VISIBLE_DEVICES", Path::new("")),
            ("PYTHONDONTWRITEBYTECODE", Path::new("1")),
        ],
        time: RUN_TIME,
        ..Job::new(TOOL, &arguments, folder)
    };
    let Some(ended) = job.end(checkers)? else {
        return Ok("python3 is not installed\n".to_owned());
    };
    let answer = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with('{'))
        .find_map(|line| serde_json::from_str::<Answer>(line).ok());
    Ok(match answer {
        Some(answer) if ended.succeeded() => difference(greedy, &answer),
        _ => format!("{:?}: {}\n", greedy.prompt, ended.printed()),
    })
}

/// How an answer differs from what is known; libraries that don't tell tokens are held to the text.
fn difference(greedy: &Greedy, answer: &Answer) -> String {
    let equal = if answer.token_ids.is_empty() {
        answer.text == greedy.text
    } else {
        // Of a text with bytes that are no character, streaming decoders keep different parts.
        let undecodable = greedy.text.contains(char::REPLACEMENT_CHARACTER);
        answer.token_ids == greedy.token_ids && (undecodable || answer.text == greedy.text)
    };
    if equal {
        return String::new();
    }
    let pairs = answer.token_ids.iter().zip(&greedy.token_ids);
    let at = pairs
        .take_while(|(found, expected)| found == expected)
        .count();
    format!(
        "{:?}: expected {:?}, found {:?}; the tokens differ from number {at} on\n",
        greedy.prompt, greedy.text, answer.text
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_answer_is_told() {
        let greedy = Greedy {
            prompt: "a".to_owned(),
            token_ids: vec![1, 2],
            text: "bc".to_owned(),
        };
        let rows: [(&str, &[u32], &str); 5] = [
            ("bc", &[1, 2], ""),
            ("bd", &[1, 2], "found \"bd\""),
            ("bc", &[], ""),
            ("bc", &[1, 3], "from number 1 on"),
            ("bd", &[], "found \"bd\""),
        ];
        for (text, ids, part) in rows {
            let answer = Answer {
                text: text.to_owned(),
                token_ids: ids.to_vec(),
            };
            let found = difference(&greedy, &answer);
            assert!(found.contains(part), "{found}");
            assert_eq!(found.is_empty(), part.is_empty(), "{found}");
        }
    }

    #[test]
    fn bytes_that_are_no_character_are_compared_by_their_tokens() {
        let greedy = Greedy {
            prompt: "a".to_owned(),
            token_ids: vec![1, 2],
            text: "b\u{fffd} c".to_owned(),
        };
        for (ids, equal) in [(vec![1, 2], true), (vec![1, 3], false), (vec![], false)] {
            let answer = Answer {
                text: "bc".to_owned(),
                token_ids: ids,
            };
            assert_eq!(difference(&greedy, &answer).is_empty(), equal);
        }
    }
}
