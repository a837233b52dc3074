//! The model's card: what it is, how it was made, how good it is, what it writes.

use std::fmt::Write;

use super::corpus::Corpus;
use super::evaluate::Evaluation;
use super::model::{ACTIVE, EXPERTS, N_HEADS, N_KV_HEADS};
use super::options::Options;
use super::state::Progress;

/// Facts of the run that the state doesn't hold.
pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) arguments: &'a [String],
    pub(crate) corpus: &'a Corpus,
    pub(crate) vocab: usize,
    pub(crate) parameters: usize,
    pub(crate) active_parameters: usize,
    pub(crate) file_bytes: usize,
    pub(crate) samples: &'a [String],
}

/// The card as Markdown.
pub(crate) fn card(run: &Run, progress: &Progress) -> String {
    let Some(best) = &progress.best else {
        return String::new();
    };
    let samples = run.samples.iter().fold(String::new(), |mut text, sample| {
        // Writing to a String can't fail.
        let _ = write!(text, "\n```text\n{}\n```\n", sample.trim());
        text
    });
    format!(
        "{}{}{}
## Samples

First draws at temperature 0.8, not chosen.
{samples}
## Licence

The text is Tiny Shakespeare, excerpts of Shakespeare's plays, in the public domain. The weights, \
the tokenizer and this card are under MIT OR Apache-2.0, like the code.
",
        model(run),
        training(run, progress, best.step),
        measured(run, &best.evaluation),
    )
}

/// What it is.
fn model(run: &Run) -> String {
    let options = run.options;
    format!(
        "# tiny-mixtral

A model of Mixtral's architecture, small enough to live in a repository, that writes lines in the \
manner of Shakespeare's plays. It exists so that every program here has something real to run. It \
knows nothing but its one megabyte of text: no facts, no instructions, no other language.

| | |
|---|---|
| architecture | Mixtral: {EXPERTS} experts, {ACTIVE} a token, grouped-query attention, RoPE, SwiGLU |
| shape | {layers} layers, dim {dim}, {N_HEADS} query heads, {N_KV_HEADS} key heads, expert width \
{hidden}, vocabulary {vocab}, context {seq} |
| parameters | {parameters} ({active} used by a token) |
| file | {bytes} bytes, bf16 |
| tokenizer | byte-level BPE, trained on the same text |
",
        layers = options.layers,
        dim = options.dim,
        hidden = options.expert_hidden,
        vocab = run.vocab,
        seq = options.seq,
        parameters = run.parameters,
        active = run.active_parameters,
        bytes = run.file_bytes,
    )
}

/// How it was made.
fn training(run: &Run, progress: &Progress, best_step: usize) -> String {
    let options = run.options;
    let tokens = options.batch * options.seq;
    format!(
        "
## Training

```text
cargo run --release --features train --example train_tiny -- {arguments}
```

on {machine}, {date}; {minutes:.0} minutes, {steps} steps{schedule} of {tokens} tokens \
({epochs:.1} passes over the {train} training tokens). AdamW (0.9, 0.95), peak rate {lr}, weight \
decay {decay}, dropout {dropout}, clipping at 1, linear warm-up and cosine decay, seed {seed}, f32. The experts are \
kept in use by the Switch load-balancing loss, coefficient {aux}. The weights kept are those with \
the lowest loss on the held-out text, evaluated every {every} steps: step {best_step}.

![Loss over the steps](loss.svg)
",
        arguments = shown(run.arguments),
        machine = mistral_examples::machine(),
        date = mistral_examples::today(),
        minutes = progress.seconds / 60.0,
        steps = progress.step,
        schedule = if progress.step < options.steps {
            format!(" (of a schedule of {})", options.steps)
        } else {
            String::new()
        },
        epochs = (progress.step * tokens) as f64 / run.corpus.train.len() as f64,
        train = run.corpus.train.len(),
        lr = options.lr,
        decay = options.weight_decay,
        dropout = options.dropout,
        seed = options.seed,
        aux = options.aux,
        every = options.eval_every,
    )
}

/// How good it is.
fn measured(run: &Run, evaluation: &Evaluation) -> String {
    format!(
        "
## Measured

On the last tenth of the text ({tokens} tokens), which neither model nor tokenizer saw, with the \
bf16 weights of the file and {seq} tokens of context at most:

| loss, nats a token | perplexity a token | bits a byte |
|---|---|---|
| {loss:.4} | {perplexity:.2} | {bits:.4} |

Share of the choices that each expert received there:

| layer | {heads} | max / mean | min / mean |
|---|{rule}---|---|
{rows}",
        tokens = evaluation.tokens,
        seq = run.options.seq,
        loss = evaluation.loss,
        perplexity = evaluation.perplexity(),
        bits = evaluation.bits_per_byte,
        heads = (0..EXPERTS)
            .map(|e| e.to_string())
            .collect::<Vec<_>>()
            .join(" | "),
        rule = "---|".repeat(EXPERTS),
        rows = load_rows(evaluation),
    )
}

/// One table row a layer.
fn load_rows(evaluation: &Evaluation) -> String {
    let layers = evaluation.expert_share.iter().zip(evaluation.balance());
    layers
        .enumerate()
        .fold(String::new(), |mut rows, (i, (shares, (max, min)))| {
            let shares: Vec<String> = shares
                .iter()
                .map(|s| format!("{:.1} %", s * 100.0))
                .collect();
            let _ = writeln!(
                rows,
                "| {i} | {} | {max:.2} | {min:.2} |",
                shares.join(" | ")
            );
            rows
        })
}

/// The arguments without folders of one machine: those don't change the weights.
fn shown(arguments: &[String]) -> String {
    let mut shown = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--out" | "--work" | "--stop-after" => drop(rest.next()),
            flag if flag.starts_with("--") => {
                shown.push(flag.to_owned());
                shown.extend(rest.next().cloned());
            }
            path => {
                let name = std::path::Path::new(path)
                    .file_name()
                    .unwrap_or(path.as_ref());
                shown.push(name.to_string_lossy().into_owned());
            }
        }
    }
    shown.join(" ")
}
