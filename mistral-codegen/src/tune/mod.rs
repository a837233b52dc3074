//! Searches the free parameters of something that can be measured.
//!
//! What is searched is a [`Space`] of a few axes with a few values each; a [`Bench`] checks a point of
//! it and times it right beside the point that is used today. [`search`] is successive halving
//! (Jamieson and Talwalkar 2016) over candidates of which half are drawn at random and half by
//! [`Experience`], a Thompson sampler (1933) with one belief a value of each axis, which carries over to
//! other shapes and machines. The winner is then measured again with pairs that had no part in
//! choosing it, so that its gain isn't the luck that made it win; if that gain may be noise, today's
//! point stands.
//!
//! [`Guard`] times a kernel so that the known ways of looking fast are found: outputs are poisoned
//! before each run and read right after it, and inputs take turns.

mod experience;
mod guard;
mod halving;
mod space;

pub use experience::{Belief, Experience};
pub use guard::{Case, Guard, Wrong};
pub use halving::{Bench, Effort, Outcome, Refused, search};
pub use space::{Axis, Point, Space};
