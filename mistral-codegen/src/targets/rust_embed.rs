//! The smallest cargo project with a model in it: loads the plan's model, generates, streams.

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::plan::Plan;

use super::rust::{self, TARGET_EMBED as TARGET};
use super::{Page, engine, render_all};
use crate::{CodegenError, Options};

const PAGES: &[Page] = &[
    Page::plain(
        "Cargo.toml",
        include_str!("../../templates/rust-embed/Cargo.toml.j2"),
    ),
    Page::plain(
        "src/main.rs",
        include_str!("../../templates/rust-embed/main.rs.j2"),
    ),
    Page::plain(
        ".gitignore",
        include_str!("../../templates/rust/gitignore.j2"),
    ),
];

/// Constants that stand inside of an expression rather than on a line of their own.
const INSIDE: [&str; 4] = ["TEMPERATURE", "TOP_P", "TOP_K", "MIN_P"];

/// The project that runs `plan`'s model in its own process.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    let serving = engine::serving(TARGET, plan)?;
    let model = rust::model_path(plan);
    rust::check(TARGET, plan, &model)?;
    let constants = rust::constants(TARGET, plan, &serving, &model)?;
    let constants: Value = constants
        .into_iter()
        .map(|constant| {
            let text = match INSIDE.contains(&constant.name) {
                true => constant.value.clone(),
                // The program exports nothing.
                false => constant.line("const"),
            };
            (constant.name, Value::from_safe_string(text))
        })
        .collect();
    let dependency = rust::dependency(TARGET, &options.mistral_infer, &[])?;
    let context = context! {
        mistral_infer => Value::from_safe_string(dependency),
        constants => constants,
    };
    render_all(PAGES, &context, plan)
}
