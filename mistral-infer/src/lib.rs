//! Runs Mistral-family models on the CPU: loads weights, tokenizes, encodes chats, generates.

#[cfg(target_endian = "big")]
compile_error!("weight files are little-endian and mapped as they are");

pub mod blueprint;
#[cfg(feature = "candle")]
pub mod candle;
pub mod chat;
mod decoder;
mod error;
mod generate;
mod measure;
mod model;
mod session;
mod stop;
mod text;
pub mod tokenizer;
pub mod weights;

use std::io::Read;
use std::path::Path;

pub use decoder::{LogitRows, NoObserver, Observer, Point, Run, SessionLimits};
pub use error::InferError;
pub use generate::{EndOfSequence, Finish, GenerateOptions, Generation, Piece};
pub use measure::{MeasureOptions, Provenance, measure};
pub use mistral_kernels::{CacheType, ExpertLoad, Routing, Sampling};
pub use model::{LoadOptions, Model};
pub use session::Session;
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
