//! What a book has for this machine and model is followed when the model is loaded.

mod support;

use std::error::Error as _;
use std::path::PathBuf;

use mistral_core::model::ModelSpec;
use mistral_core::precision::Precision;
use mistral_core::schedule::{Fingerprint, Found, Schedule, ScheduleBook, Shapes};
use mistral_infer::{InferError, Isa, LoadOptions, Model};

const THREADS: usize = 2;

/// A model's folder and the file of a book beside it.
struct Files {
    dir: tempfile::TempDir,
    book: PathBuf,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder for a moment");
        support::write(dir.path(), &support::dense().to_string(), 91);
        let book = dir.path().join("schedules.json");
        Self { dir, book }
    }

    fn load(&self, schedule: Option<Schedule>) -> Result<Model, InferError> {
        let options = LoadOptions {
            threads: THREADS,
            schedule,
            schedules: Some(self.book.clone()),
            ..LoadOptions::default()
        };
        Model::load(self.dir.path(), &options)
    }
}

fn schedule(few_tasks: u32) -> Schedule {
    Schedule {
        few_tasks,
        ..Schedule::default()
    }
}

fn found(threads: usize, precision: Precision, few_tasks: u32) -> Found {
    let spec = ModelSpec::from_params(&support::dense().to_string()).expect("a valid description");
    Found {
        machine: Fingerprint::here(Isa::best().name(), threads),
        shapes: Shapes::of(&spec, precision),
        schedule: schedule(few_tasks),
        gain: 1.1,
        command: "tune kernels".to_owned(),
        date: "2026-11-24".to_owned(),
    }
}

#[test]
fn the_entry_of_this_machine_is_followed() {
    let files = Files::new();
    let mut book = ScheduleBook::default();
    book.insert(found(THREADS + 1, Precision::F32, 3));
    book.insert(found(THREADS, Precision::Q4KM, 5));
    let write = |book: &ScheduleBook| {
        std::fs::write(
            &files.book,
            serde_json::to_string(book).expect("plain data"),
        )
        .expect("room");
    };
    write(&book);
    let usual = Model::load(files.dir.path(), &LoadOptions::default()).expect("a sound model");
    let model = files.load(None).expect("a sound model");
    assert_eq!(model.cpu().schedule(), usual.cpu().schedule(), "of others");
    book.insert(found(THREADS, Precision::F32, 7));
    write(&book);
    let model = files.load(None).expect("a sound model");
    assert_eq!(*model.cpu().schedule(), schedule(7));
    let model = files.load(Some(schedule(9))).expect("a sound model");
    assert_eq!(*model.cpu().schedule(), schedule(9), "said outright");
}

#[test]
fn a_book_that_is_none_is_refused() {
    let files = Files::new();
    let Err(InferError::Io { path, .. }) = files.load(None) else {
        panic!("a file that isn't there");
    };
    assert_eq!(path, files.book);
    for text in ["", "[]", r#"{"schema":2,"found":[]}"#, r#"{"schema":1}"#] {
        std::fs::write(&files.book, text).expect("room");
        let error = files.load(None).expect_err(text);
        assert!(matches!(error, InferError::Schedules { .. }), "{error:?}");
        assert!(error.source().is_some(), "{text}");
    }
}
