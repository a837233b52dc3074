//! Reading the protobuf wire format, as far as a SentencePiece model needs it.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. Every length is checked against the
//! bytes that are there before it is used, and nothing is allocated.

use super::super::error::TokenizerError;

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// Reads the fields of one message in order.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    data: &'a [u8],
    at: usize,
    /// Where the message starts in the file, for messages of errors.
    base: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(data: &'a [u8], base: usize) -> Self {
        Self { data, at: 0, base }
    }

    /// Byte offset in the file.
    pub(super) fn offset(&self) -> usize {
        self.base + self.at
    }

    fn error(&self, what: &'static str) -> TokenizerError {
        TokenizerError::Protobuf {
            offset: self.offset(),
            what,
        }
    }

    /// The next field: its number, its value, and the offset in the file where the value's bytes
    /// start; `None` at the end.
    pub(super) fn field(&mut self) -> Result<Option<(u32, Value<'a>, usize)>, TokenizerError> {
        if self.at == self.data.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|&n| n > 0 && n < 1 << 29);
        let number = number.ok_or_else(|| self.error("expected a field number below 2^29"))?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take()?)),
            2 => {
                let length = self.varint()?;
                let left = self.data.len() - self.at;
                let length = usize::try_from(length).ok().filter(|&n| n <= left);
                let length =
                    length.ok_or_else(|| self.error("expected a length within the message"))?;
                let start = self.at;
                self.at += length;
                Value::Bytes(&self.data[start..self.at])
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take()?)),
            _ => return Err(self.error("expected wire type 0, 1, 2 or 5")),
        };
        let start = match value {
            Value::Bytes(bytes) => self.offset() - bytes.len(),
            _ => self.offset(),
        };
        Ok(Some((number, value, start)))
    }

    fn varint(&mut self) -> Result<u64, TokenizerError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && byte > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("expected a varint of at most 64 bits"))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], TokenizerError> {
        let bytes = self
            .data
            .get(self.at..)
            .and_then(|rest| rest.first_chunk::<N>());
        let bytes = *bytes.ok_or_else(|| self.error("expected more bytes"))?;
        self.at += N;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_wire_type() {
        let data = [
            0x08, 0x96, 0x01, // 1: 150
            0x12, 0x02, b'h', b'i', // 2: "hi"
            0x1d, 0, 0, 0x80, 0x3f, // 3: 1.0f32
            0x21, 1, 0, 0, 0, 0, 0, 0, 0, // 4: fixed64
        ];
        let mut reader = Reader::new(&data, 0);
        let mut fields = Vec::new();
        while let Some((number, value, _)) = reader.field().expect("valid") {
            fields.push((number, value));
        }
        let expected = [
            (1, Value::Varint(150)),
            (2, Value::Bytes(b"hi")),
            (3, Value::Fixed32(0x3f80_0000)),
            (4, Value::Fixed64(1)),
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn refuses_what_is_cut_or_absurd() {
        let cases: [(&str, &[u8]); 8] = [
            ("key without value", &[0x08]),
            ("length past the end", &[0x12, 5, b'h']),
            (
                "length of 2^63",
                &[
                    0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1,
                ],
            ),
            (
                "varint of 11 bytes",
                &[
                    0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
                ],
            ),
            (
                "varint above 64 bits",
                &[
                    0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
                ],
            ),
            ("field number 0", &[0x00, 1]),
            ("group", &[0x0b]),
            ("fixed32 cut", &[0x1d, 0, 0]),
        ];
        for (name, data) in cases {
            assert!(Reader::new(data, 0).field().is_err(), "{name} was accepted");
        }
    }
}
