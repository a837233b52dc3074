//! Which files make up a model: a single one, or numbered parts.
//!
//! Parts are named `name-00001-of-00003.gguf`, and say in their metadata which part they are
//! (`split.no`, counted from 0) and of how many (`split.count`). Source: llama.cpp's `gguf-split`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::GgufError;
use super::limits::MAX_SHARDS;
use super::value::Value;
use crate::error::InferError;

/// A part of a split model.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) path: PathBuf,
    /// Counted from 1.
    number: usize,
    count: usize,
}

impl Shard {
    /// Checks that a file is this part.
    pub(super) fn check(&self, file: &super::File) -> Result<(), GgufError> {
        let expected = [("split.no", self.number - 1), ("split.count", self.count)];
        for (key, expected) in expected {
            let found = file.value(key);
            if found.and_then(Value::integer) != Some(expected as u64) {
                return Err(GgufError::ForeignShard {
                    path: self.path.clone(),
                    number: self.number,
                    count: self.count,
                    key,
                    found: found.map_or("absent".to_owned(), Value::describe),
                });
            }
        }
        Ok(())
    }
}

/// The parts of the model that `file` is a part of, all of which are there; `None` when it is
/// whole.
pub(super) fn shards(file: &super::File, path: &Path) -> Result<Option<Vec<Shard>>, GgufError> {
    let key = "split.count";
    let count = match file.value(key) {
        None => return Ok(None),
        Some(value) => value.integer().ok_or_else(|| GgufError::Metadata {
            key: key.to_owned(),
            expected: "a whole number",
            found: value.describe(),
        })?,
    };
    if count <= 1 {
        return Ok(None);
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > MAX_SHARDS {
        return Err(GgufError::TooMany {
            what: "files of a split model",
            found: count,
            limit: MAX_SHARDS,
        });
    }
    let name = path.file_name().and_then(|n| n.to_str()).and_then(numbered);
    let Some((stem, _, _)) = name.filter(|(_, _, of)| *of == count) else {
        return Err(GgufError::ShardName {
            path: path.to_owned(),
            count,
        });
    };
    let shard = |number| {
        let path = path.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf"));
        match path.is_file() {
            true => Ok(Shard {
                path,
                number,
                count,
            }),
            false => Err(GgufError::MissingShard {
                number,
                count,
                path,
            }),
        }
    };
    (1..=count).map(shard).collect::<Result<_, _>>().map(Some)
}

/// `name-00002-of-00003.gguf` -> `("name", 2, 3)`.
fn numbered(name: &str) -> Option<(&str, usize, usize)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| {
        let plain = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    Some((stem, digits(number)?, digits(count)?))
}

/// The GGUF file that a path means: itself, or the only model of a folder without safetensors.
/// `None` when the path isn't about GGUF.
pub(crate) fn model_file(path: &Path) -> Result<Option<PathBuf>, InferError> {
    let is = |path: &Path, ending: &str| {
        path.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case(ending))
    };
    if !path.is_dir() {
        let found = is(path, "gguf") || starts_as_gguf(path);
        return Ok(found.then(|| path.to_owned()));
    }
    let io = |source| InferError::Io {
        path: path.to_owned(),
        source,
    };
    // One path a model: the first of its parts.
    let mut models: BTreeMap<String, PathBuf> = BTreeMap::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        if is(&file, "safetensors") {
            return Ok(None);
        }
        let Some(name) = file.file_name().and_then(|n| n.to_str()) else {
            continue;
        };
        // Image encoders lie beside their text model under this name.
        if !is(&file, "gguf") || name.starts_with("mmproj") {
            continue;
        }
        let model = numbered(name).map_or(name, |(stem, _, _)| stem).to_owned();
        let place = models.entry(model).or_insert_with(|| file.clone());
        if file < *place {
            *place = file;
        }
    }
    let several = models.len() > 1;
    match models.pop_first() {
        Some((first, _)) if several => Err(InferError::SeveralModels {
            path: path.to_owned(),
            found: std::iter::once(first).chain(models.into_keys()).collect(),
        }),
        found => Ok(found.map(|(_, file)| file)),
    }
}

/// Whether a file begins with the format's letters: some programs keep models under other names.
fn starts_as_gguf(path: &Path) -> bool {
    let mut letters = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut letters));
    read.is_ok() && letters == *b"GGUF"
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn parts_are_told_by_their_names() {
        for (name, expected) in [
            ("m-00002-of-00003.gguf", Some(("m", 2, 3))),
            ("a-b-00001-of-00001.gguf", Some(("a-b", 1, 1))),
            ("m-2-of-3.gguf", None),
            ("m-00002-of-00003.bin", None),
            ("m-0000é-of-00003.gguf", None),
            ("m.gguf", None),
        ] {
            assert_eq!(numbered(name), expected, "{name}");
        }
    }
}
