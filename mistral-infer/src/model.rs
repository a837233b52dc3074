//! A loaded model: description, weights, tokenizer and the processor it runs on.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use mistral_core::model::ModelSpec;
use mistral_core::precision::{Format, Precision};
use mistral_core::schedule::{self, Schedule, ScheduleBook, Shapes};
use mistral_kernels::{CacheType, Cpu, Isa};

use crate::decoder::{DecoderWeights, SessionLimits};
use crate::error::InferError;
use crate::gguf::{self, Gguf};
use crate::prefix::Fingerprint;
use crate::session::Session;
use crate::tokenizer::{Tokenizer, TokenizerError, TokenizerVersion};
use crate::weights::{Checkpoint, Footprint, WeightStorage};

/// Configs of released models are below 100 kB.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// Threads that kernels use, the caller's among them; at least 1.
    pub threads: usize,
    /// Where weights live. `None` copies them if they take at most half of the memory that is
    /// available ([`Hardware::available_memory`]), and maps them if not.
    ///
    /// [`Hardware::available_memory`]: mistral_core::hardware::Hardware::available_memory
    pub storage: Option<WeightStorage>,
    /// The tokenizer's file, when it isn't in the model's folder under a usual name.
    pub tokenizer: Option<PathBuf>,
    /// The chat version, which a `tokenizer.json` doesn't tell, nor a GGUF file whose template isn't
    /// Mistral's; other tokenizer files do.
    pub chat_version: Option<TokenizerVersion>,
    /// The instruction set of the kernels, to compare one with another; the processor's best when
    /// `None`.
    pub isa: Option<Isa>,
    /// How kernels cut and fetch their work; what `schedules` says when `None`. Results are the same
    /// bit by bit. One that [`Schedule::check`] refuses loads no model.
    pub schedule: Option<Schedule>,
    /// A [`ScheduleBook`]'s file. What it has for this machine, these threads and the model's shapes is
    /// followed ([`Cpu::schedule`] tells); the usual way where it has nothing. A file that is no such book loads
    /// no model ([`InferError::Schedules`]). Not read when `schedule` is given.
    pub schedules: Option<PathBuf>,
}

impl Default for LoadOptions {
    /// All processors that the system grants, weights copied if there is room, the folder's tokenizer.
    fn default() -> Self {
        LoadOptions {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            storage: None,
            tokenizer: None,
            chat_version: None,
            isa: None,
            schedule: None,
            schedules: None,
        }
    }
}

/// A model that is ready to run. Sessions borrow it; one model serves one session at a time per
/// thread pool.
#[derive(Debug)]
pub struct Model {
    spec: ModelSpec,
    weights: DecoderWeights,
    format: Format,
    precision: Option<Precision>,
    weight_bytes: usize,
    footprint: Footprint,
    tokenizer: Option<Tokenizer>,
    cpu: Cpu,
    fingerprint: OnceLock<Fingerprint>,
}

impl Model {
    /// Loads the folder `path`: `config.json` with `model*.safetensors`, or `params.json` with
    /// `consolidated*.safetensors`, and the tokenizer beside them if there is one. Or a GGUF model,
    /// which holds all of that: a file, the first part of a split one, or a folder with one such
    /// model and no safetensors.
    ///
    /// # Errors
    /// [`InferError`] when a file is missing, broken or not supported, when a tensor is missing or
    /// has another shape, when the tokenizer doesn't fit the vocabulary, when memory for the weights
    /// can't be had, and for options that can't be followed: no thread, an instruction set that the
    /// processor lacks, a schedule out of range, a file that is no book of schedules.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Model, InferError> {
        let book = match (options.schedule, &options.schedules) {
            (None, Some(file)) => Some(read_schedules(file)?),
            _ => None,
        };
        let mut cpu = cpu(options)?;
        let (spec, checkpoint, tokenizer) = open(path.as_ref(), options)?;
        // Weights whose mix of formats has no name were never searched for.
        if let Some((book, precision)) = book.zip(checkpoint.precision()) {
            let machine = schedule::Fingerprint::here(cpu.isa().name(), cpu.threads());
            if let Some(found) = book.find(&machine, &Shapes::of(&spec, precision)) {
                cpu.set_schedule(found)?;
            }
        }
        Model::assemble(spec, &checkpoint, tokenizer, cpu)
    }

    /// A model from a description and weights that you opened yourself.
    ///
    /// # Errors
    /// [`InferError`] as for [`Model::load`].
    pub fn from_parts(
        spec: ModelSpec,
        checkpoint: &Checkpoint,
        tokenizer: Option<Tokenizer>,
        threads: usize,
    ) -> Result<Model, InferError> {
        let options = LoadOptions {
            threads,
            ..LoadOptions::default()
        };
        Model::assemble(spec, checkpoint, tokenizer, cpu(&options)?)
    }

    fn assemble(
        spec: ModelSpec,
        checkpoint: &Checkpoint,
        tokenizer: Option<Tokenizer>,
        cpu: Cpu,
    ) -> Result<Model, InferError> {
        // Readers have done this, but the fields are public.
        spec.validate()?;
        let weights = DecoderWeights::load(&spec, checkpoint)?;
        if let Some(tokenizer) = &tokenizer {
            check_vocabulary(tokenizer.vocab_size(), spec.vocab_size)?;
        }
        Ok(Model {
            format: weights.embedding.format(),
            precision: checkpoint.precision(),
            weight_bytes: checkpoint.bytes(),
            footprint: checkpoint.footprint(&spec, checkpoint.storage())?,
            weights,
            spec,
            tokenizer,
            cpu,
            fingerprint: OnceLock::new(),
        })
    }

    /// What the model is.
    #[must_use]
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The tokenizer, if one was loaded.
    #[must_use]
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// The tokenizer, or [`InferError::NoTokenizer`].
    ///
    /// # Errors
    /// When the model was loaded without one.
    pub fn need_tokenizer(&self) -> Result<&Tokenizer, InferError> {
        self.tokenizer.as_ref().ok_or(InferError::NoTokenizer)
    }

    /// The processor path that kernels take.
    #[must_use]
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// What tells this model from others: its description and samples of every weight tensor.
    /// The first call reads those, some ten kilobytes a matrix.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        *(self.fingerprint).get_or_init(|| self.weights.fingerprint(&self.spec))
    }

    /// Format of the weights (of the embedding, which stands for the rest).
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// What the mix of formats is called, when the files say so or all have one format.
    #[must_use]
    pub fn precision(&self) -> Option<Precision> {
        self.precision
    }

    /// Bytes of all weights as stored.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Bytes of weights that one decoded token reads: of the experts only the chosen.
    #[must_use]
    pub fn bytes_per_token(&self) -> usize {
        self.weights.bytes_per_token(&self.spec)
    }

    /// The running state of conversations with this model. All its memory is taken here.
    ///
    /// # Errors
    /// [`InferError::Limit`] when a limit is zero or beyond the model's context,
    /// [`InferError::OutOfMemory`] when the buffers can't be had.
    pub fn session(&self, limits: SessionLimits) -> Result<Session<'_>, InferError> {
        Session::new(self, &limits, default_cache(self.format))
    }

    pub(crate) fn footprint(&self) -> Footprint {
        self.footprint
    }

    pub(crate) fn weights(&self) -> &DecoderWeights {
        &self.weights
    }
}

/// The cache type that follows the weights' format.
pub(crate) fn default_cache(weights: Format) -> CacheType {
    match weights {
        Format::F32 => CacheType::F32,
        Format::Bf16 => CacheType::Bf16,
        // Blocks hold less than f16 does, so that it loses nothing beside them.
        _ => CacheType::F16,
    }
}

/// Opens the files of a model but for its tokenizer.
pub(crate) fn open_weights(
    path: &Path,
    storage: WeightStorage,
) -> Result<(ModelSpec, Checkpoint), InferError> {
    match gguf::model_file(path)? {
        Some(file) => {
            let gguf = Gguf::open(&file, storage)?;
            Ok((gguf.spec()?, Checkpoint::from_gguf(&gguf)?))
        }
        None => Ok((read_spec(path)?, Checkpoint::open(path, storage)?)),
    }
}

/// Opens the files of a model: its description, its weights and its tokenizer.
pub(crate) fn open(
    path: &Path,
    options: &LoadOptions,
) -> Result<(ModelSpec, Checkpoint, Option<Tokenizer>), InferError> {
    let storage = || match options.storage {
        Some(storage) => Ok(storage),
        None => Checkpoint::open(path, WeightStorage::Mapped).map(|files| files.fitting()),
    };
    let (spec, checkpoint, own) = match gguf::model_file(path)? {
        Some(file) => {
            let gguf = Gguf::open(&file, storage()?)?;
            let checkpoint = Checkpoint::from_gguf(&gguf)?;
            let own = match options.tokenizer {
                Some(_) => None,
                None => Tokenizer::from_gguf(&gguf)?,
            };
            (gguf.spec()?, checkpoint, own)
        }
        None => {
            let spec = read_spec(path)?;
            let own = match options.tokenizer {
                Some(_) => None,
                None => find_tokenizer(path)?,
            };
            (spec, Checkpoint::open(path, storage()?)?, own)
        }
    };
    let tokenizer = match &options.tokenizer {
        Some(file) => Some(Tokenizer::from_file(file)?),
        None => own,
    };
    let tokenizer = match options.chat_version {
        Some(version) => tokenizer.map(|t| t.with_version(version)),
        None => tokenizer,
    };
    Ok((spec, checkpoint, tokenizer))
}

/// The chat template of a model: what its GGUF file carries, or what lies in its folder as
/// `chat_template.jinja` or in `tokenizer_config.json`.
pub(crate) fn chat_template(
    path: &Path,
    tokenizer: &Tokenizer,
) -> Result<Option<String>, InferError> {
    if let Some(template) = tokenizer.chat_template() {
        return Ok(Some(template.to_owned()));
    }
    let limit = gguf::limits::MAX_TEMPLATE_BYTES as u64;
    let file = path.join("chat_template.jinja");
    if file.is_file() {
        return crate::read_text(&file, limit).map(Some);
    }
    let file = path.join("tokenizer_config.json");
    if !file.is_file() {
        return Ok(None);
    }
    let config: serde_json::Value =
        serde_json::from_str(&crate::read_text(&file, MAX_CONFIG_BYTES)?)
            .map_err(TokenizerError::from)?;
    match &config["chat_template"] {
        serde_json::Value::Null => Ok(None),
        serde_json::Value::String(template) => Ok(Some(template.clone())),
        _ => Err(InferError::NotInGguf {
            field: "chat_template".to_owned(),
            found: "a list of templates".to_owned(),
        }),
    }
}

/// What a model runs on.
///
/// # Errors
/// [`InferError::Limit`] for no thread; what the kernels say of an instruction set that the processor
/// lacks, and of a schedule out of range.
fn cpu(options: &LoadOptions) -> Result<Cpu, InferError> {
    if options.threads == 0 {
        let expected = "at least 1".to_owned();
        return Err(InferError::Limit {
            limit: "threads",
            found: 0,
            expected,
        });
    }
    let mut cpu = Cpu::with_isa(options.threads, options.isa.unwrap_or_else(Isa::best))?;
    if let Some(schedule) = options.schedule {
        cpu.set_schedule(schedule)?;
    }
    Ok(cpu)
}

/// # Errors
/// [`InferError::Io`] for a file that can't be read, [`InferError::Schedules`] for one that is no book.
fn read_schedules(path: &Path) -> Result<ScheduleBook, InferError> {
    let text = crate::read_text(path, MAX_CONFIG_BYTES)?;
    serde_json::from_str(&text).map_err(|source| InferError::Schedules {
        path: path.to_owned(),
        source,
    })
}

/// Reads the description beside the weights.
fn read_spec(dir: &Path) -> Result<ModelSpec, InferError> {
    type Reader = fn(&str) -> Result<ModelSpec, mistral_core::CoreError>;
    let forms: [(&str, Reader); 2] = [
        ("config.json", ModelSpec::from_hf_config),
        ("params.json", ModelSpec::from_params),
    ];
    for (name, read) in forms {
        let path = dir.join(name);
        if path.is_file() {
            let text = crate::read_text(&path, MAX_CONFIG_BYTES)?;
            return read(&text).map_err(|source| InferError::Spec { path, source });
        }
    }
    Err(InferError::NoModel {
        path: dir.to_owned(),
        expected: "config.json or params.json",
    })
}

fn find_tokenizer(dir: &Path) -> Result<Option<Tokenizer>, InferError> {
    match Tokenizer::from_file(dir) {
        Ok(tokenizer) => Ok(Some(tokenizer)),
        Err(TokenizerError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Checks that each id of the tokenizer has a row.
pub(crate) fn check_vocabulary(tokenizer: usize, model: usize) -> Result<(), InferError> {
    // Embeddings may be padded beyond the tokenizer, never the other way round.
    if tokenizer > model {
        return Err(InferError::VocabularyMismatch { tokenizer, model });
    }
    Ok(())
}
