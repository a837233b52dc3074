//! A position in the file's bytes that never moves past their end.

use super::error::GgufError;
use super::limits::MAX_TEXT_BYTES;

#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// Bytes from the start of the file.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// What was read since a position.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `size` bytes.
    pub(super) fn take(&mut self, size: usize, what: &'static str) -> Result<&'a [u8], GgufError> {
        let Some(end) = self.at.checked_add(size).filter(|e| *e <= self.bytes.len()) else {
            return Err(GgufError::Truncated {
                what,
                offset: self.at,
                needed: size as u64,
                left: self.left(),
            });
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_le_bytes(
            bytes.try_into().expect("four were taken"),
        ))
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        let bytes = self.take(8, what)?;
        Ok(u64::from_le_bytes(
            bytes.try_into().expect("eight were taken"),
        ))
    }

    /// A count of things that take at least `least` bytes each, all of which must be left.
    pub(super) fn count(&mut self, least: usize, what: &'static str) -> Result<usize, GgufError> {
        let offset = self.at;
        let claimed = self.u64(what)?;
        let fits = (self.left() / least) as u64;
        if claimed > fits {
            return Err(GgufError::Count {
                what,
                offset,
                found: claimed,
                left: self.left(),
            });
        }
        // At most the file's length.
        Ok(claimed as usize)
    }

    /// A text with its length in front.
    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, GgufError> {
        let size = within(what, self.count(1, what)?, MAX_TEXT_BYTES)?;
        let offset = self.at;
        let bytes = self.take(size, what)?;
        std::str::from_utf8(bytes).map_err(|error| GgufError::Utf8 {
            what,
            offset: offset + error.valid_up_to(),
        })
    }
}

/// `found`, unless it is above a limit.
pub(super) fn within(what: &'static str, found: usize, limit: usize) -> Result<usize, GgufError> {
    if found > limit {
        return Err(GgufError::TooMany { what, found, limit });
    }
    Ok(found)
}
