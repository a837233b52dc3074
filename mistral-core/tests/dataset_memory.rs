//! What a profile holds while it reads, by the allocator: as much for 300 MB as for 30 MB.
#![cfg(feature = "dataset")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, BufReader, Read};

use mistral_core::dataset::{DatasetProfile, Limits, Profiler};

thread_local! {
    /// Bytes that this thread holds, and the most that it held.
    static HELD: Cell<i64> = const { Cell::new(0) };
    static MOST: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Different rows, made while they are read.
struct Rows {
    next: u64,
    rows: u64,
    make: fn(u64) -> String,
    line: Vec<u8>,
    at: usize,
}

impl Read for Rows {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.line.len() {
            if self.next == self.rows {
                return Ok(0);
            }
            self.line = (self.make)(self.next).into_bytes();
            self.at = 0;
            self.next += 1;
        }
        let n = buffer.len().min(self.line.len() - self.at);
        buffer[..n].copy_from_slice(&self.line[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// The profile of so many rows and the most bytes held at once for it.
fn profiled(name: &str, rows: u64, make: fn(u64) -> String) -> (DatasetProfile, i64) {
    let before = HELD.get();
    MOST.set(before);
    // Few hashes, so that the bound is reached early.
    let mut profiler = Profiler::new(Limits {
        hashes: 10_000,
        ..Limits::default()
    });
    let stream = Rows {
        next: 0,
        rows,
        make,
        line: Vec::new(),
        at: 0,
    };
    profiler.read(name, BufReader::new(stream));
    (profiler.finish(), MOST.get() - before)
}

fn chat(n: u64) -> String {
    let text = format!("{n} and some words \\\"quoted\\\" ").repeat(15);
    format!(
        "{{\"id\":{n},\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}},{{\"role\":\"assistant\",\"content\":\"{text}\"}}]}}\n"
    )
}

#[test]
fn ten_times_the_rows_take_no_more_memory() {
    for (name, make) in [
        ("a.jsonl", chat as fn(u64) -> String),
        ("a.json", |n| {
            let start = if n == 0 { "[" } else { "," };
            format!("{start}{}", chat(n))
        }),
        ("a.csv", |n| {
            if n == 0 {
                "id,text\n".to_owned()
            } else {
                format!("{n},\"{}\"\n", "some words, and more ".repeat(50))
            }
        }),
        // Other columns in every row.
        ("wide.jsonl", |n| {
            let long = "x".repeat(900);
            format!("{{\"column {n} {long}\":{n}}}\n")
        }),
    ] {
        let (small, few) = profiled(name, 30_000, make);
        let (large, many) = profiled(name, 300_000, make);
        assert!(large.bytes > 250_000_000, "{name}: {}", large.bytes);
        assert!(large.rows >= 9 * small.rows, "{name}: {} rows", large.rows);
        assert!(
            many < few + 500_000,
            "{name}: {few} bytes for 30 MB, {many} for 300 MB"
        );
        assert!(many < 8_000_000, "{name}: {many} bytes");
    }
}
