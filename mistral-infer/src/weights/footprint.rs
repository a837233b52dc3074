//! Where the weights of a model would live, told from headers.

use mistral_core::hardware::Hardware;
use mistral_core::model::ModelSpec;
use mistral_core::precision::Format;

use super::file::{Bytes, Entry};
use super::gguf_names;
use super::names::Naming;
use super::tensor::is_aligned;
use super::{Checkpoint, Place, WeightStorage};
use crate::blueprint;
use crate::error::InferError;

/// Bytes of weights by where they live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Footprint {
    /// In mapped files.
    pub(crate) mapped: usize,
    /// In memory.
    pub(crate) copied: usize,
}

impl Checkpoint {
    /// How the files were opened.
    pub(crate) fn storage(&self) -> WeightStorage {
        match self.files.first().map(|file| &*file.bytes) {
            Some(Bytes::Copied(_)) => WeightStorage::Copied,
            _ => WeightStorage::Mapped,
        }
    }

    /// Where weights of these files live if nobody says it: in memory if they take at most half of what
    /// is available.
    pub(crate) fn fitting(&self) -> WeightStorage {
        let files = self
            .files
            .iter()
            .map(|file| file.bytes.as_slice().len() as u64);
        match files.sum::<u64>() <= Hardware::available_memory() / 2 {
            true => WeightStorage::Copied,
            false => WeightStorage::Mapped,
        }
    }

    /// Format of the embedding.
    pub(crate) fn embedding_format(&self, spec: &ModelSpec) -> Result<Format, InferError> {
        let (name, shape) = ("tok_embeddings.weight", [spec.vocab_size, spec.dim]);
        match self.lies(name, &shape)? {
            Some(place) if !self.widened => Ok(place.format),
            _ => Ok(Format::F32),
        }
    }

    /// What the tensors of `spec` take when the files are opened with `storage`. Copied files are
    /// held whole; of mapped ones only what the model uses is counted.
    pub(crate) fn footprint(
        &self,
        spec: &ModelSpec,
        storage: WeightStorage,
    ) -> Result<Footprint, InferError> {
        let mut sum = Footprint::default();
        blueprint::for_each_tensor(spec, &mut |name, shape| {
            let found = self.tensor_footprint(name, shape)?;
            sum.mapped += found.mapped;
            sum.copied += found.copied;
            Ok::<(), InferError>(())
        })?;
        if storage == WeightStorage::Copied {
            let files = self.files.iter().map(|file| file.bytes.as_slice().len());
            sum.mapped = 0;
            sum.copied += files.sum::<usize>();
        }
        Ok(sum)
    }

    fn tensor_footprint(&self, name: &str, shape: &[usize]) -> Result<Footprint, InferError> {
        let copied = |copied| Footprint { mapped: 0, copied };
        let place = match self.lies(name, shape)? {
            Some(place) => place,
            None => return self.halves(name, shape).map(copied),
        };
        // It is in the file: the product can't wrap.
        let count: usize = shape.iter().product();
        let bytes = &place.file.bytes.as_slice()[place.range.clone()];
        Ok(match place.format.block().items {
            // Vectors become f32, and blocks too where they are widened.
            _ if shape.len() == 1 => copied(4 * count),
            2.. if self.widened => copied(4 * count),
            _ if is_aligned(bytes, place.format) => Footprint {
                mapped: bytes.len(),
                copied: 0,
            },
            _ => copied(bytes.len()),
        })
    }

    /// Bytes of a tensor that is joined of two.
    fn halves(&self, name: &str, shape: &[usize]) -> Result<usize, InferError> {
        let missing = || InferError::MissingTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
        };
        let (keys, values) = gguf_names::split_latent(name)
            .filter(|_| self.naming == Naming::Gguf)
            .ok_or_else(missing)?;
        let entry = |name: &str| self.entry(name).map(|(_, entry)| entry).ok_or_else(missing);
        let (keys, values) = (entry(&keys)?, entry(&values)?);
        let size = match (&keys.format, &values.format) {
            (Ok(Format::F16), Ok(Format::F16)) | (Ok(Format::Bf16), Ok(Format::Bf16)) => 2,
            _ => 4,
        };
        let count = |entry: &Entry| entry.shape.iter().product::<usize>();
        Ok(size * (count(keys) + count(values)))
    }

    fn lies(&self, name: &str, shape: &[usize]) -> Result<Option<Place<'_>>, InferError> {
        for candidate in self.naming.candidates(name) {
            if let Some(place) = self.place(&candidate, shape)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }
}
