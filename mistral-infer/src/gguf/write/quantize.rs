//! A model from any of its forms into one GGUF file of a precision.

use std::path::Path;

use mistral_core::model::ModelSpec;
use mistral_core::precision::{Format, Precision};

use super::plan::Planned;
use super::rows::{Rounding, Squares};
use super::{GgufWriter, Metadata, MetadataValue, TensorHeader, metadata, plan};
use crate::error::InferError;
use crate::model::{self, LoadOptions};
use crate::tokenizer::Tokenizer;
use crate::weights::{Checkpoint, WeightStorage};

/// How a model is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantizeOptions {
    /// The mix of formats.
    pub precision: Precision,
    /// Threads that round; at least 1.
    pub threads: usize,
    /// Longest sequence in tokens, for a model whose description doesn't say.
    pub context_length: Option<usize>,
}

/// A tensor that was written.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Counted from 1.
    pub number: usize,
    /// Tensors of the file.
    pub count: usize,
    /// Name in the file.
    pub name: &'a str,
    /// The format that it was given.
    pub format: Format,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantizeReport {
    /// Size of the file.
    pub bytes: u64,
    /// Weights of all tensors.
    pub weights: u64,
    /// Bits that a weight takes on average, without the header.
    pub bits_per_weight: f64,
    /// Root mean square of what rounding changed, as a share of that of the weights; over all
    /// tensors but those in f32, which are the norms and routers of a mix.
    pub relative_rmse: f64,
    /// The same with each square counted by the square of its weight.
    pub weighted_rmse: f64,
}

/// Writes the model at `from` (a folder or a GGUF file, as [`Model::load`](crate::Model::load)
/// takes them) to the GGUF file `to`, with its tokenizer and chat template. Weights pass through
/// memory in chunks; the file appears when it is whole.
///
/// Grouped-query models, dense and with experts. A sliding window that all layers share is
/// written, and llama.cpp doesn't look at it: beyond the window its numbers are others than ours.
///
/// # Errors
/// [`InferError::NotInGguf`] for what the format can't express, [`InferError::Weight`] for weights
/// that can't be rounded, and as for [`Model::load`](crate::Model::load) and [`GgufWriter`].
pub fn quantize_model(
    from: &Path,
    to: &Path,
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<QuantizeReport, InferError> {
    if options.threads == 0 {
        return Err(InferError::Option {
            option: "threads",
            found: "0".to_owned(),
            expected: "at least 1",
        });
    }
    let load = LoadOptions {
        storage: Some(WeightStorage::Mapped),
        ..LoadOptions::default()
    };
    let (mut spec, checkpoint, tokenizer) = model::open(from, &load)?;
    spec.max_seq_len = spec.max_seq_len.or(options.context_length);
    checkpoint.check(&spec)?;
    let mut metadata = metadata::of_model(&spec, options.precision)?;
    vocabulary(&mut metadata, &spec, tokenizer.as_ref(), from)?;
    let planned = plan::tensors(&spec, options.precision)?;
    let headers: Vec<TensorHeader> = planned.iter().map(|p| p.header.clone()).collect();
    let mut file = GgufWriter::create(to, &metadata, &headers)?;
    let mut totals = Totals::default();
    for (i, planned) in planned.iter().enumerate() {
        totals.write(planned, &checkpoint, &mut file, options.threads)?;
        progress(Progress {
            number: i + 1,
            count: headers.len(),
            name: &planned.header.name,
            format: planned.header.format,
        });
    }
    Ok(totals.report(file.finish()?))
}

/// Sums over the tensors written so far.
#[derive(Default)]
struct Totals {
    squares: Squares,
    weights: u64,
    /// Bytes of tensors.
    stored: u64,
}

impl Totals {
    /// Writes all parts of a tensor.
    fn write(
        &mut self,
        planned: &Planned,
        checkpoint: &Checkpoint,
        file: &mut GgufWriter,
        threads: usize,
    ) -> Result<(), InferError> {
        for part in &planned.parts {
            let tensor = checkpoint.tensor(part, &planned.shape)?;
            self.weights += tensor.data().len() as u64;
            let rounding = Rounding {
                tensor: &tensor,
                format: planned.header.format,
                order: planned.rows,
            };
            let squares = rounding.run(threads, &mut |bytes| {
                self.stored += bytes.len() as u64;
                file.data(bytes)
            });
            let squares = squares.map_err(|error| named(error, part))?;
            if planned.header.format != Format::F32 {
                self.squares.add(squares);
            }
        }
        Ok(())
    }

    fn report(&self, bytes: u64) -> QuantizeReport {
        let share = |part: f64, all: f64| if all > 0.0 { (part / all).sqrt() } else { 0.0 };
        let sums = &self.squares;
        QuantizeReport {
            bytes,
            weights: self.weights,
            bits_per_weight: 8.0 * self.stored as f64 / self.weights as f64,
            relative_rmse: share(sums.error, sums.all),
            weighted_rmse: share(sums.weighted_error, sums.weighted_all),
        }
    }
}

/// What a kernel met, with the tensor's name.
fn named(error: InferError, tensor: &str) -> InferError {
    match error {
        InferError::Kernel(source) => InferError::Weight {
            tensor: tensor.to_owned(),
            source,
        },
        other => other,
    }
}

/// The tokenizer's keys; the ids that begin and end a sequence come from the model's description
/// first.
fn vocabulary(
    out: &mut Metadata,
    spec: &ModelSpec,
    tokenizer: Option<&Tokenizer>,
    from: &Path,
) -> Result<(), InferError> {
    let mut put = |key: &str, value| {
        out.insert(format!("tokenizer.{key}"), value);
    };
    let Some(tokenizer) = tokenizer else {
        put("ggml.model", MetadataValue::Text("no_vocab".to_owned()));
        return Ok(());
    };
    model::check_vocabulary(tokenizer.vocab_size(), spec.vocab_size)?;
    let parts = tokenizer.ggml_parts(spec.vocab_size)?;
    put("ggml.model", MetadataValue::Text(parts.model.to_owned()));
    put("ggml.pre", MetadataValue::Text(parts.pre.to_owned()));
    put("ggml.tokens", MetadataValue::Texts(parts.tokens));
    put("ggml.token_type", MetadataValue::I32s(parts.types));
    if let Some(scores) = parts.scores {
        put("ggml.scores", MetadataValue::F32s(scores));
    }
    if let Some(merges) = parts.merges {
        put("ggml.merges", MetadataValue::Texts(merges));
    }
    for (key, flag) in parts.flags {
        put(&format!("ggml.{key}"), MetadataValue::Bool(flag));
    }
    let eos = match spec.eos_token_ids[..] {
        [] => tokenizer.eos_id(),
        [one] => Some(one),
        _ => {
            return Err(InferError::NotInGguf {
                field: "eos_token_ids".to_owned(),
                found: format!("{:?}", spec.eos_token_ids),
            });
        }
    };
    for (key, id) in [
        ("bos", spec.bos_token_id.or(tokenizer.bos_id())),
        ("eos", eos),
        ("unknown", tokenizer.unk_id()),
        ("padding", tokenizer.pad_id()),
    ] {
        if let Some(id) = id {
            put(&format!("ggml.{key}_token_id"), MetadataValue::U32(id));
        }
    }
    if let Some(template) = model::chat_template(from, tokenizer)? {
        put("chat_template", MetadataValue::Text(template));
    }
    Ok(())
}
