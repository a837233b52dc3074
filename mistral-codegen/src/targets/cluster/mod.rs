//! Targets on Kubernetes: what a pod runs is worked out once and wrapped by each.

mod bundle;
mod kserve;
mod kubernetes;
mod leader_worker;
mod llm_d;
mod objects;
mod pod;
mod ray_serve;
mod settings;
mod workload;

pub(crate) use kserve::generate as kserve;
pub(crate) use kubernetes::generate as kubernetes;
pub(crate) use leader_worker::generate as leader_worker_set;
pub(crate) use llm_d::generate as llm_d;
pub(crate) use ray_serve::generate as ray_serve;
pub use settings::Cluster;
pub(super) use settings::{object_name, weight_bytes};
pub(crate) use workload::copies;
pub(super) use workload::{HOME, MODELS, Workload, workload};
