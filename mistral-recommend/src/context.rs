//! What a recommendation is made from, besides the need.

use mistral_core::catalog::Catalog;
use mistral_core::estimate::Coefficients;
use mistral_core::hardware::{Device, Hardware, HardwareTable};
use mistral_core::reason::Reason;

use crate::learn::Learned;
use crate::score::Weights;
use crate::{Candidate, RecommendError};

/// Catalogue, devices, constants of the estimate, and the day.
///
/// The day enters as an argument, so that the same call gives the same answer.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// Models.
    pub catalog: &'a Catalog,
    /// Devices.
    pub hardware: &'a HardwareTable,
    /// Constants of the estimate.
    pub coefficients: &'a Coefficients,
    /// Today, as `YYYY-MM-DD`: decides which models the API still serves.
    pub today: String,
    /// Devices that aren't in the table, such as this machine's own processor.
    pub extra_devices: Vec<Device>,
    /// What was learned from this user's choices and from measured runs; `None` for a user of whom
    /// nothing is known.
    pub learned: Option<Learned>,
}

impl Context<'static> {
    /// The data that ships with `mistral-core`.
    #[must_use]
    pub fn embedded(today: &str) -> Self {
        Self {
            catalog: Catalog::embedded(),
            hardware: HardwareTable::embedded(),
            coefficients: Coefficients::embedded(),
            today: today.to_owned(),
            extra_devices: Vec::new(),
            learned: None,
        }
    }
}

impl Context<'_> {
    /// The device of this name, in the table or beside it.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<&Device> {
        self.extra_devices
            .iter()
            .find(|d| d.name == name)
            .or_else(|| self.hardware.find(name))
    }

    /// The device of this name; `field` is where it was named.
    ///
    /// # Errors
    /// [`RecommendError::UnknownDevice`] when it is neither in the table nor beside it.
    pub(crate) fn need_device(
        &self,
        field: &'static str,
        name: &str,
    ) -> Result<&Device, RecommendError> {
        self.device(name)
            .ok_or_else(|| RecommendError::UnknownDevice {
                field,
                name: name.chars().take(64).collect(),
            })
    }

    /// The weights of scores: learned ones when there are.
    pub(crate) fn weights(&self) -> Weights {
        self.learned
            .as_ref()
            .map_or(Weights::FIXED, Learned::weights)
    }

    /// What in a candidate's place and forecast was learned.
    pub(crate) fn learned_reasons(&self, c: &Candidate) -> Vec<Reason> {
        self.learned
            .as_ref()
            .map_or_else(Vec::new, |l| l.reasons(c.device.as_deref(), c.runtime))
    }

    /// Adds a detected machine's processor, so that a need may name it; returns that name.
    pub fn add_machine(&mut self, machine: &Hardware) -> String {
        let device = machine.cpu_device();
        let name = device.name.clone();
        self.extra_devices.retain(|d| d.name != name);
        self.extra_devices.push(device);
        name
    }
}
