//! A bash script on curl and jq.

use mistral_core::files::{FileMode, FileSet};
use mistral_core::plan::Plan;

use super::{Source, add, facts, page};
use crate::targets::{Page, render_all};
use crate::{CodegenError, Options};

const PAGES: &[Page] = &[
    Page::plain(
        "plan.sh",
        include_str!("../../../templates/api-curl/plan.sh.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../../templates/api-curl/README.md.j2"),
    ),
];

const SOURCES: &[Source] = &[Source {
    path: "client.sh",
    text: include_str!("../../../clients/curl/client.sh"),
    mode: FileMode::Executable,
}];

/// The client for `plan`.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    let facts = facts("api-curl", plan, options)?;
    let mut files = render_all(PAGES, &page(plan, &facts)?, plan)?;
    add(&mut files, SOURCES)?;
    Ok(files)
}
