//! Where weights live, as arguments name it.

use mistral_infer::weights::WeightStorage;

use crate::{Arguments, UsageError};

/// The place that `--weights` names, if it is there.
///
/// # Errors
/// For a name that no place has.
pub fn weight_storage(arguments: &Arguments) -> Result<Option<WeightStorage>, UsageError> {
    let parse = |name: &str| match name {
        "mapped" => Ok(WeightStorage::Mapped),
        "copied" => Ok(WeightStorage::Copied),
        _ => Err(UsageError(format!(
            "--weights {name} isn't mapped or copied"
        ))),
    };
    arguments.text("weights").map(parse).transpose()
}
