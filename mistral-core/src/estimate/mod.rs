//! How fast a model runs on a device, before it has run there.
//!
//! A roofline: a step takes the time to read weights and cache, plus the time to compute, plus
//! the time to exchange activations between devices, plus a fixed cost of the engine. The
//! efficiencies are fitted to published measurements ([`Coefficients`]); their residual spread is
//! the interval that every prediction carries.

mod coefficients;
pub mod fit;
pub mod measured;
mod memory;
mod roofline;

pub use coefficients::{Coefficients, EngineClass, LocalCoefficients, ServingCoefficients, Spread};
pub use memory::{MemoryNeed, memory_need, usable_bytes};
pub use roofline::{Forecast, Setup, Shape, Workload};

#[cfg(test)]
mod tests;
