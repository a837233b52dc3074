//! A cargo project: a client library and a program.

use minijinja::{Value, context};
use mistral_core::files::{FileMode, FileSet};
use mistral_core::plan::Plan;

use super::{Facts, Source, add, decimal, facts, page};
use crate::quote::rust_str;
use crate::targets::rust::{constant, optional};
use crate::targets::{Page, render_all};
use crate::{CodegenError, Options};

const PAGES: &[Page] = &[
    Page::plain(
        "Cargo.toml",
        include_str!("../../../templates/api-rust/Cargo.toml.j2"),
    ),
    Page::plain(
        "src/plan.rs",
        include_str!("../../../templates/api-rust/plan.rs.j2"),
    ),
    Page::plain(
        ".gitignore",
        include_str!("../../../templates/api-rust/gitignore.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../../templates/api-rust/README.md.j2"),
    ),
];

const SOURCES: &[Source] = sources!["rust", "src/":
    "client.rs",
    "error.rs",
    "guard.rs",
    "lib.rs",
    "main.rs",
    "retry.rs",
    "settings.rs",
    "sse.rs",
    "types.rs",
];

/// The client for `plan`.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    let facts = facts("api-rust", plan, options)?;
    let context = context! { constants => constants(plan, &facts), ..page(plan, &facts)? };
    let mut files = render_all(PAGES, &context, plan)?;
    add(&mut files, SOURCES)?;
    Ok(files)
}

/// Each constant of `src/plan.rs` as the formatter writes it.
fn constants(plan: &Plan, facts: &Facts) -> Value {
    let key = facts.key_env.as_ref().map(|name| rust_str(name));
    let float = |number: f64| format!("{number:?}");
    let rows = [
        ("MODEL", "&str", rust_str(&facts.model)),
        ("BASE_URL", "&str", rust_str(&facts.base_url)),
        ("DIALECT", "&str", rust_str(facts.dialect)),
        ("KEY_VARIABLE", "Option<&str>", optional(key)),
        ("MAX_TOKENS", "u32", facts.max_tokens.to_string()),
        ("TEMPERATURE", "f64", decimal(plan.sampling.temperature)),
        ("TOP_P", "f64", decimal(plan.sampling.top_p)),
        ("SEED", "Option<u64>", optional(plan.sampling.seed)),
        ("USD_PER_MTOK_IN", "f64", float(facts.price.input)),
        ("USD_PER_MTOK_OUT", "f64", float(facts.price.output)),
        ("USD_LIMIT", "f64", float(facts.usd_limit)),
    ];
    rows.into_iter()
        .map(|(name, kind, value)| (name, Value::from_safe_string(constant(name, kind, &value))))
        .collect()
}
