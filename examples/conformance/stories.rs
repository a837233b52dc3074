//! A trained model with texts: greedy continuations, log-probabilities, its tokenizer, and the
//! values of one text.

use std::error::Error;
use std::path::Path;

use mistral_infer::Tokenizer;
use mistral_infer::tokenizer::Affixes;
use mistral_infer::weights::{Checkpoint, WeightStorage};
use serde::Deserialize;

use crate::Context;
use crate::checks::F32_MAX;
use crate::engine::Engine;
use crate::model::{engine, read_spec};
use crate::report::{Checks, Row, Tolerance, chain};
use crate::scores::log_softmax;
use crate::tensors::Tensors;

/// One kind of comparison of a case.
type Part<'a> = dyn Fn(&mut Checks) -> Result<(), Box<dyn Error>> + 'a;

/// `expected.json`.
#[derive(Debug, Deserialize)]
struct Expected {
    #[serde(default)]
    greedy: Vec<Greedy>,
    #[serde(default)]
    perplexity: Vec<Perplexity>,
    #[serde(default)]
    tokenizer: Vec<Ids>,
}

/// A greedy continuation.
#[derive(Debug, Deserialize)]
struct Greedy {
    prompt: String,
    prompt_ids: Vec<u32>,
    generated_ids: Vec<u32>,
    text: String,
}

/// Log-probabilities of a text's tokens.
#[derive(Debug, Deserialize)]
struct Perplexity {
    text: String,
    ids: Vec<u32>,
    nll_sum: f64,
    ppl: f64,
    token_logprobs: Vec<f32>,
}

/// A text and its ids, begin-of-sequence first.
#[derive(Debug, Deserialize)]
struct Ids {
    text: String,
    ids: Vec<u32>,
}

/// Largest difference of the perplexity, as a share of it.
const PERPLEXITY: f64 = 1e-3;

/// Tokens of a continuation that an engine without a cache computes: its work grows with the square.
const MAX_UNCACHED: usize = 32;
/// One thread: a step of so small a model is shorter than handing work to another thread on a busy
/// machine. Model cases run on all of them.
const THREADS: usize = 1;

/// Runs the model, the description in Mistral's form, and the tokenizers.
pub(crate) fn run(context: &Context, name: &str, folder: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |suffix: &str, run: &Part| {
        let mut checks = Checks::default();
        if let Err(error) = run(&mut checks) {
            checks.fail(chain(error.as_ref()));
        }
        rows.push(checks.into_row(format!("{name}{suffix}"), "stories"));
    };
    row("", &|checks| model(context, folder, "config.json", checks));
    if folder.join("native/params.json").is_file() {
        row("/native", &|checks| {
            model(context, folder, "native/params.json", checks)
        });
    }
    for file in ["tokenizer.model", "tokenizer.json"] {
        if folder.join(file).is_file() {
            row(&format!("/{file}"), &|checks| {
                tokenizer(folder, file, checks)
            });
        }
    }
    rows
}

fn read(folder: &Path) -> Result<Expected, Box<dyn Error>> {
    let path = folder.join("expected.json");
    let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let text = std::fs::read_to_string(&path).map_err(|e| at(&e))?;
    Ok(serde_json::from_str(&text).map_err(|e| at(&e))?)
}

fn model(
    context: &Context,
    folder: &Path,
    description: &str,
    checks: &mut Checks,
) -> Result<(), Box<dyn Error>> {
    let expected = read(folder)?;
    let mut spec = read_spec(&folder.join(description))?;
    // The weights are those of the Hugging Face file, whatever describes them.
    spec.rope.layout = read_spec(&folder.join("config.json"))?.rope.layout;
    let layers = spec.n_layers;
    let weights = folder.join("model.safetensors");
    let checkpoint = Checkpoint::open_files(&[weights], WeightStorage::Mapped)?;
    let mut engine = engine(context, spec, &checkpoint, THREADS)?;
    if folder.join("expected.safetensors").is_file() {
        let tensors = Tensors::read(&folder.join("expected.safetensors"))?;
        values(engine.as_mut(), &tensors, layers, checks)?;
    }
    for text in &expected.perplexity {
        perplexity(engine.as_mut(), text, checks)?;
    }
    let most = match engine.has_cache() {
        true => usize::MAX,
        false => {
            let without = format!("no cache: {MAX_UNCACHED} tokens of each continuation");
            checks.remark(without);
            MAX_UNCACHED
        }
    };
    for row in &expected.greedy {
        let ids = &row.generated_ids[..row.generated_ids.len().min(most)];
        let found = engine.greedy(&row.prompt_ids, ids.len())?;
        checks.tokens(&format!("greedy after {:?}", row.prompt), &found, ids);
    }
    let (texts, prompts) = (expected.perplexity.len(), expected.greedy.len());
    checks.remark(format!("{texts} texts scored, {prompts} prompts continued"));
    Ok(())
}

/// Logits and residual stream of one text. The reference lists the embedding, then every layer's
/// output, the last one after the final norm.
fn values(
    engine: &mut dyn Engine,
    expected: &Tensors,
    layers: usize,
    checks: &mut Checks,
) -> Result<(), Box<dyn Error>> {
    let ids = expected
        .sequences("input_ids")?
        .ok_or("input_ids is missing")?;
    let trace = engine.prefill(&ids)?;
    let logits = expected.get("logits")?;
    checks.compare(
        "logits",
        &trace.logits,
        &logits.values,
        Tolerance::Max(F32_MAX),
    );
    for i in 0..=layers {
        let Some(reference) = expected.find(&format!("hidden_states.{i}")) else {
            continue;
        };
        let name = match i {
            0 => "hidden.embed".to_owned(),
            i if i == layers => "hidden.final_norm".to_owned(),
            i => format!("hidden.layer.{}", i - 1),
        };
        let found = trace.values.get(&name).map_or(&[][..], Vec::as_slice);
        checks.compare(
            &name,
            found,
            &reference.values,
            Tolerance::MaxScaled(F32_MAX),
        );
    }
    Ok(())
}

fn perplexity(
    engine: &mut dyn Engine,
    text: &Perplexity,
    checks: &mut Checks,
) -> Result<(), Box<dyn Error>> {
    let trace = engine.prefill(std::slice::from_ref(&text.ids))?;
    let width = trace.logits.len() / text.ids.len().max(1);
    let rows = trace
        .logits
        .chunks(width.max(1))
        .zip(text.ids.iter().skip(1));
    let found: Option<Vec<f64>> = rows
        .map(|(row, &next)| log_softmax(row).get(next as usize).copied())
        .collect();
    let found = found.ok_or("an id lies outside the vocabulary")?;
    let what = format!("log-probabilities of {:?}", text.text);
    let as_f32: Vec<f32> = found.iter().map(|&v| v as f32).collect();
    checks.compare(
        &what,
        &as_f32,
        &text.token_logprobs,
        Tolerance::Max(F32_MAX),
    );
    let sum: f64 = -found.iter().sum::<f64>();
    let perplexity = (sum / found.len() as f64).exp();
    let off = (sum - text.nll_sum).abs() / text.nll_sum;
    let within = off.max((perplexity - text.ppl).abs() / text.ppl) <= PERPLEXITY;
    if !within {
        checks.fail(format!(
            "{what}: perplexity {perplexity}, expected {}",
            text.ppl
        ));
    }
    Ok(())
}

/// Ids of every text of the reference, and the texts of its continuations.
fn tokenizer(folder: &Path, file: &str, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let expected = read(folder)?;
    let tokenizer = Tokenizer::from_file(folder.join(file))?;
    let begin = Affixes {
        bos: true,
        eos: false,
    };
    let texts = expected.tokenizer.iter().map(|row| (&row.text, &row.ids));
    let texts = texts.chain(expected.perplexity.iter().map(|row| (&row.text, &row.ids)));
    let texts = texts.chain(
        expected
            .greedy
            .iter()
            .map(|row| (&row.prompt, &row.prompt_ids)),
    );
    let mut n = 0;
    for (text, ids) in texts {
        checks.tokens(
            &format!("{text:?}"),
            &tokenizer.encode_with(text, begin)?,
            ids,
        );
        n += 1;
    }
    for row in &expected.greedy {
        let all = [row.prompt_ids.as_slice(), &row.generated_ids].concat();
        let text = tokenizer.decode(&all)?;
        if text != row.text {
            checks.fail(format!("decoded {text:?}, expected {:?}", row.text));
        }
    }
    checks.remark(format!(
        "{n} texts, {} continuations decoded",
        expected.greedy.len()
    ));
    Ok(())
}
