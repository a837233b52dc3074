//! Which characters can stand side by side inside a piece.
//!
//! Between two characters that no piece has side by side, no merge can cross: the text may be cut
//! there, and the parts merged on their own, with the same result. Words come out short this way,
//! so that most of them were merged before.

/// Bits of the filter for pairs that are not both ASCII.
const FILTER_BITS: u32 = 18;

/// A set of pairs of characters that may hold some pairs too many, never too few.
#[derive(Debug)]
pub(super) struct Joins {
    /// Exact, for pairs of ASCII characters: bit `b` of entry `a`.
    ascii: Box<[u128; 128]>,
    /// By hash, for all others.
    filter: Box<[u64]>,
}

impl Joins {
    /// The pairs in these pieces.
    pub(super) fn of<'a>(pieces: impl Iterator<Item = &'a str>) -> Self {
        let mut joins = Self {
            ascii: Box::new([0; 128]),
            filter: vec![0; 1 << (FILTER_BITS - 6)].into_boxed_slice(),
        };
        for piece in pieces {
            for (left, right) in piece.chars().zip(piece.chars().skip(1)) {
                if left.is_ascii() && right.is_ascii() {
                    joins.ascii[left as usize] |= 1 << right as u32;
                } else {
                    let (word, bit) = place(left, right);
                    joins.filter[word] |= bit;
                }
            }
        }
        joins
    }

    /// Whether a merge may cross from one character to the next.
    #[inline]
    pub(super) fn contains(&self, left: char, right: char) -> bool {
        if left.is_ascii() && right.is_ascii() {
            return self.ascii[left as usize] >> right as u32 & 1 == 1;
        }
        let (word, bit) = place(left, right);
        self.filter[word] & bit != 0
    }
}

#[inline]
fn place(left: char, right: char) -> (usize, u64) {
    let pair = u64::from(u32::from(left)) << 32 | u64::from(u32::from(right));
    let hash = (pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS)) as usize;
    (hash >> 6, 1 << (hash & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_every_pair_and_few_others() {
        let joins = Joins::of(["ab", "\u{2581}the", "\u{e9}t\u{e9}", "x"].into_iter());
        for (left, right) in ["ab", "th", "he", "\u{2581}t", "\u{e9}t", "t\u{e9}"].map(|pair| {
            (
                pair.chars().next().expect("two"),
                pair.chars().nth(1).expect("two"),
            )
        }) {
            assert!(joins.contains(left, right), "{left}{right}");
        }
        for (left, right) in [('b', 'a'), ('x', 'x'), ('e', '\u{2581}'), ('\n', 'a')] {
            assert!(!joins.contains(left, right), "{left:?}{right:?}");
        }
    }
}
