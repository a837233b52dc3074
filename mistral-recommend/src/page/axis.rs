//! A logarithmic axis.

use serde::Serialize;

use crate::say::Voice;

/// Values to places on a drawing.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogAxis {
    least: f64,
    most: f64,
    start: f64,
    end: f64,
}

/// A labelled place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// Whether a value has a place on a logarithmic axis that a reader can make sense of.
pub(super) fn drawable(value: f64) -> bool {
    (1e-9..=1e15).contains(&value)
}

impl LogAxis {
    /// An axis that holds all drawable values with some air, from `start` to `end`; `None` when
    /// there are none.
    pub(super) fn over(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Option<Self> {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| drawable(*v)) {
            least = least.min(value);
            most = most.max(value);
        }
        (least <= most).then(|| Self {
            least: (least / 1.4).ln(),
            most: (most * 1.4).ln(),
            start,
            end,
        })
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let share = (value.ln() - self.least) / (self.most - self.least);
        let place = self.start + share.clamp(0.0, 1.0) * (self.end - self.start);
        (place * 10.0).round() / 10.0
    }

    /// 1, 2 and 5 of each power of ten; on a long axis powers alone.
    pub(super) fn ticks(&self, voice: Voice) -> Vec<Tick> {
        let decades = (self.most - self.least) / std::f64::consts::LN_10;
        let steps: &[f64] = if decades <= 3.2 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let first = (self.least / std::f64::consts::LN_10).floor() as i32;
        let last = (self.most / std::f64::consts::LN_10).ceil() as i32;
        (first..=last)
            .flat_map(|power| steps.iter().map(move |s| s * 10f64.powi(power)))
            .filter(|v| (self.least..=self.most).contains(&v.ln()))
            .map(|v| Tick {
                at: self.at(v),
                label: voice.short(v),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_lie_on_the_axis_in_order() {
        for (values, least) in [(&[3.0, 700.0][..], 4), (&[1.0, 1e6], 6), (&[5.0], 1)] {
            let axis = LogAxis::over(values.iter().copied(), 10.0, 110.0).expect("values");
            let ticks = axis.ticks(Voice(crate::understand::Language::English));
            assert!(ticks.len() >= least, "{values:?}: {ticks:?}");
            assert!(ticks.iter().all(|t| (10.0..=110.0).contains(&t.at)));
            assert!(ticks.windows(2).all(|t| t[0].at < t[1].at));
        }
        assert!(LogAxis::over([f64::NAN, 0.0, -1.0].into_iter(), 0.0, 1.0).is_none());
    }
}
