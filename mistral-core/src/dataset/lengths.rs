//! Lengths in bounded memory.

use super::profile::Lengths;

/// Places below which every length has one of its own.
const EXACT: u64 = 128;
/// Places for each doubling above.
const PER_DOUBLING: usize = 64;
/// Half a place's width by its least length: `1 / (2 * 64)`.
const RELATIVE_ERROR: f64 = 1.0 / 128.0;
const PLACES: usize = EXACT as usize + PER_DOUBLING * 57;

/// A histogram whose places widen with length (as HdrHistogram's do): exact below 128, and within
/// 0.8 % above, in 30 kB whatever is counted.
#[derive(Debug, Clone)]
pub(crate) struct Sketch {
    places: Vec<u64>,
    count: u64,
    total: u64,
    min: u64,
    max: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            places: vec![0; PLACES],
            count: 0,
            total: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

fn place_of(length: u64) -> usize {
    if length < EXACT {
        return length as usize;
    }
    let doubling = length.ilog2();
    let within = (length >> (doubling - 6)) as usize - PER_DOUBLING;
    EXACT as usize + (doubling as usize - 7) * PER_DOUBLING + within
}

/// The middle of a place.
fn length_at(place: usize) -> u64 {
    if place < EXACT as usize {
        return place as u64;
    }
    let above = place - EXACT as usize;
    let shift = above / PER_DOUBLING + 1;
    let least = ((PER_DOUBLING + above % PER_DOUBLING) as u64) << shift;
    least + (1 << (shift - 1))
}

impl Sketch {
    pub(crate) fn add(&mut self, length: u64) {
        self.places[place_of(length)] += 1;
        self.count += 1;
        self.total = self.total.saturating_add(length);
        self.min = self.min.min(length);
        self.max = self.max.max(length);
    }

    /// The length at the nearest rank, to within the relative error.
    fn quantile(&self, share: f64) -> u64 {
        let rank = ((share * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (place, n) in self.places.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return length_at(place).clamp(self.min, self.max);
            }
        }
        self.max
    }

    /// What was counted; zeros when nothing was.
    pub(crate) fn lengths(&self) -> Lengths {
        let empty = self.count == 0;
        Lengths {
            count: self.count,
            total: self.total,
            min: if empty { 0 } else { self.min },
            max: self.max,
            mean: if empty {
                0.0
            } else {
                self.total as f64 / self.count as f64
            },
            p50: self.quantile(0.50),
            p90: self.quantile(0.90),
            p95: self.quantile(0.95),
            p99: self.quantile(0.99),
            relative_error: RELATIVE_ERROR,
        }
    }

    pub(crate) fn some(&self) -> Option<Lengths> {
        (self.count > 0).then(|| self.lengths())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_counted_is_all_zeros() {
        let l = Sketch::default().lengths();
        assert_eq!((l.count, l.min, l.max, l.p50, l.p99), (0, 0, 0, 0, 0));
        assert!(Sketch::default().some().is_none());
        assert_eq!(l.mean, 0.0);
    }

    #[test]
    fn every_place_holds_its_middle() {
        for place in 0..PLACES {
            assert_eq!(place_of(length_at(place)), place, "place {place}");
        }
        assert_eq!(place_of(u64::MAX), PLACES - 1);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_stated_error(
            mut lengths in prop::collection::vec(prop_oneof![0u64..200, 0u64..100_000, 0u64..1 << 50], 1..300),
        ) {
            let mut sketch = Sketch::default();
            lengths.iter().for_each(|&l| sketch.add(l));
            lengths.sort_unstable();
            let found = sketch.lengths();
            prop_assert_eq!(found.min, lengths[0]);
            prop_assert_eq!(found.max, lengths[lengths.len() - 1]);
            prop_assert_eq!(found.total, lengths.iter().sum::<u64>());
            for (share, q) in [(0.5, found.p50), (0.9, found.p90), (0.95, found.p95), (0.99, found.p99)] {
                let rank = ((share * lengths.len() as f64).ceil() as usize).max(1);
                let exact = lengths[rank - 1] as f64;
                let error = (q as f64 - exact).abs();
                prop_assert!(error <= exact * RELATIVE_ERROR, "{q} for {exact}");
            }
        }
    }
}
