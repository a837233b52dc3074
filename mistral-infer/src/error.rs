//! What can go wrong between a folder of files and generated text.

use std::path::PathBuf;

/// Errors of loading, tokenizing and generating. Messages say what was expected, what was found
/// and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// A file can't be read.
    #[error("{}: can't be read", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A folder lacks the files of a model.
    #[error("{}: expected {expected}", path.display())]
    NoModel {
        /// The folder.
        path: PathBuf,
        /// Which files were looked for.
        expected: &'static str,
    },
    /// The model's description is refused.
    #[error("{}: refused", path.display())]
    Spec {
        /// The description's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: mistral_core::CoreError,
    },
    /// A file that is no book of schedules.
    #[error("{}: not a book of schedules", path.display())]
    Schedules {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A description that the program built or changed is refused.
    #[error("model description: refused")]
    Inconsistent(#[from] mistral_core::CoreError),
    /// A safetensors file breaks its format: header too large or cut off, offsets that overlap,
    /// leave gaps or run past the end, shapes whose product wraps.
    #[error("{}: not a valid safetensors file", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// Which rule it breaks.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A GGUF file breaks its format, or a part of a split model is missing or foreign.
    #[error("{}: not a valid GGUF file", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// Which rule it breaks.
        #[source]
        source: crate::gguf::GgufError,
    },
    /// A file can't be written; what was at its place is there unchanged.
    #[error("{}: can't be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something of a model that GGUF files, as llama.cpp reads them, can't express.
    #[error("`{field}`: {found} can't be written to a GGUF file")]
    NotInGguf {
        /// Field of the description, or a tensor.
        field: String,
        /// What it is.
        found: String,
    },
    /// Weights that can't be rounded to their format.
    #[error("tensor `{tensor}`")]
    Weight {
        /// Canonical name.
        tensor: String,
        /// What the kernel met; an index counts from the start of a chunk of rows.
        #[source]
        source: mistral_kernels::KernelError,
    },
    /// A folder has more than one GGUF model, and nothing says which is meant.
    #[error("{}: expected one GGUF model, found {found:?}", path.display())]
    SeveralModels {
        /// The folder.
        path: PathBuf,
        /// Their names, parts of split models counted once.
        found: Vec<String>,
    },
    /// The index of a sharded checkpoint is no valid JSON object of tensor to file.
    #[error("{}: not a valid index of shards", path.display())]
    ShardIndex {
        /// The index file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The index names a file outside its folder.
    #[error("{}: shard name {name:?} is not a file name", path.display())]
    ShardName {
        /// The index file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A tensor of the model is in no file.
    #[error("tensor `{name}` of shape {shape:?} is missing")]
    MissingTensor {
        /// Canonical name.
        name: String,
        /// Shape that the model's description gives.
        shape: Vec<usize>,
    },
    /// Two files of a checkpoint have a tensor of the same name.
    #[error("tensor `{name}` is in {} and in {}, expected one of them", first.display(), second.display())]
    DuplicateTensor {
        /// Name in the files.
        name: String,
        /// The file that was read first.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// A tensor has another shape than the model's description gives.
    #[error("tensor `{name}`: expected shape {expected:?}, found {found:?}")]
    TensorShape {
        /// Name in the file.
        name: String,
        /// Shape that the model's description gives.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// A tensor is stored in a format that this crate doesn't read.
    #[error(
        "tensor `{name}`: expected f32, f16, bf16 or a block format with kernels, found {found}"
    )]
    TensorDtype {
        /// Name in the file.
        name: String,
        /// The format found.
        found: String,
    },
    /// A decoder layer has a tensor that the description doesn't account for, such as a bias.
    #[error("tensor `{name}` is not part of the model that the description gives")]
    UnexpectedTensor {
        /// Name in the file.
        name: String,
    },
    /// The tokenizer has ids that the embedding has no row for.
    #[error("tokenizer has {tokenizer} ids, the model's vocabulary only {model}")]
    VocabularyMismatch {
        /// Ids of the tokenizer.
        tokenizer: usize,
        /// Rows of the embedding.
        model: usize,
    },
    /// A draft model has other token ids than the model it guesses for.
    #[error("the draft's vocabulary has {found} ids, expected the model's {expected}")]
    DraftVocabulary {
        /// Ids of the model.
        expected: usize,
        /// Ids of the draft.
        found: usize,
    },
    /// A token id isn't in the vocabulary.
    #[error("token id {id} at position {position}: the vocabulary has {vocab_size}")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Its place in what was given.
        position: usize,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// Nothing was given to continue.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// The prompt, or prompt and continuation, exceed the session's context.
    #[error("{tokens} tokens exceed the session's context of {max_seq_len}")]
    ContextExceeded {
        /// Tokens asked for.
        tokens: usize,
        /// The session's limit.
        max_seq_len: usize,
    },
    /// A limit is zero or beyond the model's context, or a call goes beyond what the session was
    /// made for.
    #[error("session limit `{limit}` = {found}, expected {expected}")]
    Limit {
        /// Field of [`SessionLimits`](crate::SessionLimits) or of the load options.
        limit: &'static str,
        /// Its value.
        found: usize,
        /// The condition it fails.
        expected: String,
    },
    /// Two runs of one pass belong to the same sequence.
    #[error("sequence {sequence} has two runs in one pass, expected each sequence once")]
    RepeatedSequence {
        /// Index of the sequence.
        sequence: usize,
    },
    /// The buffers of a session can't be allocated.
    #[error("a session of {bytes} bytes can't be allocated")]
    OutOfMemory {
        /// Size of all of them together.
        bytes: usize,
    },
    /// A model and a session take more than the bound given.
    #[error("{needed} bytes of memory are needed, expected at most {max_bytes}")]
    MemoryBound {
        /// Bytes of weights and session together.
        needed: u64,
        /// The bound.
        max_bytes: u64,
    },
    /// A prefix can't be taken, put in or read.
    #[error("prefix")]
    Prefix(#[from] crate::prefix::PrefixError),
    /// A file that should hold a prefix is refused.
    #[error("{}: refused", path.display())]
    PrefixFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: crate::prefix::PrefixError,
    },
    /// An option of generation is out of range.
    #[error("option `{option}` = {found}, expected {expected}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// Its value.
        found: String,
        /// The condition it fails.
        expected: &'static str,
    },
    /// A grammar can't be kept to, or an answer left it.
    #[cfg(feature = "constrain")]
    #[error("expected a grammar that can be kept to")]
    Grammar(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Text was given or asked for, but no tokenizer was loaded.
    #[error("the model was loaded without a tokenizer")]
    NoTokenizer,
    /// The tokenizer's file or a text is refused.
    #[error("tokenizer")]
    Tokenizer(#[from] crate::tokenizer::TokenizerError),
    /// A conversation is refused.
    #[error("conversation")]
    Chat(#[from] crate::chat::ChatError),
    /// A kernel refused its arguments, or met a number that isn't finite.
    #[error("kernel")]
    Kernel(#[from] mistral_kernels::KernelError),
    /// As [`InferError::Kernel`], inside a decoder layer: mostly weights or scales that are broken.
    #[error("layer {layer}")]
    Layer {
        /// The decoder layer.
        layer: usize,
        /// What the kernel met.
        #[source]
        source: mistral_kernels::KernelError,
    },
}
