//! Mixture of experts: route, group tokens by expert, run the experts, combine.

mod experts;
mod router;
mod routing;

pub use experts::{ExpertWeights, Experts, ExpertsScratch, experts};
pub use router::{Router, Scoring, route};
pub use routing::{ExpertLoad, Routing};
