//! GGUF cases: block formats against gguf-py's numbers, whole models against dequantised weights.

use std::error::Error;
use std::path::Path;

use mistral_core::precision::Format;
use mistral_infer::LoadOptions;
use mistral_infer::gguf::Gguf;
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_kernels::{BLOCK_FORMATS, KernelError, dequantize};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::Context;
use crate::checks::F32_MAX;
use crate::device::Device;
use crate::engine::Engine;
use crate::model::engine;
use crate::report::{Checks, Difference, Row, Tolerance, chain};
use crate::tensors::Tensors;

const KIND: &str = "gguf";

/// Beside blocks, activations are rounded to 8 bits too, with one scale for up to 256 of them. That
/// costs about what Q8_0 costs the weights: in tiny models of random weights, which damp nothing,
/// the largest difference of a row of logits is then a tenth of their root mean square.
const ROUNDED: f64 = 0.2;

/// Runs a folder of block formats or a model.
pub(crate) fn run(context: &Context, name: &str, path: &Path) -> Vec<Row> {
    if path.is_dir() {
        return match context.device {
            Device::Cpu => formats(name, path),
            _ => {
                eprintln!("{name}: not run on this device");
                Vec::new()
            }
        };
    }
    let forms: &[(&str, Form)] = match context.device {
        Device::Cpu => &[("", as_stored), ("/widened", widened)],
        // Blocks are computed with on the processor only.
        _ => &[("/widened", widened)],
    };
    let row = |(suffix, form): &(&str, Form)| {
        let mut checks = Checks::default();
        if let Err(error) = form(context, path, &mut checks) {
            checks.fail(chain(error.as_ref()));
        }
        checks.into_row(format!("{name}{suffix}"), KIND)
    };
    forms.iter().map(row).collect()
}

/// A way to run a model.
type Form = fn(&Context, &Path, &mut Checks) -> Result<(), Box<dyn Error>>;

/// What dequantised weights give.
struct Expected {
    ids: Vec<u32>,
    /// `[ids, width]`
    logits: Vec<f32>,
    width: usize,
}

fn expected(path: &Path) -> Result<Expected, Box<dyn Error>> {
    let tensors = Tensors::read(&path.with_extension("expected.safetensors"))?;
    let ids = tensors
        .sequences("input_ids")?
        .and_then(|sequences| sequences.into_iter().next())
        .ok_or("input_ids is missing")?;
    let logits = tensors.get("logits")?;
    let width = logits.width();
    if logits.values.len() != ids.len() * width {
        return Err("logits have another shape than input_ids".into());
    }
    Ok(Expected {
        ids,
        logits: logits.values.clone(),
        width,
    })
}

fn load(context: &Context, path: &Path, blocks: bool) -> Result<Box<dyn Engine>, Box<dyn Error>> {
    let file = Gguf::open(path, WeightStorage::Mapped)?;
    let checkpoint = Checkpoint::from_gguf(&file)?;
    let checkpoint = if blocks {
        checkpoint
    } else {
        checkpoint.widened()
    };
    engine(
        context,
        file.spec()?,
        &checkpoint,
        LoadOptions::default().threads,
    )
}

/// With blocks widened to f32: every number as in the reference.
fn widened(context: &Context, path: &Path, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let Expected {
        ids,
        logits: reference,
        width,
    } = expected(path)?;
    let mut engine = load(context, path, false)?;
    let found = engine.prefill(std::slice::from_ref(&ids))?.logits;
    checks.compare("logits", &found, &reference, Tolerance::Max(F32_MAX));
    if let Some(found) = engine.chunked(&ids, 1)? {
        checks.compare("decoded", &found, &reference, Tolerance::Max(F32_MAX));
    }
    let same = same_choices(&found, &reference, width);
    checks.all_tokens_equal(same == ids.len());
    if same < ids.len() {
        checks.fail(format!(
            "{same} of {} likeliest tokens are the same",
            ids.len()
        ));
    }
    Ok(())
}

/// As a user runs it. Rounding may tip an undecided router and with it a row, so that the middle
/// row counts.
fn as_stored(context: &Context, path: &Path, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let Expected {
        ids,
        logits: reference,
        width,
    } = expected(path)?;
    let mut engine = load(context, path, true)?;
    let squares: f64 = reference.iter().map(|v| f64::from(*v).powi(2)).sum();
    let allowed = ROUNDED * (squares / reference.len().max(1) as f64).sqrt();
    for (what, piece) in [("prefill", ids.len()), ("decode", 1)] {
        let Some(found) = engine.chunked(&ids, piece)? else {
            continue;
        };
        checks.record(&Difference::between(&found, &reference));
        let mut rows: Vec<f64> = found
            .chunks(width)
            .zip(reference.chunks(width))
            .map(|(found, reference)| Difference::between(found, reference).max)
            .collect();
        rows.sort_by(f64::total_cmp);
        let middle = rows.get(rows.len() / 2).copied().unwrap_or(0.0);
        // Written so that NaN fails.
        let within = middle <= allowed && found.iter().all(|x| x.is_finite());
        if !within {
            checks.fail(format!(
                "{what}: the middle row is off by {middle:.3e}, allowed {allowed:.1e}"
            ));
        }
        let same = same_choices(&found, &reference, width);
        checks.remark(format!(
            "{what}: middle row {middle:.1e} of {allowed:.1e}, {same} of {} likeliest tokens equal",
            ids.len()
        ));
    }
    Ok(())
}

/// Rows whose likeliest token is the reference's, or one that it likes as much.
fn same_choices(found: &[f32], reference: &[f32], width: usize) -> usize {
    let likeliest = |row: &[f32]| {
        let mut best = 0;
        for (i, value) in row.iter().enumerate() {
            if *value > row[best] {
                best = i;
            }
        }
        best
    };
    let rows = found.chunks(width).zip(reference.chunks(width));
    rows.filter(|(found, reference)| {
        let (a, b) = (likeliest(found), likeliest(reference));
        f64::from(reference[b] - reference[a]) <= 2.0 * F32_MAX
    })
    .count()
}

/// A row for each format that kernels compute with, and one for all others.
fn formats(name: &str, folder: &Path) -> Vec<Row> {
    match read_formats(name, folder) {
        Ok(rows) => rows,
        Err(error) => {
            let mut checks = Checks::default();
            checks.fail(chain(error.as_ref()));
            vec![checks.into_row(name.to_owned(), KIND)]
        }
    }
}

fn read_formats(name: &str, folder: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let list: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("gguf_quants.json"))?)?;
    let bytes = std::fs::read(folder.join("gguf_quants.safetensors"))?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let mut rows = Vec::new();
    let mut others = Checks::default();
    let mut refused = Vec::new();
    for entry in list["types"].as_array().ok_or("types: expected a list")? {
        let kind = entry["type"].as_str().ok_or("type: expected a text")?;
        let format = Format::from_name(kind).ok_or_else(|| format!("{kind}: no such format"))?;
        if BLOCK_FORMATS.contains(&format) {
            let mut checks = Checks::default();
            for (blocks, numbers) in [("blocks", "f32"), ("quant_out", "quant_deq")] {
                let tensor = |part: &str| tensors.tensor(&format!("{kind}.{part}")).ok();
                let (Some(blocks), Some(numbers)) = (tensor(blocks), tensor(numbers)) else {
                    continue;
                };
                bit_exact(format, blocks.data(), numbers.data(), &mut checks);
            }
            rows.push(checks.into_row(format!("{name}/{kind}"), KIND));
        } else {
            match dequantize(format, &[], &mut []) {
                Err(KernelError::BlockFormat { .. }) => refused.push(kind),
                other => others.fail(format!("{kind}: expected a named error, found {other:?}")),
            }
        }
    }
    if !refused.is_empty() {
        others.remark(format!(
            "not supported and refused by name: {}",
            refused.join(", ")
        ));
        rows.push(others.into_row(format!("{name}/others"), KIND));
    }
    Ok(rows)
}

/// The same bits, of whatever NaN.
fn bit_exact(format: Format, blocks: &[u8], numbers: &[u8], checks: &mut Checks) {
    let expected = numbers.as_chunks::<4>().0.iter();
    let expected: Vec<f32> = expected.map(|b| f32::from_le_bytes(*b)).collect();
    let mut found = vec![0.0; expected.len()];
    if let Err(error) = dequantize(format, blocks, &mut found) {
        checks.fail(error.to_string());
        return;
    }
    let finite = |(a, b): (&f32, &f32)| (a.is_finite() && b.is_finite()).then_some((*a, *b));
    let (a, b): (Vec<f32>, Vec<f32>) = found.iter().zip(&expected).filter_map(finite).unzip();
    checks.record(&Difference::between(&a, &b));
    let differ = |(a, b): &(&f32, &f32)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan());
    let wrong = found.iter().zip(&expected).filter(differ).count();
    if wrong > 0 {
        checks.fail(format!(
            "{wrong} of {} numbers have other bits",
            expected.len()
        ));
    }
}
