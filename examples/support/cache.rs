//! The option that names a cache's type.

use mistral_infer::CacheType;

use crate::{Arguments, UsageError};

/// The type that `--cache` names, if it is there.
///
/// # Errors
/// For a name that no type has.
pub fn cache_type(arguments: &Arguments) -> Result<Option<CacheType>, UsageError> {
    let parse = |name: &str| {
        let unknown = || UsageError(format!("--cache {name} isn't f32, f16, bf16 or q8"));
        CacheType::from_name(name).ok_or_else(unknown)
    };
    arguments.text("cache").map(parse).transpose()
}
