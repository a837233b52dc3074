//! What is said about memory before loading, held against what the allocator is asked for.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use mistral_infer::weights::WeightStorage;
use mistral_infer::{CacheType, InferError, LoadOptions, MemoryPlan, Model, SessionLimits, memory};

thread_local! {
    /// Bytes that this thread allocated, less those that it freed: other tests don't count.
    static HELD: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    HELD.set(HELD.get() + bytes);
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that `make` leaves allocated.
fn held<T>(make: impl FnOnce() -> T) -> (T, u64) {
    let before = HELD.get();
    let made = make();
    (made, (HELD.get() - before) as u64)
}

fn far(found: u64, expected: u64, slack: u64) -> bool {
    found.abs_diff(expected) > slack
}

/// Limits that make one part after the other the largest.
fn all_limits() -> [SessionLimits; 5] {
    let plain = SessionLimits::default();
    [
        plain,
        SessionLimits {
            max_sequences: 40,
            ..plain
        },
        SessionLimits {
            max_seq_len: Some(31),
            max_batch_tokens: 7,
            cache: Some(CacheType::F16),
            ..plain
        },
        SessionLimits {
            max_logits: 1000,
            cache: Some(CacheType::Q8),
            ..plain
        },
        SessionLimits {
            max_sequences: 9,
            max_batch_tokens: 2000,
            ..plain
        },
    ]
}

#[test]
fn a_session_takes_what_was_said() {
    let mut wrong = Vec::new();
    for (name, spec) in support::specs() {
        let model = support::described(spec, 81);
        for limits in all_limits() {
            let plan = model.memory(&limits).expect("good limits");
            let (session, taken) = held(|| model.session(limits).expect("small buffers"));
            // Lists of buffers: a few hundred bytes a layer and sequence.
            let slack = 8_000 + 900 * limits.max_sequences as u64;
            if far(taken, plan.session(), slack) {
                let over = taken as i64 - plan.session() as i64;
                wrong.push(format!("{name}, {limits:?}: {plan:?}, {over} more"));
            }
            drop(session);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn caches_and_logits_take_what_was_said_to_the_byte() {
    for (name, spec) in support::specs() {
        let model = support::described(spec, 82);
        // Sessions that differ in one thing only: everything else cancels out.
        let taken = |limits| {
            let plan = model.memory(&limits).expect("good limits");
            let (session, taken) = held(|| model.session(limits).expect("small buffers"));
            drop(session);
            (plan, taken)
        };
        let base = SessionLimits {
            max_batch_tokens: 8,
            max_seq_len: Some(64),
            cache: Some(CacheType::Bf16),
            ..SessionLimits::default()
        };
        let (plan, bytes) = taken(base);
        let wider = SessionLimits {
            cache: Some(CacheType::F32),
            ..base
        };
        let (wide_plan, wide_bytes) = taken(wider);
        assert_eq!(wide_bytes - bytes, wide_plan.cache - plan.cache, "{name}");
        let more = SessionLimits {
            max_logits: 100,
            ..base
        };
        let (more_plan, more_bytes) = taken(more);
        assert_eq!(more_bytes - bytes, more_plan.logits - plan.logits, "{name}");
        let longer = SessionLimits {
            max_seq_len: Some(128),
            ..base
        };
        let (long_plan, long_bytes) = taken(longer);
        let said = long_plan.session() - plan.session();
        assert_eq!(long_bytes - bytes, said, "{name}");
    }
}

fn options(storage: WeightStorage) -> LoadOptions {
    LoadOptions {
        threads: 2,
        storage: Some(storage),
        ..LoadOptions::default()
    }
}

fn plan_of(path: &Path, storage: WeightStorage) -> MemoryPlan {
    let limits = SessionLimits::default();
    memory(path, &options(storage), &limits).expect("a sound model")
}

#[test]
fn weights_take_what_was_said() {
    let dir = tempfile::tempdir().expect("a folder for a moment");
    support::write(dir.path(), &support::dense().to_string(), 83);
    for storage in [WeightStorage::Mapped, WeightStorage::Copied] {
        let plan = plan_of(dir.path(), storage);
        let (model, taken) = held(|| Model::load(dir.path(), &options(storage)).expect("sound"));
        let limits = SessionLimits::default();
        assert_eq!(model.memory(&limits).expect("good limits"), plan);
        // Names, tables, threads.
        assert!(taken >= plan.weights_copied, "{plan}, {taken}");
        assert!(!far(taken, plan.weights_copied, 40_000), "{plan}, {taken}");
        let vectors: usize = 5 * 32 * 4;
        let bytes = (model.weight_bytes() - vectors) as u64;
        match storage {
            WeightStorage::Mapped => {
                assert_eq!(
                    (plan.weights_mapped, plan.weights_copied),
                    (bytes, vectors as u64)
                );
            }
            WeightStorage::Copied => assert_eq!(plan.weights_mapped, 0),
        }
    }
}

#[test]
fn small_weights_are_copied_unless_somebody_says_otherwise() {
    let dir = tempfile::tempdir().expect("a folder for a moment");
    support::write(dir.path(), &support::dense().to_string(), 85);
    let (load, limits) = (LoadOptions::default(), SessionLimits::default());
    let plan = memory(dir.path(), &load, &limits).expect("a sound model");
    let model = Model::load(dir.path(), &load).expect("a sound model");
    assert_eq!(model.memory(&limits).expect("good limits"), plan);
    let room = mistral_core::hardware::Hardware::available_memory();
    let copied = plan_of(dir.path(), WeightStorage::Copied);
    let mapped = plan_of(dir.path(), WeightStorage::Mapped);
    // Nobody can tell on systems that aren't Linux.
    assert_eq!(plan, if room > 1 << 20 { copied } else { mapped });
}

#[test]
fn a_bound_refuses_by_name_and_headers_are_checked() {
    let dir = tempfile::tempdir().expect("a folder for a moment");
    support::write(dir.path(), &support::dense().to_string(), 84);
    let plan = plan_of(dir.path(), WeightStorage::Mapped);
    assert_eq!(plan.within(plan.total()).expect("just enough"), plan);
    let error = plan.within(plan.total() - 1).expect_err("a byte too few");
    let expected = format!("{} bytes of memory are needed", plan.total());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(plan.to_string().contains("cache 0.1 MB"), "{plan}");
    // More layers than the file has tensors for.
    let deep = support::with(support::dense(), "n_layers", serde_json::json!(3));
    std::fs::write(dir.path().join("params.json"), deep).expect("the folder is writable");
    let limits = SessionLimits::default();
    let error = memory(dir.path(), &LoadOptions::default(), &limits).expect_err("no such tensors");
    assert!(matches!(error, InferError::MissingTensor { .. }), "{error}");
    let none = SessionLimits {
        max_sequences: 0,
        ..limits
    };
    let model = support::model(&support::dense().to_string(), 84);
    let error = model.memory(&none).expect_err("no sequence");
    assert!(matches!(error, InferError::Limit { .. }), "{error}");
}
