//! Positions chosen for each query.

/// For each query an ascending list of positions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selected {
    pub(super) ends: Vec<usize>,
    pub(super) positions: Vec<u32>,
}

impl Selected {
    /// Room for `max_queries` lists of up to `topk` positions; grows when that is exceeded.
    #[must_use]
    pub fn new(max_queries: usize, topk: usize) -> Self {
        Self {
            ends: Vec::with_capacity(max_queries),
            positions: Vec::with_capacity(max_queries.saturating_mul(topk)),
        }
    }

    /// Forgets all lists, keeping the memory.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.positions.clear();
    }

    /// Appends the list of the next query; ascending, as attention will check.
    pub fn push(&mut self, positions: &[u32]) {
        self.positions.extend_from_slice(positions);
        self.ends.push(self.positions.len());
    }

    /// Number of queries.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.ends.len()
    }

    /// Positions of query `i`.
    ///
    /// # Panics
    /// When there is no such query.
    #[must_use]
    pub fn row(&self, i: usize) -> &[u32] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.positions[start..self.ends[i]]
    }
}
