//! Text in the formats that are generated, one file a format.
//!
//! The law of each: what a reader of the format gets back is the text that went in, or the text
//! is refused with [`CodegenError::Unquotable`]. Nothing is dropped or replaced.

mod compose;
mod dockerfile;
mod json;
mod markdown;
mod modelfile;
mod python;
mod rust;
mod shell;
mod systemd;
mod toml;
mod typescript;
mod yaml;

pub use compose::compose;
pub use dockerfile::{dockerfile_exec, dockerfile_value};
pub use json::json;
pub(crate) use json::sorted;
pub use markdown::{markdown_block, markdown_code};
pub use modelfile::modelfile;
pub use python::python_str;
pub use rust::rust_str;
pub use shell::{shell, shell_words};
pub use systemd::{systemd_argument, systemd_assignment};
pub use toml::toml_str;
pub use typescript::typescript_str;
pub use yaml::yaml;

use crate::CodegenError;

/// The error for the first character of `text` that `refused` names.
fn refuse(
    format: &'static str,
    text: &str,
    refused: impl Fn(char) -> bool,
) -> Result<(), CodegenError> {
    match text.char_indices().find(|&(_, c)| refused(c)) {
        None => Ok(()),
        Some((at, c)) => Err(CodegenError::Unquotable {
            format,
            character: u32::from(c),
            at,
            text: text.chars().take(80).collect(),
        }),
    }
}
