//! Which files of a folder hold the weights.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::InferError;

/// The largest index of a released model is below 10 MB.
const MAX_INDEX_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

/// The weight files of a folder: an index's shards, one file, or shards without an index; Hugging
/// Face names before Mistral's.
pub(super) fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, InferError> {
    for stem in ["model", "consolidated"] {
        let index = dir.join(format!("{stem}.safetensors.index.json"));
        let single = dir.join(format!("{stem}.safetensors"));
        if index.is_file() {
            return shards_of(dir, &index);
        }
        if single.is_file() {
            return Ok(vec![single]);
        }
        let shards = numbered_shards(dir, stem)?;
        if !shards.is_empty() {
            return Ok(shards);
        }
    }
    Err(InferError::NoModel {
        path: dir.to_owned(),
        expected: "model.safetensors, consolidated.safetensors, or their shards",
    })
}

fn shards_of(dir: &Path, index: &Path) -> Result<Vec<PathBuf>, InferError> {
    let text = crate::read_text(index, MAX_INDEX_BYTES)?;
    let parsed: Index = serde_json::from_str(&text).map_err(|source| InferError::ShardIndex {
        path: index.to_owned(),
        source,
    })?;
    let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
    if names.is_empty() {
        return Err(InferError::NoModel {
            path: index.to_owned(),
            expected: "at least one shard",
        });
    }
    names
        .into_iter()
        .map(|name| {
            let plain = Path::new(&name)
                .file_name()
                .is_some_and(|f| f == name.as_str());
            match plain {
                true => Ok(dir.join(name)),
                false => Err(InferError::ShardName {
                    path: index.to_owned(),
                    name,
                }),
            }
        })
        .collect()
}

/// `stem-00001-of-00003.safetensors` and so on, all that the count names.
fn numbered_shards(dir: &Path, stem: &str) -> Result<Vec<PathBuf>, InferError> {
    let io = |source| InferError::Io {
        path: dir.to_owned(),
        source,
    };
    let prefix = format!("{stem}-");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with(&prefix) && name.ends_with(".safetensors") && name.contains("-of-") {
            found.insert(name.to_owned());
        }
    }
    Ok(found.into_iter().map(|name| dir.join(name)).collect())
}
