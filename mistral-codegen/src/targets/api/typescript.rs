//! A Node project without dependencies at run time: a client module and a program.

use mistral_core::files::{FileMode, FileSet};
use mistral_core::plan::Plan;

use super::{Source, add, facts, page};
use crate::targets::{Page, render_all};
use crate::{CodegenError, Options};

const PAGES: &[Page] = &[
    Page::plain(
        "src/plan.ts",
        include_str!("../../../templates/api-typescript/plan.ts.j2"),
    ),
    Page::plain(
        "package.json",
        include_str!("../../../templates/api-typescript/package.json.j2"),
    ),
    Page::plain(
        "tsconfig.json",
        include_str!("../../../templates/api-typescript/tsconfig.json.j2"),
    ),
    Page::plain(
        ".gitignore",
        include_str!("../../../templates/api-typescript/gitignore.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../../templates/api-typescript/README.md.j2"),
    ),
];

const SOURCES: &[Source] =
    sources!["typescript", "src/": "client.ts", "guard.ts", "main.ts", "settings.ts", "types.ts"];

/// The client for `plan`.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    let facts = facts("api-typescript", plan, options)?;
    let mut files = render_all(PAGES, &page(plan, &facts)?, plan)?;
    add(&mut files, SOURCES)?;
    Ok(files)
}
