//! A Python client module on httpx and a program.

use mistral_core::files::{FileMode, FileSet};
use mistral_core::plan::Plan;

use serde::Serialize;

use super::{Facts, Source, add, facts, page};
use crate::targets::{Page, json_file, render_all};
use crate::{CodegenError, Options};

const PAGES: &[Page] = &[
    Page::plain(
        "requirements.txt",
        include_str!("../../../templates/api-python/requirements.txt.j2"),
    ),
    Page::plain(
        ".gitignore",
        include_str!("../../../templates/api-python/gitignore.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../../templates/api-python/README.md.j2"),
    ),
];

const SOURCES: &[Source] = sources!["python", "": "client.py", "main.py"];

/// What the client reads when it starts: data, so that no text of a plan is code.
#[derive(Serialize)]
struct Defaults<'f> {
    model: &'f str,
    base_url: &'f str,
    dialect: &'f str,
    key_variable: Option<&'f str>,
    max_tokens: u32,
    temperature: f32,
    top_p: f32,
    seed: Option<u64>,
    usd_per_mtok_in: f64,
    usd_per_mtok_out: f64,
    usd_limit: f64,
}

fn defaults(plan: &Plan, facts: &Facts) -> Result<String, CodegenError> {
    let defaults = Defaults {
        model: &facts.model,
        base_url: &facts.base_url,
        dialect: facts.dialect,
        key_variable: facts.key_env.as_deref(),
        max_tokens: facts.max_tokens,
        temperature: plan.sampling.temperature,
        top_p: plan.sampling.top_p,
        seed: plan.sampling.seed,
        usd_per_mtok_in: facts.price.input,
        usd_per_mtok_out: facts.price.output,
        usd_limit: facts.usd_limit,
    };
    json_file(&defaults)
}

/// The client for `plan`.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    let facts = facts("api-python", plan, options)?;
    let mut files = render_all(PAGES, &page(plan, &facts)?, plan)?;
    add(&mut files, SOURCES)?;
    files.add("defaults.json", defaults(plan, &facts)?)?;
    Ok(files)
}
