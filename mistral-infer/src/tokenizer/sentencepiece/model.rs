//! The content of a SentencePiece model file.
//!
//! Source of the fields and their defaults: `sentencepiece_model.proto` of SentencePiece 0.2.

use super::super::error::TokenizerError;
use super::super::limits::{MAX_TOKEN_BYTES, MAX_VOCABULARY};
use super::protobuf::{Reader, Value};

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PieceKind {
    /// Part of the text, found by merging.
    Normal,
    /// The token of what is not in the vocabulary.
    Unknown,
    /// Never found in a text.
    Control,
    /// Found in a text before anything else.
    UserDefined,
    /// Merged into, but never put out.
    Unused,
    /// One byte of a character that is not in the vocabulary.
    Byte(u8),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    pub(super) score: f32,
    pub(super) kind: PieceKind,
}

/// The pieces and the settings that change results.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model<'a> {
    pub(super) pieces: Vec<Piece<'a>>,
    pub(super) byte_fallback: bool,
    pub(super) whitespace_as_suffix: bool,
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
    pub(super) escape_whitespaces: bool,
    pub(super) unk_surface: String,
    pub(super) unk_piece: String,
    pub(super) bos_piece: String,
    pub(super) eos_piece: String,
    pub(super) pad_piece: String,
    model_type: u64,
}

/// `TrainerSpec.ModelType.BPE`.
const MODEL_TYPE_BPE: u64 = 2;

impl Default for Model<'_> {
    /// No pieces, and the settings that a file gives when it doesn't name them.
    fn default() -> Self {
        Model {
            pieces: Vec::new(),
            byte_fallback: false,
            whitespace_as_suffix: false,
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
            unk_surface: " \u{2047} ".to_owned(),
            unk_piece: "<unk>".to_owned(),
            bos_piece: "<s>".to_owned(),
            eos_piece: "</s>".to_owned(),
            pad_piece: "<pad>".to_owned(),
            model_type: 1,
        }
    }
}

/// Reads a model; the file size is bounded by the caller.
pub(super) fn parse(data: &[u8]) -> Result<Model<'_>, TokenizerError> {
    let mut model = Model::default();
    let mut reader = Reader::new(data, 0);
    while let Some((number, value, offset)) = reader.field()? {
        match (number, value) {
            (1, Value::Bytes(piece)) => {
                if model.pieces.len() == MAX_VOCABULARY {
                    return Err(TokenizerError::too_large(
                        "number of pieces",
                        MAX_VOCABULARY + 1,
                        MAX_VOCABULARY,
                    ));
                }
                let id = model.pieces.len();
                model.pieces.push(parse_piece(piece, offset, id)?);
            }
            (2, Value::Bytes(trainer)) => model.read_trainer(trainer, offset)?,
            (3, Value::Bytes(normalizer)) => model.read_normalizer(normalizer, offset)?,
            (5, Value::Bytes(denormalizer)) => check_charsmap(denormalizer, offset)?,
            (1..=3 | 5, _) => {
                return Err(TokenizerError::Protobuf {
                    offset,
                    what: "expected a message",
                });
            }
            _ => {}
        }
    }
    if model.pieces.is_empty() {
        return Err(TokenizerError::Protobuf {
            offset: data.len(),
            what: "expected pieces",
        });
    }
    if model.model_type != MODEL_TYPE_BPE {
        return Err(TokenizerError::Unsupported {
            field: "trainer_spec.model_type",
            found: format!("{} (only BPE = 2 is supported)", model.model_type),
        });
    }
    Ok(model)
}

fn parse_piece(data: &[u8], base: usize, id: usize) -> Result<Piece<'_>, TokenizerError> {
    let mut text = "";
    let mut score = 0.0f32;
    let mut kind = 1u64;
    let mut reader = Reader::new(data, base);
    while let Some((number, value, offset)) = reader.field()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => text = utf8(bytes, offset)?,
            (2, Value::Fixed32(bits)) => score = f32::from_bits(bits),
            (3, Value::Varint(found)) => kind = found,
            (1..=3, _) => {
                return Err(TokenizerError::Protobuf {
                    offset,
                    what: "expected a piece's field",
                });
            }
            _ => {}
        }
    }
    check_piece(text, score, kind, id)
}

/// A piece from what a file says of it; `id` is its place there.
pub(super) fn check_piece(
    text: &str,
    score: f32,
    kind: u64,
    id: usize,
) -> Result<Piece<'_>, TokenizerError> {
    let refuse = |expected, found| TokenizerError::Vocabulary {
        id: id as u64,
        expected,
        found,
    };
    if text.is_empty() || text.len() > MAX_TOKEN_BYTES {
        let found = format!("{} bytes", text.len());
        return Err(refuse("a piece of 1 to 1024 bytes", found));
    }
    if !score.is_finite() {
        return Err(refuse("a finite score", score.to_string()));
    }
    let kind = match kind {
        1 => PieceKind::Normal,
        2 => PieceKind::Unknown,
        3 => PieceKind::Control,
        4 => PieceKind::UserDefined,
        5 => PieceKind::Unused,
        6 => match byte_of(text) {
            Some(byte) => PieceKind::Byte(byte),
            None => return Err(refuse("a byte piece <0x00> to <0xFF>", format!("{text:?}"))),
        },
        _ => return Err(refuse("a piece type from 1 to 6", kind.to_string())),
    };
    Ok(Piece { text, score, kind })
}

/// The byte that a piece such as `<0x0A>` stands for.
fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let upper_hex = |b: u8| matches!(b, b'0'..=b'9' | b'A'..=b'F');
    if digits.len() != 2 || !digits.bytes().all(upper_hex) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

fn utf8(bytes: &[u8], offset: usize) -> Result<&str, TokenizerError> {
    std::str::from_utf8(bytes).map_err(|_| TokenizerError::Protobuf {
        offset,
        what: "expected text in UTF-8",
    })
}

fn short_text(bytes: &[u8], offset: usize) -> Result<String, TokenizerError> {
    if bytes.len() > MAX_TOKEN_BYTES {
        return Err(TokenizerError::too_large(
            "a piece's name",
            bytes.len(),
            MAX_TOKEN_BYTES,
        ));
    }
    utf8(bytes, offset).map(str::to_owned)
}

impl Model<'_> {
    fn read_trainer(&mut self, data: &[u8], base: usize) -> Result<(), TokenizerError> {
        let mut reader = Reader::new(data, base);
        while let Some((number, value, offset)) = reader.field()? {
            match (number, value) {
                (3, Value::Varint(found)) => self.model_type = found,
                (24, Value::Varint(found)) => self.whitespace_as_suffix = found != 0,
                (35, Value::Varint(found)) => self.byte_fallback = found != 0,
                (44, Value::Bytes(found)) => self.unk_surface = short_text(found, offset)?,
                (45, Value::Bytes(found)) => self.unk_piece = short_text(found, offset)?,
                (46, Value::Bytes(found)) => self.bos_piece = short_text(found, offset)?,
                (47, Value::Bytes(found)) => self.eos_piece = short_text(found, offset)?,
                (48, Value::Bytes(found)) => self.pad_piece = short_text(found, offset)?,
                (3 | 24 | 35 | 44..=48, _) => {
                    return Err(TokenizerError::Protobuf {
                        offset,
                        what: "expected a trainer setting of another type",
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer(&mut self, data: &[u8], base: usize) -> Result<(), TokenizerError> {
        check_charsmap(data, base)?;
        let mut reader = Reader::new(data, base);
        while let Some((number, value, offset)) = reader.field()? {
            match (number, value) {
                (3, Value::Varint(found)) => self.add_dummy_prefix = found != 0,
                (4, Value::Varint(found)) => self.remove_extra_whitespaces = found != 0,
                (5, Value::Varint(found)) => self.escape_whitespaces = found != 0,
                (3..=5, _) => {
                    return Err(TokenizerError::Protobuf {
                        offset,
                        what: "expected a normalizer setting of another type",
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Refuses a table of character replacements: Mistral's models normalise nothing.
fn check_charsmap(data: &[u8], base: usize) -> Result<(), TokenizerError> {
    let mut reader = Reader::new(data, base);
    while let Some((number, value, _)) = reader.field()? {
        if let (2, Value::Bytes(table)) = (number, value)
            && !table.is_empty()
        {
            return Err(TokenizerError::Unsupported {
                field: "normalizer_spec.precompiled_charsmap",
                found: format!("a table of {} bytes", table.len()),
            });
        }
    }
    Ok(())
}
