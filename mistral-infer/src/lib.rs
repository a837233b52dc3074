//! Runs Mistral-family models on the CPU: loads weights, tokenizes, encodes chats, generates.
//!
//! A [`Model`] is what the files hold: description, weights, tokenizer. A [`Session`] owns
//! every buffer of running it, sized before the first token. [`Session::generate`] is an iterator
//! of pieces of text; in a [`Batch`] sequences join and leave while others go on; [`Speculation`]
//! guesses several tokens and checks them in one pass; a [`Prefix`] keeps a computed prompt for
//! later; [`Session::forward`] gives logits for several sequences at once. One decoder covers every architecture that [`ModelSpec`](mistral_core::model::ModelSpec) describes: dense,
//! mixture of experts, sliding windows, latent attention, indexed sparse attention.
//!
//! ```
//! use mistral_infer::{GenerateOptions, LoadOptions, Model, SessionLimits};
//!
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-mixtral");
//! let model = Model::load(path, &LoadOptions::default())?;
//! let prompt = model.need_tokenizer()?.encode("KING RICHARD III:\n")?;
//! let mut session = model.session(SessionLimits::default())?;
//! let options = GenerateOptions { max_tokens: 20, ..GenerateOptions::default() };
//! for piece in session.generate(&prompt, &options)? {
//!     print!("{}", piece?.text);
//! }
//! # Ok::<(), mistral_infer::InferError>(())
//! ```
//!
//! It doesn't download or train, and doesn't see images or hear sound. Weights are f32, f16 or bf16
//! in safetensors, and those or block formats in [`gguf`] files, which
//! [`quantize_model`](gguf::quantize_model) writes. Model files, tokenizers and prompts are taken as hostile: what is
//! broken or not supported is refused with an [`InferError`] that names it.

#[cfg(target_endian = "big")]
compile_error!("weight files are little-endian and mapped as they are");

mod batch;
pub mod blueprint;
#[cfg(feature = "candle")]
pub mod candle;
pub mod chat;
#[cfg(feature = "constrain")]
pub mod constrain;
mod constraint;
mod decoder;
mod error;
mod generate;
pub mod gguf;
mod lane;
mod measure;
mod memory;
mod model;
pub mod prefix;
mod probe;
mod session;
mod share;
mod speculate;
mod stop;
mod text;
pub mod tokenizer;
pub mod weights;

use std::io::Read;
use std::path::Path;

pub use batch::{Batch, GenerationCounts, Step};
pub use constraint::{Constraint, Progress};
pub use decoder::{LogitRows, NoObserver, Observer, Point, Run, SessionLimits};
pub use error::InferError;
pub use generate::{EndOfSequence, Finish, GenerateOptions, Generation, Piece};
pub use measure::{MeasureOptions, Provenance, first_token_ms, measure};
pub use memory::{MemoryPlan, memory};
pub use mistral_kernels::{CacheType, ExpertLoad, Isa, Routing, Sampling};
pub use model::{LoadOptions, Model};
pub use prefix::{Prefix, PrefixStore};
pub use probe::probe;
pub use session::Session;
pub use speculate::{PromptLookup, Speculation};
pub use text::TextSession;
pub use tokenizer::Tokenizer;

/// Reads a text file of at most `max` bytes.
fn read_text(path: &Path, max: u64) -> Result<String, InferError> {
    let io = |source| InferError::Io {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(io)?;
    let mut text = String::new();
    let read = file.take(max + 1).read_to_string(&mut text).map_err(io)?;
    if read as u64 > max {
        let what = format!("larger than {max} bytes");
        return Err(io(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            what,
        )));
    }
    Ok(text)
}
