//! Checks of the workspace itself: `cargo xtask tidy` and `cargo xtask downstream`.
//!
//! Exit status 0 when nothing was found, 1 when something was, 2 for unusable arguments.
#![forbid(unsafe_code)]

mod arrows;
mod counts;
mod downstream;
mod graph;
mod sources;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = workspace_root();
    let outcome = match arguments[..] {
        ["tidy"] => tidy::run(&root, update_wanted()),
        ["downstream"] => downstream::run(&root),
        _ => {
            eprintln!("usage: cargo xtask tidy | downstream");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(findings) if findings.is_empty() => ExitCode::SUCCESS,
        Ok(findings) => {
            for finding in &findings {
                println!("{finding}");
            }
            println!("{} findings", findings.len());
            ExitCode::from(1)
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(1)
        }
    }
}

/// The folder of the workspace that this program was built from.
fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in a folder of the workspace")
        .to_path_buf()
}

/// Whether recorded numbers are to be written anew instead of compared.
fn update_wanted() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}
