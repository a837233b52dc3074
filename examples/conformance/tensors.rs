//! Reference tensors, widened to what comparisons need.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

/// One tensor of a reference file.
#[derive(Debug, Clone)]
pub(crate) struct Array {
    /// Dimensions, outermost first.
    pub(crate) shape: Vec<usize>,
    /// Format in the file.
    pub(crate) dtype: Dtype,
    /// Elements as f32; integers beyond 2^24 lose bits, token ids don't reach that.
    pub(crate) values: Vec<f32>,
}

impl Array {
    /// The elements as ids.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.values.iter().map(|&v| v as u32).collect()
    }

    /// Length of the last dimension.
    pub(crate) fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1).max(1)
    }
}

/// All tensors of a file by name.
#[derive(Debug, Default)]
pub(crate) struct Tensors(BTreeMap<String, Array>);

impl Tensors {
    /// Reads a safetensors file of floats and 32-bit integers.
    pub(crate) fn read(path: &Path) -> Result<Tensors, Box<dyn Error>> {
        let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let bytes = std::fs::read(path).map_err(|e| at(&e))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| at(&e))?;
        let mut all = BTreeMap::new();
        for (name, view) in file.iter() {
            let values = widen(view.dtype(), view.data())
                .ok_or_else(|| at(&format!("tensor {name} has format {:?}", view.dtype())))?;
            let (shape, dtype) = (view.shape().to_vec(), view.dtype());
            all.insert(
                name.to_owned(),
                Array {
                    shape,
                    dtype,
                    values,
                },
            );
        }
        Ok(Tensors(all))
    }

    /// The tensor, if the file has it.
    pub(crate) fn find(&self, name: &str) -> Option<&Array> {
        self.0.get(name)
    }

    /// The tensor, or an error that names it.
    pub(crate) fn get(&self, name: &str) -> Result<&Array, String> {
        self.find(name)
            .ok_or_else(|| format!("reference tensor {name} is missing"))
    }

    /// Names and tensors, sorted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.0.iter().map(|(name, array)| (name.as_str(), array))
    }

    /// The rows of a `[b, t]` tensor of ids.
    pub(crate) fn sequences(&self, name: &str) -> Result<Option<Vec<Vec<u32>>>, String> {
        let Some(array) = self.find(name) else {
            return Ok(None);
        };
        if array.values.is_empty() {
            return Err(format!("{name} is empty"));
        }
        let ids = array.ids();
        Ok(Some(
            ids.chunks(array.width()).map(<[u32]>::to_vec).collect(),
        ))
    }
}

fn widen(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    let words = data.as_chunks::<4>().0.iter();
    let halves = data.as_chunks::<2>().0.iter();
    Some(match dtype {
        Dtype::F32 => words.map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::I32 => words.map(|b| i32::from_le_bytes(*b) as f32).collect(),
        Dtype::I64 => data
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| i64::from_le_bytes(*b) as f32)
            .collect(),
        Dtype::BF16 => halves.map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::F16 => halves.map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        _ => return None,
    })
}
