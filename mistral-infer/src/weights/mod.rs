//! Weights: from files to tensors by canonical name.
//!
//! A [`Checkpoint`] reads Hugging Face folders (`model.safetensors`, shards with their index),
//! Mistral folders (`consolidated*.safetensors`), GGUF files and single files, and gives any tensor by the
//! canonical name of [`blueprint`], whatever the file calls it. Nothing is
//! allocated from a header's claims: data stays in the mapped file.

mod file;
mod find;
mod footprint;
mod gguf_names;
mod latent;
mod made_up;
mod names;
mod tensor;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use mistral_core::model::ModelSpec;
use mistral_core::precision::{Format, Precision};

use crate::blueprint;
use crate::error::InferError;
use crate::gguf::{self, Gguf};
use file::{Entry, WeightFile};
use names::{Candidate, Naming, Part};

pub(crate) use file::Bytes;
pub(crate) use footprint::Footprint;
pub(crate) use gguf_names::place as ggml_place;
pub use tensor::Tensor;

/// Where weights live while the model is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightStorage {
    /// In the mapped file: loads in no time and shares memory between processes. The file must not
    /// be truncated by another program while the model lives: reading past its new end would end
    /// this process. How fast it is read depends on where the system put the file's pages.
    Mapped,
    /// Copied into memory, by several threads: independent of what happens to the file, and as fast
    /// to read as memory is.
    Copied,
}

/// The weight files of one model.
#[derive(Debug)]
pub struct Checkpoint {
    files: Vec<WeightFile>,
    /// Tensor name in the files -> index into `files`.
    index: HashMap<String, usize>,
    naming: Naming,
    /// Whether blocks are widened to f32.
    widened: bool,
    /// What the files call the mix of their formats.
    declared: Option<Precision>,
    /// Names in the files that some canonical tensor was taken from.
    used: RefCell<HashSet<String>>,
}

impl Checkpoint {
    /// Opens the weights in a folder, or one file.
    ///
    /// # Errors
    /// [`InferError`] when there are none, a file breaks its format, an index names a file that
    /// isn't there, or two files have a tensor of the same name.
    pub fn open(path: &Path, storage: WeightStorage) -> Result<Checkpoint, InferError> {
        if let Some(file) = gguf::model_file(path)? {
            return Checkpoint::from_gguf(&Gguf::open(&file, storage)?);
        }
        let paths = if path.is_dir() {
            find::weight_files(path)?
        } else {
            vec![path.to_owned()]
        };
        Checkpoint::open_files(&paths, storage)
    }

    /// Opens exactly these safetensors files as one checkpoint.
    ///
    /// # Errors
    /// [`InferError`] as for [`Checkpoint::open`].
    pub fn open_files(paths: &[PathBuf], storage: WeightStorage) -> Result<Checkpoint, InferError> {
        let files: Result<Vec<WeightFile>, InferError> = paths
            .iter()
            .map(|path| WeightFile::open(path, storage))
            .collect();
        let files = files?;
        refuse_duplicates(paths, &files)?;
        Checkpoint::from_files(files)
    }

    /// The tensors of GGUF files. Their data is shared, not copied.
    ///
    /// # Errors
    /// [`InferError::MissingTensor`] when there is no token embedding.
    pub fn from_gguf(gguf: &Gguf) -> Result<Checkpoint, InferError> {
        let mut checkpoint = Checkpoint::from_files(WeightFile::of_gguf(gguf))?;
        checkpoint.declared = gguf.precision();
        Ok(checkpoint)
    }

    fn from_files(files: Vec<WeightFile>) -> Result<Checkpoint, InferError> {
        let mut index = HashMap::new();
        for (i, file) in files.iter().enumerate() {
            index.extend(file.entries.keys().map(|name| (name.clone(), i)));
        }
        let naming = Naming::detect(&|name| index.contains_key(name)).ok_or_else(|| {
            InferError::MissingTensor {
                name: "tok_embeddings.weight".to_owned(),
                shape: Vec::new(),
            }
        })?;
        Ok(Checkpoint {
            files,
            index,
            naming,
            widened: false,
            declared: None,
            used: RefCell::default(),
        })
    }

    /// The same tensors with blocks widened to f32 when they are asked for: what quantised weights
    /// stand for, in four to eight times the memory. Kernels round activations beside blocks, and
    /// nothing beside floats.
    #[must_use]
    pub fn widened(mut self) -> Checkpoint {
        self.widened = true;
        self
    }

    fn entry(&self, name: &str) -> Option<(&WeightFile, &Entry)> {
        let file = &self.files[*self.index.get(name)?];
        Some((file, file.entries.get(name)?))
    }

    /// The tensor with a canonical name, whose shape must be `shape`.
    ///
    /// # Errors
    /// [`InferError::MissingTensor`], [`InferError::TensorShape`], [`InferError::TensorDtype`].
    pub fn tensor(&self, canonical: &str, shape: &[usize]) -> Result<Tensor, InferError> {
        let tensor = match self.find(canonical, shape)? {
            Found::Stored(tensor) => tensor,
            Found::Halves(halves) => halves.join(shape),
        };
        Ok(match self.widened {
            true => tensor.into_floats(),
            false => tensor,
        })
    }

    /// Finds a tensor and checks it; reads no data unless it has to be aligned.
    fn find(&self, canonical: &str, shape: &[usize]) -> Result<Found, InferError> {
        for candidate in self.naming.candidates(canonical) {
            if let Some(tensor) = self.stored(&candidate, shape)? {
                return Ok(Found::Stored(tensor));
            }
        }
        if self.naming == Naming::Gguf
            && let Some((keys, values)) = gguf_names::split_latent(canonical)
            && let (Some(keys), Some(values)) = (self.as_it_is(&keys)?, self.as_it_is(&values)?)
        {
            return latent::Halves::new(canonical, keys, values, shape).map(Found::Halves);
        }
        Err(InferError::MissingTensor {
            name: canonical.to_owned(),
            shape: shape.to_vec(),
        })
    }

    /// The tensor at a place, if the files have that place.
    fn stored(&self, place: &Candidate, shape: &[usize]) -> Result<Option<Tensor>, InferError> {
        let Some(found) = self.place(place, shape)? else {
            return Ok(None);
        };
        let wrong = || InferError::TensorShape {
            name: place.name.clone(),
            expected: shape.to_vec(),
            found: found.entry.shape.clone(),
        };
        let tensor = Tensor::from_file(&found.file.bytes, found.range, found.format, shape);
        let tensor = tensor.ok_or_else(wrong)?;
        self.used.borrow_mut().insert(place.name.clone());
        Ok(Some(tensor))
    }

    /// Where a tensor lies, if the files have that place.
    fn place(&self, place: &Candidate, shape: &[usize]) -> Result<Option<Place<'_>>, InferError> {
        let Some((file, entry)) = self.entry(&place.name) else {
            return Ok(None);
        };
        let format = supported(&place.name, &entry.format)?;
        let wrong = || InferError::TensorShape {
            name: place.name.clone(),
            expected: shape.to_vec(),
            found: entry.shape.clone(),
        };
        let range = match place.part {
            Part::Whole if entry.shape == shape => entry.range.clone(),
            Part::Whole => return Err(wrong()),
            Part::Expert { expert, run, of } => {
                expert_range(entry, shape, expert, run, of, format).ok_or_else(wrong)?
            }
        };
        Ok(Some(Place {
            file,
            entry,
            range,
            format,
        }))
    }

    /// A tensor by its name in the files, in the shape that it has there.
    fn as_it_is(&self, name: &str) -> Result<Option<Tensor>, InferError> {
        let shape = self.entry(name).map(|(_, entry)| entry.shape.clone());
        self.stored(&names::whole(name.to_owned()), &shape.unwrap_or_default())
    }

    /// Checks that every tensor of `spec` is here with its shape, and that no layer has one more.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`], and [`InferError::UnexpectedTensor`].
    pub fn check(&self, spec: &ModelSpec) -> Result<(), InferError> {
        blueprint::for_each_tensor(spec, &mut |name, shape| self.find(name, shape).map(|_| ()))?;
        self.check_frequencies()?;
        let used = self.used.borrow();
        let mut extra: Vec<&String> = self
            .index
            .keys()
            .filter(|name| !used.contains(*name) && self.naming.in_decoder(name))
            // Layers beyond the model's are prediction heads for training.
            .filter(|name| {
                self.naming
                    .layer_of(name)
                    .is_none_or(|layer| layer < spec.n_layers)
            })
            .collect();
        extra.sort();
        match extra.first() {
            Some(name) => Err(InferError::UnexpectedTensor {
                name: (*name).clone(),
            }),
            None => Ok(()),
        }
    }

    /// Divisors of the rotary frequencies may stand in a GGUF file as long as they divide by one.
    fn check_frequencies(&self) -> Result<(), InferError> {
        let name = gguf_names::FREQUENCIES;
        match self.as_it_is(name)? {
            Some(divisors) if divisors.to_f32().iter().any(|d| *d != 1.0) => {
                Err(InferError::UnexpectedTensor {
                    name: name.to_owned(),
                })
            }
            _ => Ok(()),
        }
    }

    /// What the mix of formats is called: as a GGUF file says, elsewhere after the embedding, which
    /// stands for the rest.
    #[must_use]
    pub fn precision(&self) -> Option<Precision> {
        if self.naming == Naming::Gguf {
            return self.declared;
        }
        let places = self.naming.candidates("tok_embeddings.weight");
        let (_, embedding) = self.entry(&places.first()?.name)?;
        match embedding.format {
            Ok(Format::F32) => Some(Precision::F32),
            Ok(Format::F16) => Some(Precision::F16),
            Ok(Format::Bf16) => Some(Precision::Bf16),
            _ => None,
        }
    }

    /// Bytes of all tensors in the files.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.files
            .iter()
            .flat_map(|f| f.entries.values())
            .map(|e| e.range.len())
            .sum()
    }
}

/// Where a tensor lies.
struct Place<'a> {
    file: &'a WeightFile,
    entry: &'a Entry,
    range: std::ops::Range<usize>,
    format: Format,
}

/// A tensor that was found and checked.
enum Found {
    Stored(Tensor),
    /// `wkv_b` in two tensors.
    Halves(latent::Halves),
}

/// The format, if kernels compute with it.
fn supported(name: &str, format: &Result<Format, String>) -> Result<Format, InferError> {
    let found = match format {
        Ok(format) if tensor::supported(*format) => return Ok(*format),
        Ok(other) => other.name().to_owned(),
        Err(other) => other.clone(),
    };
    Err(InferError::TensorDtype {
        name: name.to_owned(),
        found,
    })
}

/// Two files with a tensor of the same name leave open which one is meant.
fn refuse_duplicates(paths: &[PathBuf], files: &[WeightFile]) -> Result<(), InferError> {
    let mut first_of: BTreeMap<&String, &PathBuf> = BTreeMap::new();
    for (second, file) in paths.iter().zip(files) {
        // Sorted, so that the same files give the same error.
        let names: BTreeSet<&String> = file.entries.keys().collect();
        for name in names {
            if let Some(first) = first_of.insert(name, second) {
                return Err(InferError::DuplicateTensor {
                    name: name.clone(),
                    first: first.clone(),
                    second: second.clone(),
                });
            }
        }
    }
    Ok(())
}

/// Bytes of one expert's matrix in a fused tensor `[experts, of · rows, cols]`.
fn expert_range(
    entry: &Entry,
    shape: &[usize],
    expert: usize,
    run: usize,
    of: usize,
    format: Format,
) -> Option<std::ops::Range<usize>> {
    let (&[experts, rows, cols], &[want_rows, want_cols]) = (entry.shape.as_slice(), shape) else {
        return None;
    };
    if expert >= experts || cols != want_cols || want_rows.checked_mul(of)? != rows {
        return None;
    }
    let size = format.bytes(want_rows.checked_mul(cols)?)?;
    let start = entry.range.start + (expert * of + run) * size;
    let end = start.checked_add(size)?;
    (end <= entry.range.end).then_some(start..end)
}
