//! Byte-pair merging over a piece of text: the one algorithm behind tekken and SentencePiece BPE.
//!
//! A text starts as a row of symbols. The neighbouring pair whose joined text has the best
//! priority is merged, the leftmost one when priorities are equal, until no joined pair is in the
//! vocabulary. Short pieces scan for the best pair; long ones keep the pairs in a heap, so that the
//! time is n log n.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No such symbol or pair.
const NONE: u32 = u32::MAX;

/// Up to this many symbols a scan over an array is faster than a heap.
const SCAN_LIMIT: usize = 96;

/// Buffers of a merge, reused from piece to piece.
#[derive(Debug, Default)]
pub(super) struct Merger {
    /// Where each symbol starts, with the end of the text as the last entry.
    pub(super) starts: Vec<u32>,
    /// For the scan: priority of the pair (i, i+1).
    pairs: Vec<u32>,
    /// For the heap: neighbours and liveness.
    links: Vec<Link>,
    heap: BinaryHeap<Reverse<(u32, u32, u32)>>,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    prev: u32,
    next: u32,
    start: u32,
    /// Where the symbol ends; equal to `start` once it has been merged into its left neighbour.
    end: u32,
}

impl Merger {
    /// Merges the symbols of `text` whose starts (and final end) stand in `self.starts`, in place.
    ///
    /// `priority` gives the priority of a joined text, lower first, or `None` when the vocabulary
    /// does not have it. `joined` is told of each pair that becomes a candidate (start, middle,
    /// end).
    pub(super) fn merge(
        &mut self,
        text: &[u8],
        priority: impl Fn(&[u8]) -> Option<u32>,
        mut joined: impl FnMut(usize, usize, usize),
    ) {
        let symbols = self.starts.len().saturating_sub(1);
        if symbols < 2 {
            return;
        }
        let mut rank = |start: u32, middle: u32, end: u32| {
            let found = priority(&text[start as usize..end as usize]);
            if found.is_some() {
                joined(start as usize, middle as usize, end as usize);
            }
            found.unwrap_or(NONE)
        };
        if symbols <= SCAN_LIMIT {
            self.scan(&mut rank);
        } else {
            self.heap(&mut rank);
        }
    }

    fn scan(&mut self, rank: &mut impl FnMut(u32, u32, u32) -> u32) {
        let Self { starts, pairs, .. } = self;
        pairs.clear();
        pairs.extend(starts.windows(3).map(|w| rank(w[0], w[1], w[2])));
        loop {
            let mut best = NONE;
            let mut at = 0;
            for (i, &pair) in pairs.iter().enumerate() {
                if pair < best {
                    best = pair;
                    at = i;
                }
            }
            if best == NONE {
                return;
            }
            // Symbols at and at+1 become one: the boundary between them goes.
            starts.remove(at + 1);
            pairs.remove(at);
            if at > 0 {
                pairs[at - 1] = rank(starts[at - 1], starts[at], starts[at + 1]);
            }
            if at < pairs.len() {
                pairs[at] = rank(starts[at], starts[at + 1], starts[at + 2]);
            }
        }
    }

    fn heap(&mut self, rank: &mut impl FnMut(u32, u32, u32) -> u32) {
        let Self {
            starts,
            links,
            heap,
            ..
        } = self;
        let symbols = starts.len() - 1;
        links.clear();
        links.extend((0..symbols).map(|i| Link {
            prev: (i as u32).wrapping_sub(1),
            next: if i + 1 < symbols { i as u32 + 1 } else { NONE },
            start: starts[i],
            end: starts[i + 1],
        }));
        let mut first = Vec::with_capacity(symbols);
        for (i, w) in starts.windows(3).enumerate() {
            let found = rank(w[0], w[1], w[2]);
            if found != NONE {
                first.push(Reverse((found, i as u32, w[2] - w[0])));
            }
        }
        heap.clear();
        *heap = BinaryHeap::from(first);
        while let Some(Reverse((_, left, bytes))) = heap.pop() {
            let Link {
                prev,
                next: right,
                start,
                end,
            } = links[left as usize];
            // The pair is stale when a side was merged since: then the joined length differs.
            if start == end || right == NONE || links[right as usize].end - start != bytes {
                continue;
            }
            let Link {
                next,
                start: middle,
                end,
                ..
            } = links[right as usize];
            links[right as usize].end = middle;
            links[left as usize].end = end;
            links[left as usize].next = next;
            if prev != NONE {
                let prev_start = links[prev as usize].start;
                let found = rank(prev_start, start, end);
                if found != NONE {
                    heap.push(Reverse((found, prev, end - prev_start)));
                }
            }
            if next != NONE {
                links[next as usize].prev = left;
                let next_end = links[next as usize].end;
                let found = rank(start, end, next_end);
                if found != NONE {
                    heap.push(Reverse((found, left, next_end - start)));
                }
            }
        }
        let text_end = starts[symbols];
        starts.clear();
        starts.extend(links.iter().filter(|l| l.start != l.end).map(|l| l.start));
        starts.push(text_end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Merges by trying all pairs after every merge: slow and obvious.
    fn oracle(text: &[u8], vocab: &[&[u8]]) -> Vec<u32> {
        let mut starts: Vec<u32> = (0..=text.len() as u32).collect();
        loop {
            let best = (0..starts.len().saturating_sub(2))
                .filter_map(|i| {
                    let joined = &text[starts[i] as usize..starts[i + 2] as usize];
                    vocab
                        .iter()
                        .position(|v| *v == joined)
                        .map(|rank| (rank, i))
                })
                .min();
            let Some((_, i)) = best else { return starts };
            starts.remove(i + 1);
        }
    }

    #[test]
    fn scan_and_heap_agree_with_the_oracle() {
        let vocab: Vec<&[u8]> = vec![
            b"aa", b"ab", b"aab", b"ba", b"aaaa", b"abab", b"bb", b"cab", b"bc",
        ];
        let mut state = 7u32;
        for length in [0usize, 1, 2, 3, 17, 95, 96, 97, 150, 400] {
            let text: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    b"aaabbc"[(state >> 24) as usize % 6]
                })
                .collect();
            let mut merger = Merger::default();
            merger.starts.extend(0..=text.len() as u32);
            let rank = |key: &[u8]| vocab.iter().position(|v| *v == key).map(|r| r as u32);
            merger.merge(&text, rank, |_, _, _| ());
            assert_eq!(merger.starts, oracle(&text, &vocab), "{length} symbols");
        }
    }
}
