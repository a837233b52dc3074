//! The fuzz targets on their seeds and on simple mutations of them, so that every parser meets broken input
//! in each test run. `cargo +nightly fuzz run` looks much further.

#[expect(
    unreachable_pub,
    reason = "the file is a library module of the fuzz package"
)]
#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::path::Path;

type Target = fn(&[u8]) -> bool;

/// Name, function, and the number of mutations of each kind that a seed undergoes. A need in JSON is ranked against
/// the whole catalogue each time, so it gets few.
const TARGETS: &[(&str, Target, usize)] = &[
    ("model_spec", targets::model_spec, 150),
    ("checkpoint", targets::checkpoint, 150),
    ("gguf", targets::gguf, 150),
    ("prefix", targets::prefix, 150),
    ("tokenizer", targets::tokenizer, 150),
    ("chat", targets::chat, 150),
    ("need", targets::need, 8),
];

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(target);
    let mut seeds: Vec<(String, Vec<u8>)> = std::fs::read_dir(&folder)
        .expect("every target has seeds")
        .map(|entry| {
            let entry = entry.expect("the folder can be read");
            let bytes = std::fs::read(entry.path()).expect("a seed can be read");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn seeds_are_accepted_unless_their_name_says_bad() {
    let mut wrong = Vec::new();
    for (name, target, _) in TARGETS {
        for (seed, bytes) in seeds(name) {
            if target(&bytes) == seed.starts_with("bad_") {
                wrong.push(format!("{name}/{seed}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn broken_seeds_end_in_a_value_or_an_error() {
    for &(name, target, mutations) in TARGETS {
        for (_, bytes) in seeds(name) {
            for mutation in 0..mutations {
                target(&bytes[..bytes.len() * mutation / mutations]);
                target(&with_flipped_bytes(&bytes, mutation));
                target(&with_repeated_part(&bytes, mutation, mutations));
            }
        }
    }
}

/// Three bytes changed, at places and to values that depend on `mutation` alone.
fn with_flipped_bytes(bytes: &[u8], mutation: usize) -> Vec<u8> {
    let mut broken = bytes.to_vec();
    for round in 1..=3 {
        let mixed = (mutation * 3 + round).wrapping_mul(0x9e37_79b9_7f4a_7c15_usize);
        let at = (mixed >> 20) % broken.len();
        // Digits and signs break numbers, high bytes break text.
        broken[at] = [b'9', b'-', b'"', b'}', 0, 0x7f, 0xff, b'e'][(mixed >> 8) % 8];
    }
    broken
}

/// A stretch of the bytes inserted once more.
fn with_repeated_part(bytes: &[u8], mutation: usize, mutations: usize) -> Vec<u8> {
    let start = bytes.len() * mutation / mutations;
    let end = (start + 1 + mutation % 40).min(bytes.len());
    [&bytes[..end], &bytes[start..]].concat()
}
