//! A map from byte strings to token ids, built once and only read afterwards.

use super::error::TokenizerError;

/// Longest run of occupied slots that a look-up may walk. A good hash at half load stays below 30;
/// more means keys chosen to collide.
const MAX_PROBE: usize = 512;

const EMPTY: u32 = u32::MAX;

/// Byte strings with ids `0..len`, found by content (open addressing) or by id.
#[derive(Debug, Clone)]
pub(super) struct BytesMap {
    /// All strings one after the other.
    arena: Vec<u8>,
    /// `ends[i]` is where string `i` ends in the arena.
    ends: Vec<u32>,
    /// Power of two slots of (upper hash bits, index of the string).
    slots: Vec<(u32, u32)>,
    longest: usize,
}

/// What a key that cannot be added is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The same string stands at this index already.
    Duplicate(u32),
    /// Too many keys share a hash.
    Colliding,
}

impl BytesMap {
    /// An empty map for at most `capacity` strings.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let slots = (capacity.max(8) * 2).next_power_of_two();
        Self {
            arena: Vec::new(),
            ends: Vec::with_capacity(capacity),
            slots: vec![(0, EMPTY); slots],
            longest: 0,
        }
    }

    /// Adds a string under the next free index, which it returns. The caller keeps to the capacity.
    pub(super) fn push(&mut self, key: &[u8]) -> Result<u32, Refused> {
        let index = self.ends.len() as u32;
        self.insert(key, index)?;
        self.push_unlisted(key);
        self.longest = self.longest.max(key.len());
        Ok(index)
    }

    /// Adds a string under the next free index that `get` does not find.
    pub(super) fn push_unlisted(&mut self, key: &[u8]) -> u32 {
        let index = self.ends.len() as u32;
        self.arena.extend_from_slice(key);
        self.ends.push(self.arena.len() as u32);
        index
    }

    fn insert(&mut self, key: &[u8], index: u32) -> Result<(), Refused> {
        let hash = hash(key);
        let mask = self.slots.len() - 1;
        let tag = (hash >> 32) as u32;
        let mut at = hash as usize & mask;
        for _ in 0..MAX_PROBE.min(self.slots.len()) {
            let (slot_tag, found) = self.slots[at];
            if found == EMPTY {
                self.slots[at] = (tag, index);
                return Ok(());
            }
            if slot_tag == tag && self.bytes(found) == key {
                return Err(Refused::Duplicate(found));
            }
            at = (at + 1) & mask;
        }
        Err(Refused::Colliding)
    }

    /// The index of a string.
    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<u32> {
        if key.len() > self.longest {
            return None;
        }
        let hash = hash(key);
        let mask = self.slots.len() - 1;
        let tag = (hash >> 32) as u32;
        let mut at = hash as usize & mask;
        loop {
            let (slot_tag, found) = self.slots[at];
            if found == EMPTY {
                return None;
            }
            if slot_tag == tag && self.bytes(found) == key {
                return Some(found);
            }
            at = (at + 1) & mask;
        }
    }

    /// The string of an index below `len`.
    #[inline]
    pub(super) fn bytes(&self, index: u32) -> &[u8] {
        let index = index as usize;
        let start = if index == 0 {
            0
        } else {
            self.ends[index - 1] as usize
        };
        &self.arena[start..self.ends[index] as usize]
    }

    /// Number of strings.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

/// The error for a key that was refused as entry `id`.
pub(super) fn refused(id: usize, key: &[u8], why: Refused) -> TokenizerError {
    let key = String::from_utf8_lossy(key);
    TokenizerError::Vocabulary {
        id: id as u64,
        expected: "a token of its own",
        found: match why {
            Refused::Duplicate(first) => format!("{key:?}, which is entry {first} too"),
            Refused::Colliding => format!("{key:?}, one of very many with the same hash"),
        },
    }
}

/// A folded-multiply hash over eight bytes at a time.
#[inline]
pub(super) fn hash(key: &[u8]) -> u64 {
    const A: u64 = 0x9e37_79b9_7f4a_7c15;
    const B: u64 = 0xd6e8_feb8_6659_fd93;
    let fold = |x: u64, y: u64| {
        let wide = u128::from(x) * u128::from(y);
        (wide as u64) ^ ((wide >> 64) as u64)
    };
    let mut state = A ^ key.len() as u64;
    let mut chunks = key.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("chunks_exact gives eight bytes"));
        state = fold(state ^ word, B);
    }
    let rest = chunks.remainder();
    let word = match rest.len() {
        0 => 0,
        n @ 4..=7 => {
            let low = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
            let high = u32::from_le_bytes([rest[n - 4], rest[n - 3], rest[n - 2], rest[n - 1]]);
            u64::from(low) | u64::from(high) << 32
        }
        n => u64::from(rest[0]) | u64::from(rest[n / 2]) << 8 | u64::from(rest[n - 1]) << 16,
    };
    fold(fold(state ^ word, B), A)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_pushed_and_nothing_else() {
        let words: Vec<Vec<u8>> = (0..5000u32).map(|i| format!("w{i}").into_bytes()).collect();
        let mut map = BytesMap::with_capacity(words.len());
        for word in &words {
            map.push(word).expect("a new word");
        }
        for (i, word) in words.iter().enumerate() {
            assert_eq!(map.get(word), Some(i as u32));
            assert_eq!(map.bytes(i as u32), word);
        }
        assert_eq!(map.get(b"w5000"), None);
        assert_eq!(map.get(b""), None);
        assert_eq!(map.push(b"w17"), Err(Refused::Duplicate(17)));
    }
}
