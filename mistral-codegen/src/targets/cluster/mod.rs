//! Targets on Kubernetes: what a pod runs is worked out once and wrapped by each.

mod kubernetes;
mod objects;
mod pod;
mod settings;
mod workload;

pub(crate) use kubernetes::generate as kubernetes;
pub use settings::Cluster;
pub(crate) use workload::copies;
