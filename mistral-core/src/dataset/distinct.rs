//! How many rows repeat an earlier one, in bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::profile::{Duplicates, Place};

/// A hash is its own place: it is uniform already.
#[derive(Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        // The top bits, which choose what is kept, must not be those that choose the place.
        self.0.rotate_left(32)
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Adaptive sampling (Wegman; analysed by P. Flajolet, "On adaptive sampling", Computing 34, 1990):
/// of all hashes those are kept whose top `depth` bits are zero, and the depth grows by one whenever
/// more than the limit would be held. What is kept is then a uniform sample of the different rows,
/// each with how often it came, so that distinct and repeated rows follow by multiplication.
#[derive(Debug)]
pub(crate) struct Distinct {
    seen: HashMap<u64, u32, BuildHasherDefault<Itself>>,
    limit: usize,
    depth: u32,
    rows: u64,
    first: Vec<Place>,
}

impl Distinct {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            seen: HashMap::default(),
            limit: limit.max(1),
            depth: 0,
            rows: 0,
            first: Vec::new(),
        }
    }

    /// Notes a row's hash; `place` is asked for only if the row is among the first repetitions.
    pub(crate) fn add(&mut self, hash: u64, place: impl FnOnce() -> Place) {
        self.rows += 1;
        if !keeps(hash, self.depth) {
            return;
        }
        let times = self.seen.entry(hash).or_insert(0);
        *times = times.saturating_add(1);
        if *times > 1 {
            if self.first.len() < 10 {
                self.first.push(place());
            }
            return;
        }
        while self.seen.len() > self.limit && self.depth < 63 {
            self.depth += 1;
            let depth = self.depth;
            self.seen.retain(|hash, _| keeps(*hash, depth));
        }
    }

    pub(crate) fn finish(self) -> Duplicates {
        let one_in = 1_u64 << self.depth;
        let kept = self.seen.len() as u64;
        if self.depth == 0 {
            return Duplicates {
                rows: self.rows - kept,
                distinct: kept,
                exact: true,
                sampled_one_in: 1,
                relative_error: 0.0,
                first: self.first,
            };
        }
        let relative_error = 1.2 / (kept.max(1) as f64).sqrt();
        // Both estimate the same. The first is exact where nothing repeats, and off where a row that
        // came very often fell out of the sample; the second has the stated error always.
        let followed: u64 = self.seen.values().map(|&n| u64::from(n)).sum();
        let by_share = self.rows as f64 * kept as f64 / followed.max(1) as f64;
        let by_count = kept as f64 * one_in as f64;
        let agree = (by_share - by_count).abs() <= 3.0 * relative_error * by_count;
        let distinct = if agree { by_share } else { by_count };
        let distinct = (distinct.round() as u64).min(self.rows);
        Duplicates {
            rows: self.rows - distinct,
            distinct,
            exact: false,
            sampled_one_in: one_in,
            relative_error,
            first: self.first,
        }
    }
}

fn keeps(hash: u64, depth: u32) -> bool {
    hash.leading_zeros() >= depth
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Place {
        Place {
            file: String::new(),
            line: 1,
        }
    }

    /// Uniform hashes of whole numbers (the finisher of SplitMix64).
    fn hash(n: u64) -> u64 {
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn counts_up_to_the_limit_and_estimates_beyond() {
        // Rows, of which so many differ; one of them may come again and again.
        for (name, distinct, each, heavy) in [
            ("few", 900_u64, 1_u64, 0_u64),
            ("few repeated", 500, 3, 7),
            ("many different", 50_000, 1, 0),
            ("many repeated", 30_000, 3, 0),
            ("one very often", 20_000, 1, 100_000),
        ] {
            let mut tally = Distinct::new(1000);
            for n in (0..each).flat_map(|_| 0..distinct) {
                tally.add(hash(n + 1), here);
            }
            for _ in 0..heavy {
                tally.add(hash(1), here);
            }
            let rows = distinct * each + heavy;
            assert!(tally.seen.len() <= 1000, "{name}");
            let found = tally.finish();
            assert_eq!(found.rows + found.distinct, rows, "{name}");
            assert_eq!(found.exact, distinct <= 1000, "{name}");
            let error = (found.distinct as f64 / distinct as f64 - 1.0).abs();
            assert!(
                error <= 4.0 * found.relative_error,
                "{name}: {} of {distinct}",
                found.distinct
            );
            if each == 1 && heavy == 0 {
                assert_eq!(found.rows, 0, "{name}: nothing repeats");
            }
        }
    }

    #[test]
    fn equal_hashes_only_are_followed_once() {
        let mut tally = Distinct::new(0);
        for _ in 0..5 {
            tally.add(0, here);
        }
        let found = tally.finish();
        assert_eq!((found.rows, found.distinct, found.exact), (4, 1, true));
    }
}
