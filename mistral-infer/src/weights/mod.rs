//! Weights: from files to tensors by canonical name.
//!
//! A [`Checkpoint`] reads Hugging Face folders (`model.safetensors`, shards with their index),
//! Mistral folders (`consolidated*.safetensors`) and single files, and gives any tensor by the
//! canonical name of [`blueprint`], whatever the file calls it. Nothing is
//! allocated from a header's claims: data stays in the mapped file.

mod file;
mod find;
mod names;
mod tensor;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use mistral_core::model::ModelSpec;
use safetensors::Dtype;

use crate::blueprint;
use crate::error::InferError;
use file::{Entry, WeightFile};
use names::{Naming, Part};

pub use tensor::{FloatType, Tensor};

/// Where weights live while the model is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightStorage {
    /// In the mapped file: loads in no time and shares memory between processes. The file must not
    /// be truncated by another program while the model lives: reading past its new end would end
    /// this process.
    #[default]
    Mapped,
    /// Copied into memory: independent of what happens to the file.
    Copied,
}

/// The weight files of one model.
#[derive(Debug)]
pub struct Checkpoint {
    files: Vec<WeightFile>,
    /// Tensor name in the files -> index into `files`.
    index: HashMap<String, usize>,
    naming: Naming,
    /// Names in the files that some canonical tensor was taken from.
    used: RefCell<HashSet<String>>,
}

impl Checkpoint {
    /// Opens the weights in a folder, or one file.
    ///
    /// # Errors
    /// [`InferError`] when there are none, a file breaks its format, or an index names a file that
    /// isn't there.
    pub fn open(path: &Path, storage: WeightStorage) -> Result<Checkpoint, InferError> {
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
        let mut files = Vec::with_capacity(paths.len());
        let mut index = HashMap::new();
        for (i, path) in paths.iter().enumerate() {
            let file = WeightFile::open(path, storage)?;
            index.extend(file.entries.keys().map(|name| (name.clone(), i)));
            files.push(file);
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
            used: RefCell::default(),
        })
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
        for candidate in self.naming.candidates(canonical) {
            let Some((file, entry)) = self.entry(&candidate.name) else {
                continue;
            };
            let dtype = float_type(&candidate.name, entry.dtype)?;
            let wrong = || InferError::TensorShape {
                name: candidate.name.clone(),
                expected: shape.to_vec(),
                found: entry.shape.clone(),
            };
            let range = match candidate.part {
                Part::Whole if entry.shape == shape => entry.range.clone(),
                Part::Whole => return Err(wrong()),
                Part::Expert { expert, run, of } => {
                    expert_range(entry, shape, expert, run, of, dtype).ok_or_else(wrong)?
                }
            };
            let tensor = Tensor::from_file(&file.bytes, range, dtype, shape).ok_or_else(wrong)?;
            self.used.borrow_mut().insert(candidate.name);
            return Ok(tensor);
        }
        Err(InferError::MissingTensor {
            name: canonical.to_owned(),
            shape: shape.to_vec(),
        })
    }

    /// Checks that every tensor of `spec` is here with its shape, and that no layer has one more.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`], and [`InferError::UnexpectedTensor`].
    pub fn check(&self, spec: &ModelSpec) -> Result<(), InferError> {
        blueprint::for_each_tensor(spec, &mut |name, shape| {
            self.tensor(name, shape).map(|_| ())
        })?;
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

fn float_type(name: &str, dtype: Dtype) -> Result<FloatType, InferError> {
    match dtype {
        Dtype::F32 => Ok(FloatType::F32),
        Dtype::F16 => Ok(FloatType::F16),
        Dtype::BF16 => Ok(FloatType::Bf16),
        other => Err(InferError::TensorDtype {
            name: name.to_owned(),
            found: format!("{other:?}"),
        }),
    }
}

/// Bytes of one expert's matrix in a fused tensor `[experts, of · rows, cols]`.
fn expert_range(
    entry: &Entry,
    shape: &[usize],
    expert: usize,
    run: usize,
    of: usize,
    dtype: FloatType,
) -> Option<std::ops::Range<usize>> {
    let (&[experts, rows, cols], &[want_rows, want_cols]) = (entry.shape.as_slice(), shape) else {
        return None;
    };
    if expert >= experts || cols != want_cols || want_rows.checked_mul(of)? != rows {
        return None;
    }
    let size = want_rows.checked_mul(cols)?.checked_mul(dtype.bytes())?;
    let start = entry.range.start + (expert * of + run) * size;
    let end = start.checked_add(size)?;
    (end <= entry.range.end).then_some(start..end)
}
