//! What may be chosen.

use fastrand::Rng;

/// A parameter and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// Its name, by which experience recognises it in another space.
    pub name: &'static str,
    /// The values, each once.
    pub values: Vec<u32>,
}

/// All combinations of the axes' values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    axes: Vec<Axis>,
}

/// A value of each axis, in the order of the axes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point(pub Vec<u32>);

impl Space {
    /// The space of these axes; one without a value is left out.
    #[must_use]
    pub fn new(axes: impl IntoIterator<Item = (&'static str, Vec<u32>)>) -> Self {
        let axes = axes.into_iter().filter(|(_, values)| !values.is_empty());
        Self {
            axes: axes.map(|(name, values)| Axis { name, values }).collect(),
        }
    }

    /// The axes.
    #[must_use]
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// How many points there are; `usize::MAX` for more than that.
    #[must_use]
    pub fn len(&self) -> usize {
        self.axes
            .iter()
            .fold(1, |n: usize, axis| n.saturating_mul(axis.values.len()))
    }

    /// Whether there is nothing to choose.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.axes.is_empty()
    }

    /// A point of which each value is as likely as the others of its axis.
    pub(super) fn any(&self, random: &mut Rng) -> Point {
        let value = |axis: &Axis| axis.values[random.usize(..axis.values.len())];
        Point(self.axes.iter().map(value).collect())
    }
}
