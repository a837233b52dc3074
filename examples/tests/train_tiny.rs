//! The training run: continued and repeated runs give the same files, and the files load.

#[path = "../train/mod.rs"]
mod train;

use std::path::Path;

use mistral_examples::{Arguments, UsageError};
use mistral_infer::weights::{Checkpoint, WeightStorage};
use train::options::{NAMES, Options};

/// Speeches of few words, enough for a few batches.
fn text() -> String {
    let words = [
        "the", "king", "is", "come", "my", "lord", "and", "I", "will", "speak", "no", "more",
    ];
    let mut text = String::new();
    for speech in 0..400usize {
        text += if speech % 2 == 0 {
            "FIRST:\n"
        } else {
            "SECOND:\n"
        };
        for word in 0..8 {
            text += words[(speech * 7 + word * 5 + speech * word) % words.len()];
            text += if word == 7 { ".\n\n" } else { " " };
        }
    }
    text
}

fn options(words: &[String]) -> Result<Options, UsageError> {
    Options::read(&Arguments::parse(words.iter().cloned(), &NAMES)?)
}

fn run(folder: &Path, name: &str, more: &[&str]) -> Vec<u8> {
    let (out, work) = (folder.join(name), folder.join(format!("{name}.work")));
    let mut arguments = vec![folder.join("text.txt").display().to_string()];
    for (option, path) in [("--out", &out), ("--work", &work)] {
        arguments.extend([option.to_owned(), path.display().to_string()]);
    }
    let small = "--dim 16 --layers 1 --expert-hidden 8 --vocab 300 --seq 16 --batch 2 --steps 6 --eval-every 2";
    arguments.extend(small.split(' ').map(str::to_owned));
    arguments.extend(more.iter().map(|s| (*s).to_owned()));
    let options = options(&arguments).expect("valid arguments");
    train::run(&options, &arguments).expect("a run");
    std::fs::read(out.join("model.safetensors")).expect("a model")
}

#[test]
fn a_continued_run_equals_a_whole_one_and_its_files_load() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("text.txt"), text()).expect("writable");
    let whole = run(folder.path(), "whole", &[]);
    run(folder.path(), "parts", &["--until", "2"]);
    assert!(
        run(folder.path(), "parts", &[]) == whole,
        "the continued run differs"
    );
    assert!(
        run(folder.path(), "other", &["--seed", "2"]) != whole,
        "the seed has no effect"
    );

    let out = folder.path().join("whole");
    let config = std::fs::read_to_string(out.join("config.json")).expect("a config");
    let spec = mistral_core::model::ModelSpec::from_hf_config(&config).expect("a supported model");
    let checkpoint = Checkpoint::open(&out, WeightStorage::Mapped).expect("weights");
    checkpoint.check(&spec).expect("every tensor and no other");
    let tokenizer = mistral_infer::Tokenizer::from_file(out.join("tokenizer.json"));
    let tokenizer = tokenizer.expect("a tokenizer");
    let ids = tokenizer.encode("my lord, \u{e9}t\u{e9}").expect("ids");
    assert_eq!(
        tokenizer.decode(&ids).expect("text"),
        "my lord, \u{e9}t\u{e9}"
    );
    let card = std::fs::read_to_string(out.join("README.md")).expect("a card");
    assert!(
        card.contains("| 0 | ") && card.contains("perplexity"),
        "{card}"
    );
    assert!(
        std::fs::read_to_string(out.join("loss.svg"))
            .expect("a curve")
            .contains("<polyline")
    );
}

#[test]
fn unsuitable_arguments_are_refused() {
    let refused = [
        ("", "TEXT.txt is missing"),
        ("text --steps", "--steps wants a value"),
        ("text --steps many", "--steps \"many\" is no usize"),
        ("text --steps 0", "--steps must be at least 1"),
        ("text --dim 12", "--dim must be a multiple of 8"),
        ("text --dropout 1", "--dropout must be at least 0"),
        ("text --vocab 100", "--vocab must be at least 300"),
        ("text --depth 3", "unknown option --depth"),
    ];
    for (line, expected) in refused {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let message = options(&arguments).expect_err(line).to_string();
        assert!(message.contains(expected), "{line}: {message}");
    }
}
