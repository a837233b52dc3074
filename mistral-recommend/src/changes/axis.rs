//! One amount of a need, moved up and down until the first choice changes.

use mistral_core::reason::Fact;
use mistral_core::recommendation::Change;

use super::{Ask, same, same_kind, winner};
use crate::candidate::Candidate;

/// Steps outwards in either direction.
const STEPS: usize = 9;
/// Each step outwards is this many positions of [`Scale::Rounded`]: a factor of about two.
const STRIDE: i64 = 270;

/// An amount that may be moved.
pub(super) struct Axis {
    pub(super) constraint: &'static str,
    /// What the need says or assumes.
    pub(super) from: Option<Fact>,
    /// Where the search begins.
    pub(super) now: f64,
    pub(super) scale: Scale,
    /// Whether larger values are tried as well as smaller ones.
    pub(super) upwards: bool,
}

/// The values that an amount is tried at. Positions are whole numbers, so that bisection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Three significant digits.
    Rounded,
    /// The same, from 1 on without a fraction.
    Whole,
    /// 1, 2, 3 …
    Counted,
}

impl Scale {
    fn value(self, position: i64) -> f64 {
        match self {
            Self::Counted => position as f64,
            Self::Rounded | Self::Whole => {
                let mantissa = (position.rem_euclid(900) + 100) as f64;
                // Powers of ten and their quotients are the nearest doubles to what is written.
                let power = position.div_euclid(900) - 2;
                let value = if power >= 0 {
                    mantissa * 10f64.powi(power as i32)
                } else {
                    mantissa / 10f64.powi(-power as i32)
                };
                if self == Self::Whole {
                    value.round().max(1.0)
                } else {
                    value
                }
            }
        }
    }

    /// The position of the largest value that isn't above `value`.
    fn position(self, value: f64) -> i64 {
        match self {
            Self::Counted => value.floor() as i64,
            Self::Rounded | Self::Whole => {
                let power = value.max(f64::MIN_POSITIVE).log10().floor() as i64;
                let guess = power * 900 + ((value / 10f64.powi(power as i32)) * 100.0) as i64 - 100;
                // The logarithm may be off by one in the last place.
                (guess - 2..=guess + 2)
                    .rev()
                    .find(|p| self.value(*p) <= value)
                    .unwrap_or(guess)
            }
        }
    }

    /// The position `step` steps from `start`.
    fn outwards(self, start: i64, step: usize, direction: i64) -> i64 {
        match self {
            // The next one, then twice as many, …
            Self::Counted if direction > 0 => start + (1 << (step - 1)),
            Self::Counted => start - step as i64,
            _ => start + direction * STRIDE * step as i64,
        }
    }
}

/// The end of a walk at which the first choice is still the old one.
struct Last {
    position: i64,
    value: f64,
}

impl Axis {
    /// At most two changes in each direction: the nearest of any kind, and, when that keeps model
    /// and host, the nearest that doesn't.
    pub(super) fn changes(&self, ask: &Ask<'_>) -> Vec<Change> {
        let mut list = Vec::new();
        let Some(start) = self.start(ask) else {
            return list;
        };
        for direction in [-1, 1] {
            if direction > 0 && !self.upwards {
                continue;
            }
            let any = self.walk(ask, &start, direction, same);
            let other_model = any.as_ref().is_some_and(|c| {
                *c.then.model != *ask.best.model || c.then.hosting != ask.best.hosting
            });
            if any.is_some() && !other_model {
                list.extend(self.walk(ask, &start, direction, same_kind));
            }
            list.extend(any);
        }
        list.sort_by(|a, b| to(a).total_cmp(&to(b)));
        list
    }

    /// Where the old first choice is first, too: at the value that is said, or, when none is,
    /// where it would just keep a limit or a few times above.
    fn start(&self, ask: &Ask<'_>) -> Option<Last> {
        let position = self.scale.position(self.now);
        if self.from.is_some() {
            return Some(Last {
                position,
                value: self.now,
            });
        }
        [1, 160, 330, 540].into_iter().find_map(|more| {
            let position = position + more;
            let value = self.scale.value(position);
            let there = ask.at(self.constraint, Some(&value.into()))?;
            same(&there, ask.best).then_some(Last { position, value })
        })
    }

    /// Steps outwards to a first choice that `equal` tells from the old one, then bisects.
    fn walk(
        &self,
        ask: &Ask<'_>,
        start: &Last,
        direction: i64,
        equal: fn(&Candidate, &Candidate) -> bool,
    ) -> Option<Change> {
        let (mut near, mut near_value) = (start.position, start.value);
        // Below the start the position itself may be the first value to try.
        let mut found = None;
        for step in 1..=STEPS {
            let far = self.scale.outwards(start.position, step, direction);
            let value = self.scale.value(far);
            if value <= 0.0 || value > 1e12 {
                break;
            }
            match ask.at(self.constraint, Some(&value.into())) {
                Some(c) if equal(&c, ask.best) => (near, near_value) = (far, value),
                Some(c) => {
                    found = Some((far, c));
                    break;
                }
                // Beyond this nothing keeps all limits: the change, if any, lies between.
                None => {
                    found = self.last_feasible(ask, near, far, equal);
                    break;
                }
            }
        }
        let (mut far, mut then) = found?;
        while (far - near).abs() > 1 {
            let middle = near + (far - near) / 2;
            let value = self.scale.value(middle);
            match ask.at(self.constraint, Some(&value.into())) {
                Some(c) if !equal(&c, ask.best) => (far, then) = (middle, c),
                Some(_) => (near, near_value) = (middle, value),
                None => return None,
            }
        }
        let value = self.scale.value(far);
        Some(Change {
            constraint: self.constraint.to_owned(),
            from: self.from.clone(),
            until: Some(near_value.into()),
            to: Some(value.into()),
            then: winner(&then),
        })
    }

    /// Between a value with the old first choice and one that lets nothing through: the outermost
    /// value that lets something through, if that is another first choice.
    fn last_feasible(
        &self,
        ask: &Ask<'_>,
        mut near: i64,
        mut far: i64,
        equal: fn(&Candidate, &Candidate) -> bool,
    ) -> Option<(i64, Candidate)> {
        let mut last = None;
        while (far - near).abs() > 1 {
            let middle = near + (far - near) / 2;
            match ask.at(self.constraint, Some(&self.scale.value(middle).into())) {
                Some(c) => {
                    let other = !equal(&c, ask.best);
                    last = other.then_some((middle, c));
                    if other {
                        break;
                    }
                    near = middle;
                }
                None => far = middle,
            }
        }
        last
    }
}

fn to(change: &Change) -> f64 {
    match change.to {
        Some(Fact::Number(n)) => n,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_values_of_three_digits() {
        for (value, rounded) in [
            (1.0, 1.0),
            (310.4, 310.0),
            (99.99, 99.9),
            (0.0123, 0.0123),
            (8.6e5, 8.6e5),
        ] {
            let p = Scale::Rounded.position(value);
            assert_eq!(Scale::Rounded.value(p), rounded, "{value}");
            assert!(Scale::Rounded.value(p + 1) > value);
        }
        assert_eq!(Scale::Whole.value(Scale::Whole.position(8192.0)), 8190.0);
    }
}
