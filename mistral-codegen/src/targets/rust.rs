//! A cargo project: an OpenAI-compatible server on `mistral-infer`.

use mistral_core::files::FileSet;
use mistral_core::plan::Plan;

use crate::{CodegenError, Options};

pub(crate) fn generate(_: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    Err(CodegenError::Unsupported {
        target: "rust",
        field: "runtime",
        found: "any".to_owned(),
        expected: "a later version of this crate".to_owned(),
    })
}
