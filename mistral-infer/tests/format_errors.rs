//! What each storage format costs, measured and written to `formats.md`.
//!
//! `UPDATE_GOLDEN=1` writes the file anew.

use std::fmt::Write as _;
use std::path::Path;

use mistral_core::precision::{Format, Precision};
use mistral_infer::blueprint::for_each_tensor;
use mistral_infer::gguf::{QuantizeOptions, quantize_model};
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{CacheType, LoadOptions, LogitRows, Model, Run, SessionLimits};
use mistral_kernels::testkit::values::gaussian;
use mistral_kernels::{BLOCK_FORMATS, dequantize, quantize};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-mixtral");
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/formats.md");
const TEXT: &str = include_str!("../testdata/held_out.txt");

const INTRODUCTION: &str = "# What storage formats cost

Made by `UPDATE_GOLDEN=1 cargo test --release -p mistral-infer --test format_errors`, and checked by the same
test. Perplexity is that of `assets/tiny-mixtral` on `testdata/held_out.txt`, a text that was written for this
and that the model never saw; each window of 256 tokens starts anew. Weights are widened to f32 after rounding
and activations stay in f32, so that a figure is the weights' error and nothing else. A model of a million
weights loses more than a large one does; with a text this short, a percent of difference is chance.

";

const FORMATS: &str = "## One format

Relative error: the root mean square of what rounding changed, as a share of the weights'. *Normal* is for
normally distributed weights, *model* for the model's matrices. Its rows have 64 or 128 weights, less than a
super-block of 256: for this table, blocks run on from row to row, which a file could not do. Norms and routers
keep their weights.

| format | bits a weight | error, normal | error, model | perplexity |
|---|---|---|---|---|
";

const MIXES: &str = "
## Mixes, as files have them

The model written by `quantize_model`. Rows of 128 weights get Q5_0 where the mix has Q4_K, Q5_1 for Q5_K and
Q8_0 for Q6_K, as llama.cpp does it; larger models have the mix's own formats and fewer bits a weight.

| mix | bits a weight | error, model | perplexity |
|---|---|---|---|
";

const CACHES: &str = "
## Caches of keys and values

Weights as the file has them, widened to f32. *At once* is a window in one pass, *by token* one token a pass, as
decoding does it: where a set with VNNI is live, queries of a q8 cache are rounded to bytes then. *Logits* is the
root mean square of what the cache's type changed in them, as a share of their own, by token. Bytes a token are
those of this model, whose heads are 32 wide.

| cache | bytes a token | logits | perplexity, at once | by token |
|---|---|---|---|---|
";

fn error(x: &[f32], y: &[f32]) -> (f64, f64) {
    let squares = x.iter().zip(y).map(|(x, y)| {
        let (x, y) = (f64::from(*x), f64::from(*y));
        ((y - x).powi(2), x * x)
    });
    squares.fold((0.0, 0.0), |sum, s| (sum.0 + s.0, sum.1 + s.1))
}

fn rounded(format: Option<Format>, x: &[f32]) -> Vec<f32> {
    let Some(format) = format else {
        return x.to_vec();
    };
    let mut bytes = vec![0; format.bytes(x.len()).expect("whole blocks")];
    quantize(format, x, &mut bytes).expect("finite weights");
    let mut y = vec![0.0; x.len()];
    dequantize(format, &bytes, &mut y).expect("whole blocks");
    y
}

/// The model with its matrices rounded to a format as one row each, and the relative error.
fn with_format(original: &Model, format: Option<Format>, folder: &Path) -> (Model, f64) {
    let spec = original.spec();
    let source = Checkpoint::open(Path::new(TINY), WeightStorage::Mapped).expect("weights");
    let (mut off, mut all) = (0.0, 0.0);
    let mut tensors = Vec::new();
    let _: Result<(), ()> = for_each_tensor(spec, &mut |name, shape| {
        let x = source.tensor(name, shape).expect("a tensor").to_f32();
        let matrix = shape.len() == 2 && !name.ends_with("gate.weight");
        let y = rounded(format.filter(|_| matrix), &x);
        if matrix {
            let (o, a) = error(&x, &y);
            (off, all) = (off + o, all + a);
        }
        let bytes: Vec<u8> = y.iter().flat_map(|y| y.to_le_bytes()).collect();
        tensors.push((name.to_owned(), shape.to_vec(), bytes));
        Ok(())
    });
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("whole");
        (name.as_str(), view)
    });
    let file = folder.join("model.safetensors");
    safetensors::serialize_to_file(views, None, &file).expect("a file");
    let files = Checkpoint::open(&file, WeightStorage::Copied).expect("weights");
    let model = Model::from_parts(spec.clone(), &files, None, 1).expect("a model");
    (model, (off / all).sqrt())
}

/// Of the tokens behind the first one of each window.
fn perplexity(model: &Model, ids: &[u32]) -> f64 {
    let context = model.spec().max_seq_len.expect("the model says");
    read(model, ids, CacheType::F32, context, &mut |_| ())
}

/// The same with another cache, and so many tokens a pass; `see` gets all logits.
fn read(
    model: &Model,
    ids: &[u32],
    cache: CacheType,
    step: usize,
    see: &mut dyn FnMut(&[f32]),
) -> f64 {
    let spec = model.spec();
    let bos = spec.bos_token_id.expect("the model has one");
    let context = spec.max_seq_len.expect("the model says");
    let mut session = model
        .session(SessionLimits {
            max_batch_tokens: step,
            max_logits: context,
            cache: Some(cache),
            ..SessionLimits::default()
        })
        .expect("a session");
    let (mut nats, mut count) = (0.0, 0);
    for window in ids.chunks(context - 1) {
        let tokens: Vec<u32> = std::iter::once(bos).chain(window.iter().copied()).collect();
        session.clear(0);
        for (tokens, next) in tokens.chunks(step).zip(window.chunks(step)) {
            let run = Run {
                sequence: 0,
                tokens,
                logits: LogitRows::All,
            };
            let logits = session.forward(&[run]).expect("finite logits");
            see(logits);
            for (row, next) in logits.chunks(spec.vocab_size).zip(next) {
                let most = row.iter().copied().fold(f32::MIN, f32::max);
                let sum: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
                nats += sum.ln() - f64::from(row[*next as usize] - most);
                count += 1;
            }
        }
    }
    (nats / f64::from(count)).exp()
}

fn table() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let options = LoadOptions {
        threads: 1,
        ..LoadOptions::default()
    };
    let original = Model::load(TINY, &options).expect("the model ships with us");
    let ids = original
        .tokenizer()
        .expect("one")
        .encode(TEXT)
        .expect("ids");
    let normal = gaussian(11, 256 * 1024, 0.02);
    let mut out = INTRODUCTION.to_owned();
    writeln!(out, "The text has {} tokens.\n", ids.len()).expect("text");
    out.push_str(FORMATS);
    let (model, _) = with_format(&original, None, folder.path());
    let full = perplexity(&model, &ids);
    writeln!(out, "| bf16, as the file has it | 16 | 0 | 0 | {full:.2} |").expect("text");
    let mut formats = BLOCK_FORMATS;
    formats.sort_by(|a, b| b.bits_per_weight().total_cmp(&a.bits_per_weight()));
    for format in formats {
        let (off, all) = error(&normal, &rounded(Some(format), &normal));
        let (model, own) = with_format(&original, Some(format), folder.path());
        let (name, bits) = (format.name(), format.bits_per_weight());
        let (normal, perplexity) = ((off / all).sqrt(), perplexity(&model, &ids));
        writeln!(
            out,
            "| {name} | {bits:.4} | {normal:.4} | {own:.4} | {perplexity:.2} |"
        )
        .expect("text");
    }
    out.push_str(MIXES);
    for precision in [
        Precision::Q8_0,
        Precision::Q6K,
        Precision::Q5KM,
        Precision::Q4KM,
        Precision::Q4KS,
        Precision::Q4_0,
    ] {
        let path = folder.path().join("mix.gguf");
        let options = QuantizeOptions {
            precision,
            threads: 1,
            context_length: None,
        };
        let report = quantize_model(Path::new(TINY), &path, &options, &mut |_| ());
        let report = report.expect("a file");
        let files = Checkpoint::open(&path, WeightStorage::Mapped).expect("weights");
        let spec = mistral_infer::gguf::Gguf::open(&path, WeightStorage::Mapped)
            .and_then(|file| file.spec())
            .expect("a description");
        let model = Model::from_parts(spec, &files.widened(), None, 1).expect("a model");
        let (bits, off) = (report.bits_per_weight, report.relative_rmse);
        let perplexity = perplexity(&model, &ids);
        writeln!(
            out,
            "| {precision} | {bits:.2} | {off:.4} | {perplexity:.2} |"
        )
        .expect("text");
    }
    out.push_str(CACHES);
    let (model, _) = with_format(&original, None, folder.path());
    caches(&model, &ids, &mut out);
    out
}

/// What each type of cache costs.
fn caches(model: &Model, ids: &[u32], out: &mut String) {
    let spec = model.spec();
    let context = spec.max_seq_len.expect("the model says");
    let mut exact: Vec<f32> = Vec::new();
    for kind in CacheType::ALL {
        let at_once = read(model, ids, kind, context, &mut |_| ());
        let mut logits = Vec::new();
        let by_token = read(model, ids, kind, 1, &mut |row| {
            logits.extend_from_slice(row)
        });
        if exact.is_empty() {
            exact.clone_from(&logits);
        }
        let (off, all) = error(&exact, &logits);
        let rows = 2 * spec.n_kv_heads() * spec.layers.len();
        let (name, bytes) = (kind.name(), rows * kind.row_bytes(spec.head_dim()));
        let logits = (off / all).sqrt();
        writeln!(
            out,
            "| {name} | {bytes} | {logits:.1e} | {at_once:.2} | {by_token:.2} |"
        )
        .expect("text");
    }
}

/// Instruction sets add in other orders, which the last digit may show; errors in powers of ten are
/// their roundings themselves.
fn same(a: &str, b: &str) -> bool {
    let near = if a.contains("e-") { 0.3 } else { 0.005 };
    a == b
        || match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => (a - b).abs() <= near * a.abs().max(b.abs()),
            _ => false,
        }
}

#[test]
fn the_table_says_what_is_measured() {
    let found = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(TABLE, &found).expect("the table can be written");
        return;
    }
    let recorded = std::fs::read_to_string(TABLE).expect("the table lies in the crate");
    let (a, b) = (recorded.split_whitespace(), found.split_whitespace());
    assert!(
        a.clone().count() == b.clone().count() && a.zip(b).all(|(a, b)| same(a, b)),
        "formats.md says otherwise; measured:\n{found}"
    );
}
