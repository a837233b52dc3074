//! The command line, and what it sets: options of the files, and where checkers find what they need.

use std::error::Error;
use std::path::{Path, PathBuf};

use mistral_codegen::verify::{Checkers, Witness};
use mistral_codegen::{Cluster, Dependency, Options};
use mistral_core::catalog::ApiPrice;
use mistral_examples::{Arguments, UsageError};
use serde::de::DeserializeOwned;

/// What follows the program's name.
pub(crate) const USAGE: &str = "\
PLAN.json --target NAME (--out DIR [--verify] [--html FILE] | --diff OLD.json)
what a plan doesn't say:
  --cluster FILE.json         settings of a cluster, such as {\"namespace\": \"chat\", \"replicas\": 2}; others are
                              max_replicas, storage_class, storage_gib, gateway, canary_percent, canary_image and
                              devices_per_node
  --image NAME                container image, instead of the engine's public one
  --usd-limit USD             dollars that a run of a client of the API may spend
  --price-in USD, --price-out USD
                              prices of a million tokens, for a model that the catalogue doesn't list
  --mistral-infer DIR|VERSION where Rust projects find mistral-infer, instead of this checkout; what begins with a
                              digit or one of ^~=<>* is a version
  --schedules FILE.json       what `tune kernels --book` found; goes with our server
with --verify:
  --python PROGRAM            interpreter of Python programs
  --gguf FILE                 assets/tiny-mixtral as a GGUF file (quantize --type bf16): runs llama-cpp-python
  --converted DIR             the small model as OpenVINO reads it, or ONNX Runtime (which has no experts: with
                              --witness and --greedy of a dense one): runs programs on these
  --witness DIR --greedy FILE.json
                              another small model that Python programs are run on, with the texts and tokens that
                              are known of it, as mistral-codegen/tests/data/tiny-mixtral-greedy.json has them
  --openapi FILE              OpenAPI document of Mistral's API: clients are run against a server made from it
  --definitions DIR           definitions of custom resources (*.yaml), instead of the parts that are kept here
  --terraform-providers DIR   providers, laid out as terraform's -plugin-dir wants them
  --cargo-lock FILE           versions of a Rust project's crates, instead of this checkout's";

pub(crate) const OPTIONS: mistral_examples::Options<'static> = mistral_examples::Options {
    valued: &[
        "target",
        "out",
        "html",
        "diff",
        "cluster",
        "image",
        "usd-limit",
        "price-in",
        "price-out",
        "mistral-infer",
        "schedules",
        "python",
        "gguf",
        "converted",
        "witness",
        "greedy",
        "openapi",
        "definitions",
        "terraform-providers",
        "cargo-lock",
    ],
    switches: &["verify"],
    max_positional: 1,
};

/// Options that only `--verify` reads.
const OF_CHECKERS: &[&str] = &[
    "python",
    "gguf",
    "converted",
    "witness",
    "greedy",
    "openapi",
    "definitions",
    "terraform-providers",
    "cargo-lock",
];

/// Refuses options that the others leave without an effect.
pub(crate) fn refuse_idle(arguments: &Arguments) -> Result<(), UsageError> {
    let given = |name: &&str| arguments.text(name).is_some() || arguments.switch(name);
    let wanted = match (arguments.switch("verify"), arguments.text("diff")) {
        (_, Some(_)) => OF_CHECKERS.iter().chain(&["out", "html", "verify"]),
        (false, None) => OF_CHECKERS.iter().chain(&[]),
        (true, None) => return Ok(()),
    };
    match wanted.copied().find(given) {
        Some(name) if arguments.text("diff").is_some() => Err(UsageError(format!(
            "--{name} has no effect with --diff, which writes nothing"
        ))),
        Some(name) => Err(UsageError(format!(
            "--{name} has no effect without --verify"
        ))),
        None => Ok(()),
    }
}

/// A JSON file of one kind.
pub(crate) fn read_json<T: DeserializeOwned>(path: &str, kind: &str) -> Result<T, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("{path}: not {kind}: {e}"))
}

/// What isn't in the plan.
pub(crate) fn options(arguments: &Arguments, workspace: &Path) -> Result<Options, Box<dyn Error>> {
    let cluster = match arguments.text("cluster") {
        Some(file) => read_json(file, "settings of a cluster")?,
        None => Cluster::default(),
    };
    let price = match (
        dollars(arguments, "price-in")?,
        dollars(arguments, "price-out")?,
    ) {
        (None, None) => None,
        (Some(input), Some(output)) => Some(ApiPrice {
            usd_per_mtok_in: Some(input),
            usd_per_mtok_out: Some(output),
            ..ApiPrice::default()
        }),
        _ => {
            let text = "--price-in and --price-out go together";
            return Err(UsageError(text.to_owned()).into());
        }
    };
    Ok(Options {
        mistral_infer: match arguments.text("mistral-infer") {
            Some(text)
                if text.starts_with(|c: char| c.is_ascii_digit() || "^~=<>*".contains(c)) =>
            {
                Dependency::Version(text.to_owned())
            }
            Some(_) => Dependency::Path(there(arguments, "mistral-infer")?.unwrap_or_default()),
            None => Dependency::Path(workspace.join("mistral-infer")),
        },
        usd_limit: dollars(arguments, "usd-limit")?,
        price,
        image: arguments.text("image").map(str::to_owned),
        cluster,
        schedules: match arguments.text("schedules") {
            Some(file) => Some(read_json(file, "a book of schedules")?),
            None => None,
        },
    })
}

/// What the checkers are told; `scratch` is theirs.
pub(crate) fn checkers(
    arguments: &Arguments,
    workspace: &Path,
    scratch: PathBuf,
) -> Result<Checkers, Box<dyn Error>> {
    let mut checkers = Checkers::from_environment(std::env::vars_os(), scratch);
    // The workspace has compiled most of the same dependencies in the same versions.
    let built = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    checkers.cargo_target = Some(built.unwrap_or_else(|| workspace.join("target")));
    let lock = there(arguments, "cargo-lock")?;
    checkers.cargo_lock = Some(lock.unwrap_or_else(|| workspace.join("Cargo.lock")));
    checkers.python = there(arguments, "python")?;
    checkers.witness = Some(witness(arguments, workspace)?);
    checkers.openapi = there(arguments, "openapi")?;
    checkers.definitions = there(arguments, "definitions")?;
    checkers.terraform_providers = there(arguments, "terraform-providers")?;
    Ok(checkers)
}

/// The model in `assets/` with what `mistral-infer` says on it, which a test of this package holds
/// it to, or another one.
fn witness(arguments: &Arguments, workspace: &Path) -> Result<Witness, Box<dyn Error>> {
    let own = workspace.join("mistral-codegen/tests/data/tiny-mixtral-greedy.json");
    let (folder, known) = match (there(arguments, "witness")?, there(arguments, "greedy")?) {
        (None, None) => (workspace.join("assets/tiny-mixtral"), own),
        (Some(folder), Some(known)) => (folder, known),
        _ => {
            let text = "--witness and --greedy go together";
            return Err(UsageError(text.to_owned()).into());
        }
    };
    Ok(Witness {
        folder,
        gguf: there(arguments, "gguf")?,
        converted: there(arguments, "converted")?,
        greedy: read_json(&known.to_string_lossy(), "known continuations")?,
    })
}

/// The file or folder of an option, absolute, since checkers run elsewhere; links stay, which a
/// Python environment's interpreter is.
fn there(arguments: &Arguments, name: &str) -> Result<Option<PathBuf>, UsageError> {
    let Some(text) = arguments.text(name) else {
        return Ok(None);
    };
    let path = std::path::absolute(text).ok().filter(|path| path.exists());
    let missing = || UsageError(format!("--{name} {text:?}: no such file or folder"));
    path.ok_or_else(missing).map(Some)
}

fn dollars(arguments: &Arguments, name: &str) -> Result<Option<f64>, UsageError> {
    let Some(text) = arguments.text(name) else {
        return Ok(None);
    };
    let usd = text
        .parse()
        .ok()
        .filter(|usd: &f64| usd.is_finite() && *usd >= 0.0);
    let wrong = || UsageError(format!("--{name} {text:?}: expected dollars, such as 0.5"));
    usd.ok_or_else(wrong).map(Some)
}
