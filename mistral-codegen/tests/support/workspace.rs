//! Where the checkout and its build lie.

use std::path::{Path, PathBuf};

/// The checkout.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder that cargo compiles into: this program lies in that of its profile's dependencies.
pub(crate) fn target_folder() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let target = own.ancestors().nth(3);
    target.expect("target/profile/deps/program").to_owned()
}
