//! SentencePiece BPE models: `tokenizer.model`, `tokenizer.model.v*`.
//!
//! Source of the rules: SentencePiece 0.2 (`normalizer.cc`, `bpe_model.cc`,
//! `sentencepiece_processor.cc`). A text gets a leading space, spaces become `▁`, user-defined
//! pieces are cut out first, the rest merges by highest score and then leftmost, and characters
//! without a token fall back to bytes.

mod joins;
mod model;
mod protobuf;
mod trie;

use std::collections::HashMap;
use std::ops::Range;

use self::joins::Joins;
use self::model::{Model, Piece, PieceKind};
use self::trie::Trie;
use super::bpe::Merger;
use super::bytes_map::{BytesMap, refused};
use super::cache::PieceCache;
use super::error::TokenizerError;
use super::export;

/// What stands for a space inside pieces.
pub(super) const SPACE: &str = "\u{2581}";

/// A SentencePiece model ready to use.
pub(super) struct SentencePiece {
    /// All pieces by id; those that text can match are found by content.
    pieces: BytesMap,
    kinds: Vec<PieceKind>,
    /// Priority of a merge into a piece: 0 for the highest score, equal for equal scores.
    priorities: Vec<u32>,
    user_defined: Trie,
    /// Ids of the 256 byte pieces, when the model falls back to bytes.
    bytes: Option<Box<[u32; 256]>>,
    unk: u32,
    has_unused: bool,
    /// Where a text may be cut; `None` for a model with unused pieces, which does not allow it.
    joins: Option<Joins>,
    /// The pieces as they are decoded, one after the other, and where each ends.
    surfaces: String,
    surface_ends: Vec<u32>,
    settings: Settings,
    control_ids: HashMap<String, u32>,
}

/// Settings of the normaliser and the detokenizer.
pub(super) struct Settings {
    whitespace_as_suffix: bool,
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
    pub(super) unk_surface: String,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) pad: Option<u32>,
}

impl Settings {
    /// A setting that GGUF files have no key for and that isn't as usual.
    pub(super) fn beyond_ggml(&self) -> Option<&'static str> {
        if self.whitespace_as_suffix {
            return Some("trainer_spec.treat_whitespace_as_suffix");
        }
        (!self.escape_whitespaces).then_some("normalizer_spec.escape_whitespaces")
    }

    /// Whether decoding drops the space before the first word.
    pub(super) fn strips_first_space(&self) -> bool {
        self.add_dummy_prefix || self.remove_extra_whitespaces
    }
}

/// Names of the control pieces that have a role.
pub(super) struct Specials<'a> {
    pub(super) bos: &'a str,
    pub(super) eos: &'a str,
    pub(super) pad: &'a str,
}

/// What is done to a text before it is cut.
pub(super) struct Normalization {
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
}

impl SentencePiece {
    /// Reads a model file.
    pub(super) fn from_bytes(data: &[u8]) -> Result<Self, TokenizerError> {
        Self::from_model(&model::parse(data)?)
    }

    /// A model of pieces in order of their ids: text, score, type by SentencePiece's numbers. It
    /// falls back to bytes when it has pieces for them.
    pub(super) fn from_pieces<'a>(
        pieces: impl Iterator<Item = (&'a str, f32, u64)>,
        specials: &Specials<'_>,
        normalization: &Normalization,
    ) -> Result<Self, TokenizerError> {
        let pieces: Result<Vec<Piece<'_>>, TokenizerError> = pieces
            .enumerate()
            .map(|(id, (text, score, kind))| model::check_piece(text, score, kind, id))
            .collect();
        let pieces = pieces?;
        let is_byte = |piece: &Piece<'_>| matches!(piece.kind, PieceKind::Byte(_));
        let mut model = Model::default();
        model.byte_fallback = pieces.iter().any(is_byte);
        model.pieces = pieces;
        model.add_dummy_prefix = normalization.add_dummy_prefix;
        model.remove_extra_whitespaces = normalization.remove_extra_whitespaces;
        model.bos_piece = specials.bos.to_owned();
        model.eos_piece = specials.eos.to_owned();
        model.pad_piece = specials.pad.to_owned();
        Self::from_model(&model)
    }

    fn from_model(model: &Model<'_>) -> Result<Self, TokenizerError> {
        let mut pieces = BytesMap::with_capacity(model.pieces.len());
        let mut control_ids = HashMap::new();
        let mut user_defined = Trie::default();
        let mut unk = None;
        for (id, piece) in model.pieces.iter().enumerate() {
            let text = piece.text.as_bytes();
            match piece.kind {
                PieceKind::Normal | PieceKind::UserDefined | PieceKind::Unused => {
                    pieces.push(text).map_err(|why| refused(id, text, why))?;
                    if piece.kind == PieceKind::UserDefined {
                        user_defined.insert(text);
                    }
                }
                PieceKind::Unknown | PieceKind::Control | PieceKind::Byte(_) => {
                    pieces.push_unlisted(text);
                    let first = control_ids.insert(piece.text.to_owned(), id as u32);
                    if first.is_some() || (piece.kind == PieceKind::Unknown && unk.is_some()) {
                        return Err(TokenizerError::Vocabulary {
                            id: id as u64,
                            expected: "control pieces that differ, and one unknown piece",
                            found: format!("{:?} again", piece.text),
                        });
                    }
                    if piece.kind == PieceKind::Unknown {
                        unk = Some(id as u32);
                    }
                }
            }
        }
        let unk = unk.ok_or(TokenizerError::Field {
            field: "pieces",
            expected: "one piece of the type unknown",
            found: "none".to_owned(),
        })?;
        let control = |name: &str, kind: PieceKind| {
            let id = control_ids.get(name).copied()?;
            (model.pieces[id as usize].kind == kind).then_some(id)
        };
        let settings = Settings {
            whitespace_as_suffix: model.whitespace_as_suffix,
            add_dummy_prefix: model.add_dummy_prefix,
            remove_extra_whitespaces: model.remove_extra_whitespaces,
            escape_whitespaces: model.escape_whitespaces,
            unk_surface: model.unk_surface.clone(),
            bos: control(&model.bos_piece, PieceKind::Control),
            eos: control(&model.eos_piece, PieceKind::Control),
            pad: control(&model.pad_piece, PieceKind::Control),
        };
        let mut surfaces = String::new();
        let mut surface_ends = Vec::with_capacity(model.pieces.len());
        for piece in &model.pieces {
            surfaces.extend(
                piece
                    .text
                    .chars()
                    .map(|c| if SPACE.starts_with(c) { ' ' } else { c }),
            );
            surface_ends.push(surfaces.len() as u32);
        }
        Ok(Self {
            bytes: byte_table(model)?,
            kinds: model.pieces.iter().map(|piece| piece.kind).collect(),
            priorities: priorities(model),
            has_unused: model
                .pieces
                .iter()
                .any(|piece| piece.kind == PieceKind::Unused),
            joins: joins(model),
            surfaces,
            surface_ends,
            pieces,
            user_defined,
            unk,
            settings,
            control_ids,
        })
    }

    /// Appends the ids of a text; control strings in it are plain text.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        let text = self.normalize(text);
        let mut state = Encoding {
            cache: PieceCache::for_text(text.len()),
            ..Default::default()
        };
        // The cache counts ids from the start of this text.
        let mut found = Vec::with_capacity(text.len() / 3 + 1);
        let mut start = 0;
        let mut at = 0;
        while let Some(candidate) = self.user_defined.next_candidate(text.as_bytes(), at) {
            at = candidate + 1;
            let rest = &text.as_bytes()[candidate..];
            let Some(length) = self.user_defined.longest_prefix(rest) else {
                continue;
            };
            self.encode_words(&text, start..candidate, &mut state, &mut found);
            at = candidate + length;
            self.emit(&rest[..length], &mut state, &mut found);
            start = at;
        }
        self.encode_words(&text, start..text.len(), &mut state, &mut found);
        ids.append(&mut found);
    }

    /// Cuts a stretch without user-defined pieces where no merge can cross.
    fn encode_words(
        &self,
        text: &str,
        stretch: Range<usize>,
        state: &mut Encoding,
        ids: &mut Vec<u32>,
    ) {
        let mut start = stretch.start;
        if let Some(joins) = &self.joins {
            let mut left = None;
            for (at, right) in text[stretch.clone()].char_indices() {
                if left.is_some_and(|left| !joins.contains(left, right)) {
                    let end = stretch.start + at;
                    self.encode_word(text, start..end, state, ids);
                    start = end;
                }
                left = Some(right);
            }
        }
        if start < stretch.end {
            self.encode_word(text, start..stretch.end, state, ids);
        }
    }

    fn encode_word(
        &self,
        text: &str,
        word: Range<usize>,
        state: &mut Encoding,
        ids: &mut Vec<u32>,
    ) {
        // Without byte fallback, unknown characters of neighbouring words become one token.
        if self.bytes.is_none() || self.has_unused {
            self.merge(&text[word], state, ids);
            return;
        }
        let mut cache = std::mem::take(&mut state.cache);
        cache.extend(text.as_bytes(), word.clone(), ids, |_, ids| {
            self.merge(&text[word], state, ids);
        });
        state.cache = cache;
    }

    fn merge(&self, text: &str, state: &mut Encoding, ids: &mut Vec<u32>) {
        let bytes = text.as_bytes();
        let mut merger = std::mem::take(&mut state.merger);
        merger.starts.clear();
        merger
            .starts
            .extend(text.char_indices().map(|(at, _)| at as u32));
        merger.starts.push(text.len() as u32);
        let priority = |joined: &[u8]| {
            let id = self.pieces.get(joined)?;
            Some(self.priorities[id as usize])
        };
        let unused_parts = &mut state.unused_parts;
        merger.merge(bytes, priority, |start, middle, end| {
            if self.has_unused {
                let joined = &bytes[start..end];
                let id = self.pieces.get(joined);
                if id.is_some_and(|id| self.kinds[id as usize] == PieceKind::Unused) {
                    unused_parts.insert(joined.to_vec(), middle - start);
                }
            }
        });
        for w in merger.starts.windows(2) {
            self.emit(&bytes[w[0] as usize..w[1] as usize], state, ids);
        }
        state.merger = merger;
    }

    /// Puts out one symbol: its id, or its parts when the piece is unused, or its bytes.
    fn emit(&self, symbol: &[u8], state: &mut Encoding, ids: &mut Vec<u32>) {
        let Some(id) = self.pieces.get(symbol) else {
            match &self.bytes {
                Some(table) => ids.extend(symbol.iter().map(|&b| table[usize::from(b)])),
                None if state.after_unknown => {}
                None => ids.push(self.unk),
            }
            state.after_unknown = true;
            return;
        };
        if self.kinds[id as usize] == PieceKind::Unused
            && let Some(&middle) = state.unused_parts.get(symbol)
        {
            // Both parts are shorter, so this ends.
            let (left, right) = symbol.split_at(middle);
            self.emit(left, state, ids);
            self.emit(right, state, ids);
            return;
        }
        state.after_unknown = false;
        ids.push(id);
    }

    /// The text as the merges see it: spaces escaped, and one added in front.
    fn normalize(&self, text: &str) -> String {
        let settings = &self.settings;
        let space = if settings.escape_whitespaces {
            SPACE
        } else {
            " "
        };
        let text = if settings.remove_extra_whitespaces {
            text.trim_matches(' ')
        } else {
            text
        };
        if text.is_empty() {
            return String::new();
        }
        let mut out = String::with_capacity(text.len() + text.len() / 4 + 6);
        if settings.add_dummy_prefix && !settings.whitespace_as_suffix {
            out.push_str(space);
        }
        let mut after_space = false;
        for (i, word) in text.split(' ').enumerate() {
            if i > 0 && !(settings.remove_extra_whitespaces && after_space) {
                out.push_str(space);
            }
            after_space = word.is_empty();
            out.push_str(word);
        }
        if settings.add_dummy_prefix && settings.whitespace_as_suffix {
            out.push_str(space);
        }
        out
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn unk(&self) -> u32 {
        self.unk
    }

    /// The id of a control piece.
    pub(super) fn control_id(&self, name: &str) -> Option<u32> {
        let id = self.control_ids.get(name).copied()?;
        matches!(
            self.kinds[id as usize],
            PieceKind::Control | PieceKind::Unknown
        )
        .then_some(id)
    }

    /// Whether an id below the vocabulary size is a control piece.
    pub(super) fn is_control(&self, id: u32) -> bool {
        self.kinds[id as usize] == PieceKind::Control
    }

    /// The byte of a byte piece.
    pub(super) fn byte(&self, id: u32) -> Option<u8> {
        match self.kinds.get(id as usize) {
            Some(PieceKind::Byte(byte)) => Some(*byte),
            _ => None,
        }
    }

    /// The piece of an id with spaces for `▁`, as it is decoded.
    pub(super) fn surface(&self, id: u32) -> Option<&str> {
        let id = id as usize;
        let end = *self.surface_ends.get(id)? as usize;
        let start = if id == 0 {
            0
        } else {
            self.surface_ends[id - 1] as usize
        };
        Some(&self.surfaces[start..end])
    }

    /// The piece of an id as the file has it.
    /// What a piece is for, by ggml's numbers.
    pub(super) fn ggml_type(&self, id: u32) -> i32 {
        match self.kinds[id as usize] {
            PieceKind::Normal => export::NORMAL,
            PieceKind::Unknown => export::UNKNOWN,
            PieceKind::Control => export::CONTROL,
            PieceKind::UserDefined => export::USER_DEFINED,
            PieceKind::Unused => export::UNUSED,
            PieceKind::Byte(_) => export::BYTE,
        }
    }

    /// Priority of merging into a piece, 0 first.
    pub(super) fn priority(&self, id: u32) -> u32 {
        self.priorities[id as usize]
    }

    pub(super) fn piece(&self, id: u32) -> Option<&str> {
        if (id as usize) >= self.kinds.len() {
            return None;
        }
        Some(std::str::from_utf8(self.pieces.bytes(id)).expect("pieces were checked to be UTF-8"))
    }
}

/// State of one call of `encode`.
#[derive(Default)]
struct Encoding {
    merger: Merger,
    cache: PieceCache,
    /// How unused pieces were joined: length of the left part.
    unused_parts: HashMap<Vec<u8>, usize>,
    after_unknown: bool,
}

/// Ids of the byte pieces, all of which a model with byte fallback has.
fn byte_table(model: &Model<'_>) -> Result<Option<Box<[u32; 256]>>, TokenizerError> {
    let mut table = Box::new([u32::MAX; 256]);
    let mut found = 0;
    for (id, piece) in model.pieces.iter().enumerate() {
        if let PieceKind::Byte(byte) = piece.kind {
            table[usize::from(byte)] = id as u32;
            found += 1;
        }
    }
    if found != if model.byte_fallback { 256 } else { 0 } {
        return Err(TokenizerError::Field {
            field: "trainer_spec.byte_fallback",
            expected: "256 byte pieces with it and none without",
            found: format!("{} with {found} byte pieces", model.byte_fallback),
        });
    }
    Ok(model.byte_fallback.then_some(table))
}

fn priorities(model: &Model<'_>) -> Vec<u32> {
    let mut scores: Vec<f32> = model.pieces.iter().map(|piece| piece.score).collect();
    // -0.0 and 0.0 are equal scores.
    for score in &mut scores {
        *score += 0.0;
    }
    let mut order = scores.clone();
    order.sort_unstable_by(|a, b| b.total_cmp(a));
    order.dedup();
    let rank = |score: &f32| order.partition_point(|other| other > score) as u32;
    scores.iter().map(rank).collect()
}

fn joins(model: &Model<'_>) -> Option<Joins> {
    if model
        .pieces
        .iter()
        .any(|piece| piece.kind == PieceKind::Unused)
    {
        return None;
    }
    let merged = |kind| matches!(kind, PieceKind::Normal | PieceKind::UserDefined);
    Some(Joins::of(
        model
            .pieces
            .iter()
            .filter(|piece| merged(piece.kind))
            .map(|piece| piece.text),
    ))
}
