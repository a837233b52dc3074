//! The whole chain once: a need in words, ranked choices with reasons, checked deployment files,
//! and text from the model that ships with the repository, with its measured speed.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use mistral_codegen::verify::{Checkers, verify};
use mistral_codegen::{Dependency, Options as Generation, Target, generate};
use mistral_core::plan::{Plan, Runtime};
use mistral_core::recommendation::Recommendation;
use mistral_examples::{Options, Outcome, recommendation, run, today};
use mistral_infer::tokenizer::Affixes;
use mistral_infer::{GenerateOptions, LoadOptions, Model, Sampling, SessionLimits};
use mistral_recommend::{Context, plan, recommend_text};

const NEED: &str =
    "a support bot for 20 users on two L4 cards, under 800 ms to first token, 1200 €/month";
const PROMPT: &str = "ROMEO:\n";

fn main() -> ExitCode {
    let options = Options {
        valued: &[],
        switches: &[],
        max_positional: 200,
    };
    run("[NEED TEXT]", &options, |arguments| {
        let words: Vec<&str> = (0..200).map_while(|i| arguments.positional(i)).collect();
        let need = if words.is_empty() {
            NEED.to_owned()
        } else {
            words.join(" ")
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");

        title("1. What fits the need");
        println!("“{need}”\n");
        let context = Context::embedded(&today());
        let answer = recommend_text(&need, &context)?;
        print!("{}", recommendation::render(&answer, 3));

        title("2. The files that run it");
        match first_plan(&answer, &context) {
            Some((plan, target)) => files(&plan, target, &root)?,
            None => {
                println!("No choice is one to deploy yourself, so there is nothing to generate.")
            }
        }

        title("3. Text from the model in assets/, on this machine");
        text(&root.join("assets/tiny-mixtral"))?;
        Ok(Outcome::Good)
    })
}

fn title(text: &str) {
    println!("\n{text}\n{}", "─".repeat(text.chars().count()));
}

/// The plan of the best choice that is run by oneself, and the target that it names.
fn first_plan(answer: &Recommendation, context: &Context<'_>) -> Option<(Plan, Target)> {
    answer.choices.iter().find_map(|choice| {
        let plan = plan(answer, choice, context).ok()?;
        let target = match plan.runtime {
            Runtime::MistralInfer => Target::Rust,
            Runtime::Vllm => Target::Vllm,
            Runtime::LlamaServer => Target::LlamaServer,
            _ => return None,
        };
        Some((plan, target))
    })
}

/// Generates, checks and writes.
fn files(plan: &Plan, target: Target, root: &Path) -> Result<(), Box<dyn Error>> {
    let library = root.canonicalize()?.join("mistral-infer");
    let options = Generation {
        mistral_infer: Dependency::Path(library),
        ..Generation::default()
    };
    let files = generate(target, plan, &options)?;
    let out = Path::new("target/quickstart").join(target.name());
    files.write(&root.join(&out))?;
    println!(
        "{} with {} in {}:",
        plan.model.id,
        target.name(),
        out.display()
    );
    // Compiling a generated Rust project takes minutes; `codegen --verify` does it.
    let verdict = match target {
        Target::Rust => None,
        _ => {
            let scratch: PathBuf = root.join("target/quickstart/check");
            Some(verify(
                target,
                &files,
                &Checkers::from_environment(std::env::vars_os(), scratch),
            )?)
        }
    };
    for file in files.iter() {
        let path = file.path.as_str();
        let checks: Vec<String> = verdict
            .iter()
            .flat_map(|v| v.of(path))
            .map(|c| format!("{} {}", c.tool, if c.ok { "✓" } else { "✗" }))
            .collect();
        println!(
            "  {path:<24} {:>6} bytes   {}",
            file.contents.len(),
            checks.join("  ")
        );
    }
    let missing: Vec<&str> = verdict
        .iter()
        .flat_map(|v| v.missing.keys().copied())
        .collect();
    if !missing.is_empty() {
        println!("  not installed here, so not asked: {}", missing.join(", "));
    }
    Ok(())
}

/// Loads the shipped model and streams a continuation.
fn text(path: &Path) -> Result<(), Box<dyn Error>> {
    let model = Model::load(path, &LoadOptions::default())?;
    let affixes = Affixes {
        bos: true,
        eos: false,
    };
    let prompt = model.need_tokenizer()?.encode_with(PROMPT, affixes)?;
    let mut session = model.session(SessionLimits::default())?;
    let options = GenerateOptions {
        max_tokens: 120,
        sampling: Sampling {
            temperature: 0.7,
            top_p: 0.95,
            ..Sampling::default()
        },
        seed: 3,
        ..GenerateOptions::default()
    };
    let mut out = std::io::stdout().lock();
    out.write_all(PROMPT.as_bytes())?;
    let start = Instant::now();
    let mut generation = session.generate(&prompt, &options)?;
    while let Some(piece) = generation.next().transpose()? {
        out.write_all(piece.text.as_bytes())?;
        out.flush()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let tokens = generation.generated();
    let cpu = model.cpu();
    writeln!(
        out,
        "\n\n{tokens} tokens in {:.0} ms: {:.0} tokens/s, measured just now on {} threads with {} kernels",
        seconds * 1e3,
        tokens as f64 / seconds,
        cpu.threads(),
        cpu.isa().name()
    )?;
    Ok(())
}
