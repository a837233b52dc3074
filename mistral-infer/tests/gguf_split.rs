//! Which files make up a GGUF model: split ones, folders, and what is missing or foreign.

mod gguf_files;

use std::path::{Path, PathBuf};

use gguf_files::{LAYERS, Writer};
use mistral_infer::gguf::{Gguf, GgufError};
use mistral_infer::weights::WeightStorage;
use mistral_infer::{InferError, LoadOptions, Model};

const U16: u32 = 2;

/// The tiny model in three files: its metadata and first tensors, and a layer each.
fn parts() -> Vec<Writer> {
    let whole = gguf_files::tiny();
    let count = whole.tensors.len();
    (0..=LAYERS)
        .map(|part| {
            let mut w = match part {
                0 => whole.clone(),
                _ => Writer::default(),
            };
            let layer = (part > 0).then(|| format!("blk.{}.", part - 1));
            w.tensors = whole.tensors.clone();
            w.tensors.retain(|(name, ..)| match &layer {
                Some(layer) => name.starts_with(layer),
                None => !name.starts_with("blk."),
            });
            w.put("split.no", U16, &(part as u16).to_le_bytes())
                .put("split.count", U16, &(LAYERS as u16 + 1).to_le_bytes())
                .put("split.tensors.count", 5, &(count as i32).to_le_bytes());
            w
        })
        .collect()
}

fn name(part: usize) -> String {
    format!("tiny-{:05}-of-00003.gguf", part + 1)
}

fn write(folder: &Path, parts: &[Writer]) -> Vec<PathBuf> {
    parts
        .iter()
        .enumerate()
        .map(|(i, part)| {
            let path = folder.join(name(i));
            std::fs::write(&path, part.finish()).expect("written");
            path
        })
        .collect()
}

fn load(path: &Path) -> Result<Model, InferError> {
    let options = LoadOptions {
        threads: 1,
        ..LoadOptions::default()
    };
    Model::load(path, &options)
}

#[track_caller]
fn refused(path: &Path) -> GgufError {
    match Gguf::open(path, WeightStorage::Mapped) {
        Err(InferError::Gguf { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn any_part_opens_the_whole_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let paths = write(folder.path(), &parts());
    let whole = gguf_files::tiny();
    for path in &paths {
        let file = Gguf::open(path, WeightStorage::Copied).expect("a split model");
        assert_eq!(file.tensors().count(), whole.tensors.len());
        assert!(file.value("general.architecture").is_some());
        load(path).expect("a model");
    }
    load(folder.path()).expect("the folder's only model");
}

#[test]
fn missing_and_foreign_parts_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let paths = write(folder.path(), &parts());
    std::fs::remove_file(&paths[1]).expect("it was there");
    let found = refused(&paths[0]);
    assert!(
        matches!(&found, GgufError::MissingShard { number: 2, count: 3, path } if *path == paths[1]),
        "{found}"
    );
    std::fs::copy(&paths[2], &paths[1]).expect("copied");
    let found = refused(&paths[0]);
    assert!(
        matches!(
            &found,
            GgufError::ForeignShard {
                number: 2,
                key: "split.no",
                ..
            }
        ),
        "{found}"
    );
    std::fs::write(&paths[1], gguf_files::tiny().finish()).expect("written");
    let found = refused(&paths[0]);
    assert!(
        matches!(&found, GgufError::ForeignShard { found, .. } if found == "absent"),
        "{found}"
    );
    std::fs::write(&paths[1], b"GGUF").expect("written");
    match Gguf::open(&paths[0], WeightStorage::Mapped) {
        Err(InferError::Gguf { path, .. }) => assert_eq!(path, paths[1]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn parts_that_contradict_each_other_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut changed = parts();
    let twice = changed[1].tensors[0].clone();
    changed[2].tensors.push(twice);
    let paths = write(folder.path(), &changed);
    assert!(matches!(
        refused(&paths[0]),
        GgufError::DuplicateTensor { .. }
    ));
    let mut changed = parts();
    changed[2].tensors.pop();
    let paths = write(folder.path(), &changed);
    assert!(matches!(refused(&paths[0]), GgufError::TensorCount { .. }));
    for (count, expected) in [(u64::MAX, "limit"), (4, "name ending")] {
        let mut changed = parts();
        changed[0].put("split.count", 10, &count.to_le_bytes());
        let paths = write(folder.path(), &changed);
        let message = refused(&paths[0]).to_string();
        assert!(message.contains(expected), "{message}");
    }
    let other = folder.path().join("renamed.gguf");
    std::fs::write(&other, parts()[0].finish()).expect("written");
    assert!(matches!(refused(&other), GgufError::ShardName { .. }));
}

#[test]
fn a_file_of_another_name_is_told_by_its_letters() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sha256-0123");
    std::fs::write(&path, gguf_files::tiny().finish()).expect("written");
    load(&path).expect("a model");
    std::fs::write(&path, b"GGU").expect("written");
    assert!(matches!(load(&path), Err(InferError::NoModel { .. })));
    let empty = folder.path().join("empty.gguf");
    std::fs::write(&empty, b"").expect("written");
    assert!(matches!(refused(&empty), GgufError::Truncated { .. }));
}

#[test]
fn a_folder_has_one_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = gguf_files::tiny().finish();
    let put = |name: &str| std::fs::write(folder.path().join(name), &bytes).expect("written");
    put("mmproj-tiny.gguf");
    assert!(matches!(
        load(folder.path()),
        Err(InferError::NoModel { .. })
    ));
    put("a.gguf");
    load(folder.path()).expect("the only one");
    put("b.gguf");
    match load(folder.path()) {
        Err(InferError::SeveralModels { found, .. }) => assert_eq!(found, ["a.gguf", "b.gguf"]),
        other => panic!("{other:?}"),
    }
}
