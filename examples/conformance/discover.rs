//! Finding cases: a kind is recognised by what lies in a folder.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};

/// Kinds of cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `config.json` and `expected.safetensors`.
    Model,
    /// `expected.json` beside a model: a trained one, with texts.
    Stories,
    /// `ops.json`.
    Ops,
    /// A `*.text.jsonl` or `*.chat.jsonl` file.
    Tokenizer,
    /// Block formats of GGUF, or a whole GGUF file.
    Gguf,
    /// An adapter and its training.
    Lora,
}

impl Kind {
    /// The name in a row.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Model => "model",
            Kind::Stories => "stories",
            Kind::Ops => "ops",
            Kind::Tokenizer => "tokenizer",
            Kind::Gguf => "gguf",
            Kind::Lora => "lora",
        }
    }
}

/// A case to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    /// Path below the folder that was given, with `/`; the folder's own name for itself.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its folder, or the vectors' file.
    pub(crate) path: PathBuf,
}

/// Folders below which nothing is looked for.
const MAX_DEPTH: usize = 16;

/// All cases below `root`, in the order of their paths.
pub(crate) fn cases(root: &Path) -> Result<Vec<Case>, Box<dyn Error>> {
    let name = root
        .canonicalize()
        .map_err(|e| format!("{}: {e}", root.display()))?;
    let name = name
        .file_name()
        .map_or("case".to_owned(), |n| n.to_string_lossy().into_owned());
    let mut walk = Walk {
        root,
        name,
        seen: BTreeSet::new(),
        found: Vec::new(),
    };
    walk.folder(root, 0)?;
    Ok(walk.found)
}

struct Walk<'a> {
    root: &'a Path,
    name: String,
    /// Folders that were walked, so that a link to a parent ends.
    seen: BTreeSet<PathBuf>,
    found: Vec<Case>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, depth: usize) -> Result<(), Box<dyn Error>> {
        let at = |e: std::io::Error| format!("{}: {e}", folder.display());
        if depth > MAX_DEPTH || !self.seen.insert(folder.canonicalize().map_err(at)?) {
            return Ok(());
        }
        let mut files = BTreeSet::new();
        let mut folders = BTreeSet::new();
        for entry in std::fs::read_dir(folder).map_err(at)? {
            let path = entry.map_err(at)?.path();
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
                continue;
            };
            if path.is_dir() {
                folders.insert(path.clone());
            } else {
                files.insert(name.to_owned());
            }
        }
        self.recognise(folder, &files);
        folders
            .iter()
            .try_for_each(|inner| self.folder(inner, depth + 1))
    }

    fn recognise(&mut self, folder: &Path, files: &BTreeSet<String>) {
        let has = |name: &str| files.contains(name);
        if has("adapter_init.safetensors") {
            self.push(Kind::Lora, folder);
        } else if has("config.json") && has("expected.json") {
            self.push(Kind::Stories, folder);
        } else if has("config.json") && has("expected.safetensors") {
            self.push(Kind::Model, folder);
        }
        if has("ops.json") {
            self.push(Kind::Ops, folder);
        }
        if has("gguf_quants.json") {
            self.push(Kind::Gguf, folder);
        }
        for name in files {
            if name.ends_with(".text.jsonl") || name.ends_with(".chat.jsonl") {
                self.push(Kind::Tokenizer, &folder.join(name));
            }
            let expected = name
                .strip_suffix(".gguf")
                .map(|n| format!("{n}.expected.safetensors"));
            if expected.is_some_and(|expected| has(&expected)) {
                self.push(Kind::Gguf, &folder.join(name));
            }
        }
    }

    fn push(&mut self, kind: Kind, path: &Path) {
        let below = path.strip_prefix(self.root).unwrap_or(path);
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        let name = if parts.is_empty() {
            self.name.clone()
        } else {
            parts.join("/")
        };
        self.found.push(Case {
            name,
            kind,
            path: path.to_owned(),
        });
    }
}
