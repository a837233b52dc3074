//! Targets for one machine.

mod container;
mod edge;
mod skypilot;
mod systemd;
mod terraform;

pub(crate) use container::{compose, docker};
pub(crate) use edge::generate as edge;
pub(crate) use skypilot::generate as skypilot;
pub(crate) use systemd::generate as systemd;
pub(crate) use terraform::generate as terraform;
