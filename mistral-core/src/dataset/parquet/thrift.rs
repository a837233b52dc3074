//! A look at Parquet's headers before its reader allocates from them.
//!
//! Headers are Thrift structs in the compact protocol
//! (`apache/thrift/doc/specs/thrift-compact-protocol.md`). The reader that decodes them trusts the
//! length of a text in a page header and recurses once for each level of the schema, so both are
//! checked here first.

/// Most levels of structs and lists in a header.
const NESTED: u32 = 16;
/// Most levels of groups in a schema.
const SCHEMA_DEPTH: usize = 64;
/// Most elements of a schema.
const SCHEMA_ELEMENTS: u64 = 10_000;

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    /// It goes on behind the bytes that were given.
    #[error("a header that doesn't end")]
    Cut,
    /// It isn't what the format says.
    #[error("a header that isn't one")]
    Malformed,
    /// A schema beyond what tables have.
    #[error("a schema of more than 10000 elements or 64 levels")]
    Schema,
}

/// Checks a page's header and returns the bytes that the page says it unpacks to.
pub(super) fn page(bytes: &[u8]) -> Result<u64, HeaderError> {
    let mut walk = Walk { bytes };
    let mut unpacked = None;
    walk.fields(|walk, id, kind| match (id, kind) {
        (2, I32) => {
            unpacked = Some(walk.whole()?);
            Ok(())
        }
        _ => walk.skip(kind, NESTED),
    })?;
    u64::try_from(unpacked.ok_or(HeaderError::Malformed)?).map_err(|_| HeaderError::Malformed)
}

/// Checks the schema in a file's footer.
pub(super) fn footer(bytes: &[u8]) -> Result<(), HeaderError> {
    let mut walk = Walk { bytes };
    walk.fields(|walk, id, kind| match (id, kind) {
        (2, LIST) => walk.schema(),
        _ => walk.skip(kind, NESTED),
    })
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

struct Walk<'b> {
    bytes: &'b [u8],
}

impl Walk<'_> {
    fn byte(&mut self) -> Result<u8, HeaderError> {
        let (first, rest) = self.bytes.split_first().ok_or(HeaderError::Cut)?;
        self.bytes = rest;
        Ok(*first)
    }

    fn pass(&mut self, bytes: u64) -> Result<(), HeaderError> {
        let bytes = usize::try_from(bytes).map_err(|_| HeaderError::Cut)?;
        self.bytes = self.bytes.get(bytes..).ok_or(HeaderError::Cut)?;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, HeaderError> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(HeaderError::Malformed)
    }

    /// A whole number with its sign in the lowest bit.
    fn whole(&mut self) -> Result<i64, HeaderError> {
        let coded = self.varint()?;
        Ok((coded >> 1).cast_signed() ^ -(coded & 1).cast_signed())
    }

    /// Hands each field of a struct to `field`, which must pass its value.
    fn fields(
        &mut self,
        mut field: impl FnMut(&mut Self, i64, u8) -> Result<(), HeaderError>,
    ) -> Result<(), HeaderError> {
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            id = match head >> 4 {
                0 => self.whole()?,
                step => id.saturating_add(i64::from(step)),
            };
            field(self, id, head & 0x0f)?;
        }
    }

    /// The number and kind of a list's elements.
    fn list(&mut self) -> Result<(u64, u8), HeaderError> {
        let head = self.byte()?;
        let size = match head >> 4 {
            15 => self.varint()?,
            size => u64::from(size),
        };
        // Every element has a byte at least.
        match size <= self.bytes.len() as u64 {
            true => Ok((size, head & 0x0f)),
            false => Err(HeaderError::Cut),
        }
    }

    fn skip(&mut self, kind: u8, nested: u32) -> Result<(), HeaderError> {
        let inside = nested.checked_sub(1).ok_or(HeaderError::Malformed)?;
        match kind {
            TRUE | FALSE => Ok(()),
            BYTE => self.pass(1),
            I16 | I32 | I64 => self.varint().map(drop),
            DOUBLE => self.pass(8),
            BINARY => {
                let length = self.varint()?;
                self.pass(length)
            }
            LIST | SET => {
                let (size, kind) = self.list()?;
                (0..size).try_for_each(|_| self.element(kind, inside))
            }
            MAP => {
                let size = self.varint()?;
                if size == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                (0..size).try_for_each(|_| {
                    self.element(kinds >> 4, inside)?;
                    self.element(kinds & 0x0f, inside)
                })
            }
            STRUCT => self.fields(|walk, _, kind| walk.skip(kind, inside)),
            _ => Err(HeaderError::Malformed),
        }
    }

    /// An element of a list, where truth values take a byte.
    fn element(&mut self, kind: u8, nested: u32) -> Result<(), HeaderError> {
        match kind {
            TRUE | FALSE => self.pass(1),
            kind => self.skip(kind, nested),
        }
    }

    /// Elements in the order of a walk through the tree, each with the number of its children.
    fn schema(&mut self) -> Result<(), HeaderError> {
        let (size, kind) = self.list()?;
        if kind != STRUCT {
            return Err(HeaderError::Malformed);
        }
        if size > SCHEMA_ELEMENTS {
            return Err(HeaderError::Schema);
        }
        // Children that are still to come, level by level.
        let mut open: Vec<i64> = Vec::new();
        for _ in 0..size {
            let mut children = 0;
            self.fields(|walk, id, kind| match (id, kind) {
                (5, I32) => {
                    children = walk.whole()?;
                    Ok(())
                }
                _ => walk.skip(kind, NESTED),
            })?;
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if children > 0 {
                open.push(children);
            }
            if open.len() > SCHEMA_DEPTH {
                return Err(HeaderError::Schema);
            }
            while open.last().is_some_and(|left| *left <= 0) {
                open.pop();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_headers_are_checked() {
        let rows: [(&str, &[u8], Result<u64, HeaderError>); 8] = [
            // type 0, 100 bytes unpacked, 50 packed
            ("a page", &[0x15, 0, 0x15, 0xc8, 1, 0x15, 100, 0], Ok(100)),
            ("nothing", &[], Err(HeaderError::Cut)),
            ("no size", &[0x15, 0, 0], Err(HeaderError::Malformed)),
            (
                "a negative size",
                &[0x25, 1, 0],
                Err(HeaderError::Malformed),
            ),
            ("no end", &[0x25, 2], Err(HeaderError::Cut)),
            (
                "a text of 2^48 bytes",
                &[0x25, 2, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f, 0],
                Err(HeaderError::Cut),
            ),
            (
                "a long list",
                &[0x25, 2, 0x19, 0xf8, 0xff, 0x7f, 0],
                Err(HeaderError::Cut),
            ),
            (
                "an unknown kind",
                &[0x2d, 2, 0],
                Err(HeaderError::Malformed),
            ),
        ];
        for (name, bytes, expected) in rows {
            assert_eq!(page(bytes), expected, "{name}");
        }
        let deep = [vec![0x25, 2, 0x1c], vec![0x1c; 1000]].concat();
        assert_eq!(page(&deep), Err(HeaderError::Malformed));
    }

    #[test]
    fn deep_schemas_are_refused() {
        // Field 2: a list of so many structs, each with one child (field 5) but the last.
        let schema = |levels: u8| {
            let mut bytes = vec![0x29, 0xfc, levels];
            for level in 1..=levels {
                bytes.extend(if level < levels {
                    &[0x55, 2, 0][..]
                } else {
                    &[0]
                });
            }
            bytes.push(0);
            footer(&bytes)
        };
        assert_eq!(schema(3), Ok(()));
        assert_eq!(schema(60), Ok(()));
        assert_eq!(schema(100), Err(HeaderError::Schema));
    }
}
