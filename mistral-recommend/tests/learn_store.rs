//! Histories in a file: kept, shown, erased; foreign files stay as they are.
#![cfg(feature = "history")]

use std::fs;
use std::path::{Path, PathBuf};

use mistral_core::report::RunReport;
use mistral_recommend::learn::{History, Learned, Outcome, Sharing, Shown, Store, UserHistory};
use mistral_recommend::{Context, RecommendError, recommend_text};

const TODAY: &str = "2026-11-23";
const SECRET: &str = "zanzibar-payroll";

fn report() -> RunReport {
    serde_json::from_str(
        r#"{"schema": 1, "command": "bench", "date": "2026-11-23",
            "machine": {"device": "L4", "count": 1, "threads": null},
            "model": "mistral-7b-v0.3", "precision": "bf16", "runtime": "vllm",
            "kernel_path": "cuda", "decode_tokens_per_s": 11.7, "ttft_ms": 333.3,
            "shape": {"prompt_tokens": 512, "output_tokens": 64, "depth": 0, "batch": 1, "repeats": 3}}"#,
    )
    .expect("a report")
}

fn shown(context: &Context<'_>) -> Shown {
    let need = format!("a chat model on one L4 card for {SECRET}");
    Shown::of(
        &recommend_text(&need, context).expect("a sound need"),
        TODAY,
    )
}

fn outcome(shown: u64) -> Outcome {
    Outcome {
        shown,
        rating: Some(4),
        note: Some(format!("{SECRET} liked it")),
        day: TODAY.to_owned(),
    }
}

/// A file with something of two users; returns what is known of the first.
fn fill(path: &Path, context: &Context<'_>) -> UserHistory {
    let mut store = Store::open(path).expect("a new file");
    let answer = shown(context);
    for user in ["ann", "bob"] {
        let mut own = answer.clone();
        if user == "bob" {
            own.need.text = Some("bob's own words".to_owned());
        }
        let id = store.record_shown(user, &own).expect("sound");
        store.record_choice(user, id, 1, TODAY).expect("shown");
        let sharing = if user == "bob" {
            Sharing::Shared
        } else {
            Sharing::Private
        };
        store
            .record_report(user, &report(), sharing, context)
            .expect("sound");
    }
    let id = store.of("ann").expect("reads").shown[0].id;
    store.record_outcome("ann", &outcome(id)).expect("shown");
    store.of("ann").expect("reads")
}

/// The bytes of a file and of what SQLite may keep beside it.
fn bytes(path: &Path) -> Vec<u8> {
    let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    ["", "-wal", "-shm", "-journal"]
        .iter()
        .flat_map(|s| fs::read(beside(s)).unwrap_or_default())
        .collect()
}

fn holds(path: &Path, text: &str) -> bool {
    bytes(path)
        .windows(text.len())
        .any(|w| w == text.as_bytes())
}

#[test]
fn a_file_keeps_what_memory_keeps() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.db");
    let context = Context::embedded(TODAY);
    let kept = fill(&path, &context);
    let mut memory = History::default();
    let id = memory.record_shown("ann", shown(&context)).expect("sound");
    memory.record_choice("ann", id, 1, TODAY).expect("shown");
    memory.record_outcome("ann", outcome(id)).expect("shown");
    memory
        .record_report("ann", report(), Sharing::Private, &context)
        .expect("sound");
    assert_eq!(kept, memory.of("ann"));
    let learned = Learned::from_history(&kept, &[], &context);
    assert_eq!(
        learned,
        Learned::from_history(&memory.of("ann"), &[], &context)
    );
    assert_eq!(learned.preference.as_ref().map(|p| p.choices()), Some(1));
    // Opening again changes nothing.
    let before = fs::read(&path).expect("a file");
    assert_eq!(
        Store::open(&path)
            .expect("a history")
            .of("ann")
            .expect("reads"),
        kept
    );
    assert_eq!(fs::read(&path).expect("a file"), before);
}

#[test]
fn a_user_sees_nothing_of_another_but_shared_reports() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.db");
    let context = Context::embedded(TODAY);
    fill(&path, &context);
    let mut store = Store::open(&path).expect("a history");
    assert!(store.of("carol").expect("reads").is_empty());
    let bob = serde_json::to_string(&store.of("bob").expect("reads")).expect("serialises");
    assert!(!bob.contains(SECRET) && bob.contains("bob's own words"));
    let ann = store.of("ann").expect("reads");
    let code = |r: Result<(), RecommendError>| r.map_err(|e| e.code());
    let id = ann.shown[0].id;
    assert_eq!(
        code(store.record_choice("bob", id, 0, TODAY)),
        Err("not_recorded")
    );
    assert_eq!(
        code(store.record_outcome("bob", &outcome(id))),
        Err("not_recorded")
    );
    assert_eq!(
        code(store.record_choice("ann", id, 99, TODAY)),
        Err("out_of_range")
    );
    assert_eq!(
        code(store.record_choice("ann", u64::MAX, 0, TODAY)),
        Err("not_recorded")
    );
    // Ann's report is private, Bob's is shared.
    assert_eq!(store.shared_reports("ann").expect("reads").len(), 1);
    assert_eq!(store.shared_reports("bob").expect("reads").len(), 0);
    let of_carol = Learned::from_history(&store.of("carol").expect("reads"), &[], &context);
    assert_eq!(of_carol, Learned::default());
    // A name that is SQL is a name.
    let odd = "x' OR '1'='1";
    assert!(store.of(odd).expect("reads").is_empty() && !store.erase(odd).expect("works"));
    assert_eq!(store.of("ann").expect("reads"), ann);
}

#[test]
fn what_is_erased_is_not_in_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.db");
    let context = Context::embedded(TODAY);
    fill(&path, &context);
    assert!(holds(&path, SECRET) && holds(&path, "bob's own words"));
    let mut store = Store::open(&path).expect("a history");
    assert!(store.erase("ann").expect("works"));
    // While it is open, too.
    assert!(!holds(&path, SECRET));
    assert!(!store.erase("ann").expect("works"));
    assert!(store.of("ann").expect("reads").is_empty());
    drop(store);
    assert!(!holds(&path, SECRET) && holds(&path, "bob's own words"));
    // Numbers aren't given twice.
    let mut store = Store::open(&path).expect("a history");
    let id = store.record_shown("ann", &shown(&context)).expect("sound");
    assert_eq!(id, 3);
}

#[test]
fn other_files_are_refused_and_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let context = Context::embedded(TODAY);
    let good = folder.path().join("good.db");
    fill(&good, &context);
    let whole = fs::read(&good).expect("a file");
    let edited = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        bytes
    };
    let foreign = folder.path().join("made.db");
    let other = rusqlite::Connection::open(&foreign).expect("opens");
    other
        .execute_batch("CREATE TABLE invoices (id INTEGER); INSERT INTO invoices VALUES (1)")
        .expect("works");
    drop(other);
    let cases = [
        ("not_a_history", b"hello".to_vec()),
        ("not_a_history", vec![0; 5000]),
        ("not_a_history", b"{\"schema\":1}".repeat(50)),
        ("not_a_history", fs::read(&foreign).expect("a file")),
        ("not_a_history", edited(&|b| b.truncate(b.len() / 2))),
        ("not_a_history", edited(&|b| b.truncate(100))),
        ("not_a_history", edited(&|b| b[4096..8192].fill(0xa5))),
        ("not_a_history", edited(&|b| b[100..600].fill(0xff))),
        ("not_a_history", edited(&|b| b[68..72].fill(7))),
        ("unknown_history_version", edited(&|b| b[63] = 9)),
    ];
    for (i, (code, bytes)) in cases.iter().enumerate() {
        let path = folder.path().join(format!("{i}.db"));
        fs::write(&path, bytes).expect("writes");
        let found = Store::open(&path).map(|_| ()).map_err(|e| e.code());
        assert_eq!(found, Err(*code), "case {i}");
        assert_eq!(&fs::read(&path).expect("a file"), bytes, "case {i}");
    }
    let found = Store::open(folder.path()).map(|_| ()).map_err(|e| e.code());
    assert_eq!(found, Err("not_a_history"));
    let nowhere = folder.path().join("no/such/folder.db");
    assert!(Store::open(&nowhere).is_err());
}

#[test]
fn several_writers_at_once_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.db");
    let context = Context::embedded(TODAY);
    let answer = shown(&context);
    std::thread::scope(|scope| {
        for user in ["ann", "bob", "ann", "bob"] {
            let (path, answer) = (&path, &answer);
            scope.spawn(move || {
                for _ in 0..10 {
                    // A connection each time, as separate processes have.
                    let mut store = Store::open(path).expect("a history");
                    let id = store.record_shown(user, answer).expect("sound");
                    store.record_choice(user, id, 0, TODAY).expect("shown");
                }
            });
        }
    });
    let mut store = Store::open(&path).expect("a history");
    for user in ["ann", "bob"] {
        let known = store.of(user).expect("reads");
        assert_eq!((known.shown.len(), known.chosen.len()), (20, 20));
    }
}

#[test]
fn rows_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.db");
    let context = Context::embedded(TODAY);
    for sql in [
        "UPDATE shown SET need = '{'",
        "UPDATE shown SET choices = '[{\"model\": 3}]'",
        "UPDATE report SET report = 'null'",
        "UPDATE outcome SET rating = 4000",
        "UPDATE chosen SET position = -1",
    ] {
        drop(fs::remove_file(&path));
        fill(&path, &context);
        let other = rusqlite::Connection::open(&path).expect("opens");
        other.execute_batch(sql).expect("works");
        drop(other);
        let mut store = Store::open(&path).expect("a history");
        let found = store.of("ann").map(|_| ()).map_err(|e| e.code());
        assert_eq!(found, Err("not_a_history"), "{sql}");
    }
}
