//! candle-transformers' own Mistral and Mixtral, measured as `bench_model` measures ours. MODEL is a
//! folder with safetensors, or a GGUF file, which its quantised Llama runs.
//!
//! candle has no bf16 matrix product on the CPU: it widens the weights to f32 in every call. `--compute f32`
//! widens them once while loading, which is the faster way to use candle for such a checkpoint.
#![forbid(unsafe_code)]

use candle_core::quantized::gguf_file;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{mistral, mixtral, quantized_llama};
use mistral_examples::{
    Arguments, BenchLine, Options, Outcome, UsageError, median, peak_rss_bytes, print_line, run,
};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

const USAGE: &str = "MODEL [--prompt N] [--gen N] [--depth N] [--threads N] [--repeat N] \
                     [--compute f32|bf16]";

/// How candle and rayon are told the number of threads.
const THREADS: &str = "RAYON_NUM_THREADS";

/// Tokens of one pass while the cache is filled to `--depth`.
const FILL_TOKENS: usize = 512;

fn main() -> ExitCode {
    let options = Options {
        valued: &["prompt", "gen", "depth", "threads", "repeat", "compute"],
        switches: &[],
        max_positional: 1,
    };
    run(USAGE, &options, |arguments| {
        let threads = arguments.value("threads", 2usize)?.to_string();
        if std::env::var(THREADS).as_ref() != Ok(&threads) {
            // Read once by both libraries at their first use, so it must be there from the start.
            let program = std::env::current_exe()?;
            let words = std::env::args().skip(1);
            return Err(Command::new(program)
                .args(words)
                .env(THREADS, threads)
                .exec()
                .into());
        }
        measure(arguments)
    })
}

fn measure(arguments: &Arguments) -> Result<Outcome, Box<dyn Error>> {
    let path = Path::new(arguments.required(0, "MODEL")?);
    let prompt = arguments.value("prompt", 512usize)?;
    let generated = arguments.value("gen", 32usize)?;
    let depth = arguments.value("depth", 0usize)?;
    let repeats = arguments.value("repeat", 3usize)?;
    let start = Instant::now();
    let Loaded {
        model,
        vocabulary,
        weight_bytes,
        read_bytes,
        kind,
    } = if path.is_dir() {
        load_folder(path, arguments.text("compute"))?
    } else {
        load_gguf(path)?
    };
    let load_ms = start.elapsed().as_secs_f64() * 1e3;

    let mut prefill = Vec::new();
    let mut decode = Vec::new();
    for repeat in 0..=repeats {
        // A clone shares the weights and starts with an empty cache.
        let (first, rest) = run_once(model.clone(), vocabulary, depth, prompt, generated)?;
        // The first round warms caches and pages and isn't counted.
        if repeat > 0 {
            prefill.push(first);
            decode.push(generated as f64 / rest);
        }
    }
    let prefill_s = median(&prefill).ok_or_else(|| UsageError("--repeat 0".into()))?;
    let decode_tokens_per_s = median(&decode).ok_or_else(|| UsageError("--repeat 0".into()))?;
    print_line(&BenchLine {
        prefill_tokens_per_s: prompt as f64 / prefill_s,
        decode_tokens_per_s,
        ttft_ms: prefill_s * 1e3,
        first_ttft_ms: 0.0,
        load_and_ttft_ms: 0.0,
        load_ms,
        peak_rss_bytes: peak_rss_bytes(),
        weight_bytes,
        read_bytes_per_s: read_bytes * decode_tokens_per_s,
        plain_read_bytes_per_s: 0.0,
        kernel_path: format!("candle-transformers/{kind}").to_lowercase(),
    })?;
    Ok(Outcome::Good)
}

/// A model and what is known of its weights.
struct Loaded {
    model: Model,
    vocabulary: u64,
    weight_bytes: u64,
    /// What one decoded token reads.
    read_bytes: f64,
    kind: String,
}

fn load_folder(folder: &Path, compute: Option<&str>) -> Result<Loaded, Box<dyn Error>> {
    let config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
    let compute = match (compute, config["torch_dtype"].as_str()) {
        (Some("f32"), _) | (None, Some("float32")) => DType::F32,
        (Some("bf16"), _) | (None, Some("bfloat16")) => DType::BF16,
        (found, _) => return Err(UsageError(format!("no type to compute in: {found:?}")).into()),
    };
    let vocabulary = config["vocab_size"]
        .as_u64()
        .ok_or("vocab_size is missing")?;
    // Read instead of mapped: candle's mapping is an unsafe call, and it copies every tensor anyway.
    let bytes = std::fs::read(folder.join("model.safetensors"))?;
    let (weight_bytes, read_bytes) = weight_bytes(&bytes, &config)?;
    let builder = VarBuilder::from_buffered_safetensors(bytes, compute, &Device::Cpu)?;
    Ok(Loaded {
        model: Model::new(&config, builder)?,
        vocabulary,
        weight_bytes,
        read_bytes,
        kind: format!("{compute:?}"),
    })
}

/// candle's quantised Llama, which Mistral's dense and sparse models are to it.
fn load_gguf(path: &Path) -> Result<Loaded, Box<dyn Error>> {
    let mut file = BufReader::new(File::open(path)?);
    let content = gguf_file::Content::read(&mut file)?;
    let embedding = content.tensor_infos.get("token_embd.weight");
    let embedding = embedding.ok_or("token_embd.weight is missing")?;
    let vocabulary = embedding.shape.dims().first().copied().unwrap_or(0) as u64;
    let share = match ["llama.expert_used_count", "llama.expert_count"]
        .map(|key| content.metadata.get(key).and_then(|v| v.to_u32().ok()))
    {
        [Some(used), Some(all)] if all > 0 => f64::from(used) / f64::from(all),
        _ => 1.0,
    };
    let (mut all, mut read) = (0.0, 0.0);
    for (name, tensor) in &content.tensor_infos {
        let blocks = tensor.shape.elem_count() / tensor.ggml_dtype.block_size();
        let bytes = (blocks * tensor.ggml_dtype.type_size()) as f64;
        all += bytes;
        if name.contains("_exps.") {
            read += bytes * share;
        } else if name != "token_embd.weight" {
            read += bytes;
        }
    }
    let model = quantized_llama::ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?;
    Ok(Loaded {
        model: Model::Quantized(Box::new(model)),
        vocabulary,
        weight_bytes: all as u64,
        read_bytes: read,
        kind: "gguf".to_owned(),
    })
}

/// Seconds of the prompt after `depth` cached tokens, and of the tokens generated after it.
fn run_once(
    mut model: Model,
    vocabulary: u64,
    depth: usize,
    prompt: usize,
    generated: usize,
) -> candle_core::Result<(f64, f64)> {
    let mut position = 0;
    while position < depth {
        let tokens = FILL_TOKENS.min(depth - position);
        model.forward(&tokens_from(position, tokens, vocabulary)?, position)?;
        position += tokens;
    }
    let start = Instant::now();
    let mut next = model.forward(&tokens_from(position, prompt, vocabulary)?, position)?;
    let prefill_s = start.elapsed().as_secs_f64();
    position += prompt;
    let start = Instant::now();
    for _ in 0..generated {
        next = model.forward(&Tensor::new(&[[next]], &Device::Cpu)?, position)?;
        position += 1;
    }
    Ok((prefill_s, start.elapsed().as_secs_f64()))
}

/// All models behind one call.
#[derive(Clone)]
enum Model {
    Mistral(mistral::Model),
    Mixtral(mixtral::Model),
    Quantized(Box<quantized_llama::ModelWeights>),
}

impl Model {
    fn new(config: &Value, builder: VarBuilder) -> Result<Self, Box<dyn Error>> {
        let mut config = config.clone();
        config["use_flash_attn"] = json!(false);
        if config["model_type"] == "mixtral" {
            // candle's configuration knows no "none": a window as long as the context is the same.
            if config["sliding_window"].is_null() {
                config["sliding_window"] = config["max_position_embeddings"].clone();
            }
            let config: mixtral::Config = serde_json::from_value(config)?;
            Ok(Self::Mixtral(mixtral::Model::new(&config, builder)?))
        } else {
            let config: mistral::Config = serde_json::from_value(config)?;
            Ok(Self::Mistral(mistral::Model::new(&config, builder)?))
        }
    }

    /// The most likely token after `tokens`, which stand at `position` and onwards.
    fn forward(&mut self, tokens: &Tensor, position: usize) -> candle_core::Result<u32> {
        let logits = match self {
            Self::Mistral(model) => model.forward(tokens, position)?,
            Self::Mixtral(model) => model.forward(tokens, position)?,
            Self::Quantized(model) => model.forward(tokens, position)?,
        };
        logits.flatten_all()?.argmax(0)?.to_scalar::<u32>()
    }
}

/// `count` token ids, the same ones for the same position.
fn tokens_from(position: usize, count: usize, vocabulary: u64) -> candle_core::Result<Tensor> {
    let ids: Vec<u32> = (position..position + count)
        .map(|p| (3 + (p as u64 * 2_654_435_761) % (vocabulary - 3)) as u32)
        .collect();
    Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)
}

/// Bytes of all weights, and those that one decoded token reads: without the embedding's other rows and
/// without the experts that it isn't sent to.
fn weight_bytes(file: &[u8], config: &Value) -> Result<(u64, f64), Box<dyn Error>> {
    let (mut all, mut read) = (0, 0.0);
    let share = match (
        config["num_experts_per_tok"].as_f64(),
        config["num_local_experts"].as_f64(),
    ) {
        (Some(active), Some(experts)) => active / experts,
        _ => 1.0,
    };
    for (name, tensor) in SafeTensors::deserialize(file)?.tensors() {
        let bytes = tensor.data().len();
        all += bytes as u64;
        if name.contains(".experts.") {
            read += bytes as f64 * share;
        } else if !name.contains("embed_tokens") {
            read += bytes as f64;
        }
    }
    Ok((all, read))
}
