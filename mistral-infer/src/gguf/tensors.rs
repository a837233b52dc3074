//! The tensors that a file lists, checked against each other and against the file's length.

use std::collections::HashSet;
use std::ops::Range;

use mistral_core::precision::Format;

use super::error::GgufError;
use super::limits::{MAX_DIMENSIONS, MAX_NAME_BYTES, MAX_TENSORS};
use super::reader::{Reader, within};

/// The smallest tensor: a name without letters, one dimension, a type, an offset.
pub(super) const LEAST: usize = 8 + 4 + 8 + 4 + 8;

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the file.
    pub name: String,
    /// Storage format. Every format that ggml has can be listed; not all of them can be computed
    /// with.
    pub format: Format,
    /// Dimensions, outermost first: the last is the length of a row. (Files have them the other
    /// way round.)
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub range: Range<usize>,
}

/// What a file says of a tensor, not yet held against its length.
pub(super) struct Claim {
    name: String,
    format: Format,
    /// Row length first.
    dimensions: Vec<u64>,
    /// From the start of the data.
    offset: u64,
}

/// Reads the list of tensors.
pub(super) fn read(reader: &mut Reader<'_>, count: usize) -> Result<Vec<Claim>, GgufError> {
    within("tensors", count, MAX_TENSORS)?;
    let mut claims = Vec::new();
    for _ in 0..count {
        let name = reader.text("a tensor's name")?;
        within("bytes of a tensor's name", name.len(), MAX_NAME_BYTES)?;
        let n = reader.u32("a tensor's number of dimensions")?;
        if n == 0 || n > MAX_DIMENSIONS {
            return Err(GgufError::Rank {
                name: name.to_owned(),
                found: n,
            });
        }
        let mut dimensions = Vec::with_capacity(n as usize);
        for _ in 0..n {
            dimensions.push(reader.u64("a tensor's dimension")?);
        }
        let id = reader.u32("a tensor's type")?;
        let format = Format::from_ggml_id(id).ok_or_else(|| GgufError::TensorType {
            name: name.to_owned(),
            found: id,
        })?;
        claims.push(Claim {
            name: name.to_owned(),
            format,
            dimensions,
            offset: reader.u64("a tensor's offset")?,
        });
    }
    Ok(claims)
}

/// Gives each tensor its bytes: aligned, inside the file, and its own.
pub(super) fn place(
    claims: Vec<Claim>,
    data: usize,
    file: usize,
    alignment: usize,
) -> Result<Vec<TensorInfo>, GgufError> {
    let mut names = HashSet::new();
    for claim in &claims {
        if !names.insert(claim.name.as_str()) {
            return Err(GgufError::DuplicateTensor {
                name: claim.name.clone(),
            });
        }
    }
    let tensors: Result<Vec<TensorInfo>, GgufError> = claims
        .into_iter()
        .map(|claim| claim.place(data, file, alignment))
        .collect();
    let tensors = tensors?;
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|t| t.range.start);
    match order.windows(2).find(|w| w[0].range.end > w[1].range.start) {
        Some(w) => Err(GgufError::Overlap {
            first: w[0].name.clone(),
            second: w[1].name.clone(),
        }),
        None => Ok(tensors),
    }
}

impl Claim {
    fn place(self, data: usize, file: usize, alignment: usize) -> Result<TensorInfo, GgufError> {
        let (shape, bytes) = self.size()?;
        if !self.offset.is_multiple_of(alignment as u64) {
            return Err(GgufError::Misaligned {
                name: self.name,
                offset: self.offset,
                alignment,
            });
        }
        let available = file - data;
        let end = usize::try_from(self.offset)
            .ok()
            .and_then(|offset| offset.checked_add(bytes));
        match end {
            Some(end) if end <= available => Ok(TensorInfo {
                range: data + end - bytes..data + end,
                name: self.name,
                format: self.format,
                shape,
            }),
            _ => Err(GgufError::OutOfBounds {
                name: self.name,
                offset: self.offset,
                bytes: bytes as u64,
                available,
            }),
        }
    }

    /// Dimensions, outermost first, and the bytes that they take.
    fn size(&self) -> Result<(Vec<usize>, usize), GgufError> {
        let wrong = || GgufError::Dimensions {
            name: self.name.clone(),
            found: self.dimensions.clone(),
        };
        let mut shape = Vec::with_capacity(self.dimensions.len());
        let mut count = 1usize;
        for &dimension in self.dimensions.iter().rev() {
            let dimension = usize::try_from(dimension).map_err(|_| wrong())?;
            count = count.checked_mul(dimension).ok_or_else(wrong)?;
            shape.push(dimension);
        }
        if count == 0 {
            return Err(wrong());
        }
        let row = self.dimensions[0];
        if !row.is_multiple_of(self.format.block().items as u64) {
            return Err(GgufError::RowLength {
                name: self.name.clone(),
                format: self.format,
                found: row,
            });
        }
        let bytes = self.format.bytes(count).ok_or_else(wrong)?;
        Ok((shape, bytes))
    }
}
