//! Metadata values, as views of the file's bytes.

use super::error::GgufError;
use super::limits::MAX_ARRAY;
use super::reader::{Reader, within};

/// The types of metadata values, by the numbers that files carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// Unsigned, 8 bits.
    U8 = 0,
    /// Signed, 8 bits.
    I8 = 1,
    /// Unsigned, 16 bits.
    U16 = 2,
    /// Signed, 16 bits.
    I16 = 3,
    /// Unsigned, 32 bits.
    U32 = 4,
    /// Signed, 32 bits.
    I32 = 5,
    /// IEEE single precision.
    F32 = 6,
    /// One byte, 0 or 1.
    Bool = 7,
    /// UTF-8 with its length in front.
    Text = 8,
    /// Values of one type with their count in front.
    Array = 9,
    /// Unsigned, 64 bits.
    U64 = 10,
    /// Signed, 64 bits.
    I64 = 11,
    /// IEEE double precision.
    F64 = 12,
}

impl ValueType {
    const ALL: [ValueType; 13] = [
        ValueType::U8,
        ValueType::I8,
        ValueType::U16,
        ValueType::I16,
        ValueType::U32,
        ValueType::I32,
        ValueType::F32,
        ValueType::Bool,
        ValueType::Text,
        ValueType::Array,
        ValueType::U64,
        ValueType::I64,
        ValueType::F64,
    ];

    /// The type of a number in a file.
    #[must_use]
    pub fn from_id(id: u32) -> Option<ValueType> {
        ValueType::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// Bytes of a value; `None` for text and arrays, whose size is their own.
    #[must_use]
    pub fn bytes(self) -> Option<usize> {
        Some(match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => 1,
            ValueType::U16 | ValueType::I16 => 2,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 4,
            ValueType::U64 | ValueType::I64 | ValueType::F64 => 8,
            ValueType::Text | ValueType::Array => return None,
        })
    }
}

/// A metadata value. Text and arrays are views of the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Any of the unsigned integers.
    Unsigned(u64),
    /// Any of the signed integers.
    Signed(i64),
    /// Either of the floats.
    Float(f64),
    /// A flag.
    Bool(bool),
    /// Text.
    Text(&'a str),
    /// A list.
    Array(Array<'a>),
}

impl<'a> Value<'a> {
    /// The text, if it is one.
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is an integer that isn't negative.
    #[must_use]
    pub fn integer(self) -> Option<u64> {
        match self {
            Value::Unsigned(n) => Some(n),
            Value::Signed(n) => u64::try_from(n).ok(),
            _ => None,
        }
    }

    /// The flag, if it is one.
    #[must_use]
    pub fn flag(self) -> Option<bool> {
        match self {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    /// The list, if it is one.
    #[must_use]
    pub fn array(self) -> Option<Array<'a>> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// What it is, for a message: scalars with their value, the others with their size.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Value::Unsigned(n) => n.to_string(),
            Value::Signed(n) => n.to_string(),
            Value::Float(x) => x.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Text(text) if text.chars().count() <= 40 => format!("{text:?}"),
            Value::Text(text) => format!("a text of {} bytes", text.len()),
            Value::Array(array) => format!("an array of {} {:?}", array.len, array.kind),
        }
    }
}

/// A list of values of one type: text, numbers or flags, never lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Array<'a> {
    kind: ValueType,
    len: usize,
    /// Exactly the elements.
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// Type of the elements.
    #[must_use]
    pub fn kind(&self) -> ValueType {
        self.kind
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The texts, in order; `None` for a list of something else. Each is read from the file when
    /// it is asked for, and is an error only if the file has changed since it was opened.
    #[must_use]
    pub fn texts(&self) -> Option<impl Iterator<Item = Result<&'a str, GgufError>> + use<'a>> {
        if self.kind != ValueType::Text {
            return None;
        }
        let mut reader = Reader::new(self.bytes);
        Some((0..self.len).map(move |_| reader.text("an array's text")))
    }

    /// The numbers or flags, in order; `None` for texts.
    #[must_use]
    pub fn scalars(&self) -> Option<impl Iterator<Item = Value<'a>> + use<'a>> {
        let size = self.kind.bytes()?;
        let kind = self.kind;
        Some(
            self.bytes
                .chunks_exact(size)
                .map(move |chunk| scalar(kind, chunk)),
        )
    }

    /// The numbers of a list of f32.
    #[must_use]
    pub fn floats(&self) -> Option<impl Iterator<Item = f32> + use<'a>> {
        if self.kind != ValueType::F32 {
            return None;
        }
        let chunks = self.bytes.as_chunks::<4>().0;
        Some(chunks.iter().map(|b| f32::from_le_bytes(*b)))
    }
}

/// Little-endian bytes of the type's size as a value.
fn scalar<'a>(kind: ValueType, bytes: &[u8]) -> Value<'a> {
    let mut word = [0u8; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let wide = u64::from_le_bytes(word);
    // Sign extension from the type's own width.
    let signed = |bits: u32| ((wide << (64 - bits)) as i64) >> (64 - bits);
    match kind {
        ValueType::I8 => Value::Signed(signed(8)),
        ValueType::I16 => Value::Signed(signed(16)),
        ValueType::I32 => Value::Signed(signed(32)),
        ValueType::I64 => Value::Signed(signed(64)),
        ValueType::F32 => Value::Float(f64::from(f32::from_bits(wide as u32))),
        ValueType::F64 => Value::Float(f64::from_bits(wide)),
        ValueType::Bool => Value::Bool(wide != 0),
        _ => Value::Unsigned(wide),
    }
}

/// Reads one value of a type, whose end is where the reader stands afterwards.
pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    kind: ValueType,
    key: &str,
) -> Result<Value<'a>, GgufError> {
    match kind.bytes() {
        Some(size) => {
            let bytes = reader.take(size, "a metadata value")?;
            if kind == ValueType::Bool {
                check_flags(bytes, key)?;
            }
            Ok(scalar(kind, bytes))
        }
        None if kind == ValueType::Text => Ok(Value::Text(reader.text("a metadata text")?)),
        None => read_array(reader, key),
    }
}

fn read_array<'a>(reader: &mut Reader<'a>, key: &str) -> Result<Value<'a>, GgufError> {
    let id = reader.u32("an array's type")?;
    let kind = ValueType::from_id(id).ok_or_else(|| GgufError::ValueType {
        key: key.to_owned(),
        found: id,
    })?;
    if kind == ValueType::Array {
        return Err(GgufError::NestedArray {
            key: key.to_owned(),
        });
    }
    // A text takes at least its length.
    let least = kind.bytes().unwrap_or(size_of::<u64>());
    let what = "elements of an array";
    let len = within(what, reader.count(least, what)?, MAX_ARRAY)?;
    let start = reader.position();
    let bytes = match kind.bytes() {
        Some(size) => reader.take(len * size, "an array")?,
        None => {
            for _ in 0..len {
                reader.text("an array's text")?;
            }
            reader.since(start)
        }
    };
    if kind == ValueType::Bool {
        check_flags(bytes, key)?;
    }
    Ok(Value::Array(Array { kind, len, bytes }))
}

fn check_flags(bytes: &[u8], key: &str) -> Result<(), GgufError> {
    match bytes.iter().find(|b| **b > 1) {
        None => Ok(()),
        Some(byte) => Err(GgufError::Flag {
            key: key.to_owned(),
            found: *byte,
        }),
    }
}
