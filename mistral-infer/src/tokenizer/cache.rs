//! Pieces of one text that were merged before.

use std::ops::Range;

/// Slots of a cache: a power of two, enough for the frequent words of a long text.
const SLOTS: usize = 1 << 13;

/// Longest piece that is kept; longer ones hardly come back.
const MAX_PIECE_BYTES: usize = 64;

/// Texts up to this length are encoded without a cache, whose memory would cost more.
const MIN_TEXT_BYTES: usize = 2048;

/// Where the ids of pieces stand in the ids of the same call.
///
/// Each piece has one slot, by its hash, and a later piece takes it over: a text made of pieces
/// with equal hashes costs its merges and no more.
#[derive(Debug, Default)]
pub(super) struct PieceCache {
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    piece: (u32, u32),
    ids: (u32, u32),
}

impl PieceCache {
    /// A cache for a text of that many bytes.
    pub(super) fn for_text(bytes: usize) -> Self {
        let slots = if bytes < MIN_TEXT_BYTES { 0 } else { SLOTS };
        Self {
            slots: vec![Slot::default(); slots],
        }
    }

    /// Appends the ids of a piece: those of its last occurrence, or else what `merge` appends.
    #[inline]
    pub(super) fn extend(
        &mut self,
        text: &[u8],
        piece: Range<usize>,
        ids: &mut Vec<u32>,
        merge: impl FnOnce(&[u8], &mut Vec<u32>),
    ) {
        let bytes = &text[piece.clone()];
        if self.slots.is_empty() || bytes.len() > MAX_PIECE_BYTES {
            merge(bytes, ids);
            return;
        }
        let slot = &mut self.slots[super::bytes_map::hash(bytes) as usize & (SLOTS - 1)];
        if &text[slot.piece.0 as usize..slot.piece.1 as usize] == bytes {
            ids.extend_from_within(slot.ids.0 as usize..slot.ids.1 as usize);
            return;
        }
        let start = ids.len() as u32;
        merge(bytes, ids);
        *slot = Slot {
            piece: (piece.start as u32, piece.end as u32),
            ids: (start, ids.len() as u32),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_merging_gives() {
        let text = "ab cd ab ef cd ab ".repeat(200);
        let mut cache = PieceCache::for_text(text.len());
        let (mut ids, mut merges) = (Vec::new(), 0);
        let mut expected = Vec::new();
        let mut start = 0;
        for piece in text.split_inclusive(' ') {
            let end = start + piece.len();
            expected.extend(piece.bytes().map(u32::from));
            cache.extend(text.as_bytes(), start..end, &mut ids, |bytes, ids| {
                merges += 1;
                ids.extend(bytes.iter().map(|&b| u32::from(b)));
            });
            start = end;
        }
        assert_eq!(ids, expected);
        assert_eq!(merges, 3);
    }
}
