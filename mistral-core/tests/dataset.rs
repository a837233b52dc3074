//! Profiles of text data: formats, lengths, and what hostile data does.
#![cfg(feature = "dataset")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use mistral_core::dataset::{
    CountError, CountTokens, Counting, DatasetError, DatasetProfile, FileFormat, FileProblem,
    Limits, Profiler, RowProblem, Shape, Speaker, ValueKind, profile,
};

/// One token a word; a text with `refuse` in it has none.
struct Words;

impl CountTokens for Words {
    fn name(&self) -> String {
        "words".to_owned()
    }
    fn count(&self, text: &str) -> Result<u64, CountError> {
        match text.contains("refuse") {
            true => Err("refused".into()),
            false => Ok(text.split_whitespace().count() as u64),
        }
    }
}

fn read_within(name: &str, data: &[u8], limits: Limits) -> DatasetProfile {
    let mut profiler = Profiler::new(limits).with_tokenizer(&Words);
    profiler.read(name, data);
    profiler.finish()
}

fn read(name: &str, data: &[u8]) -> DatasetProfile {
    read_within(name, data, Limits::default())
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(data).expect("memory does not fail");
    packer.finish().expect("memory does not fail")
}

#[test]
fn formats_and_forms() {
    use FileFormat::{Csv, JsonLines, JsonList, JsonValues, Text};
    let csv = |delimiter, header| Csv { delimiter, header };
    let pretty = "{\n \"prompt\": \"a\",\n \"completion\": \"b\"\n}\n{\n \"prompt\": \"c\",\n \"completion\": \"d\"\n}\n";
    let chat = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#;
    let mut wrong = Vec::new();
    for (name, data, format, shape, rows, unreadable, blank) in [
        (
            "a.jsonl",
            format!("{chat}\n\n{chat}"),
            JsonLines,
            Shape::Chat,
            2,
            0,
            1,
        ),
        (
            "a.ndjson",
            format!("{chat}\r\n{chat}\r\n"),
            JsonLines,
            Shape::Chat,
            2,
            0,
            0,
        ),
        (
            "a.json",
            format!("[{chat},\n{chat}]"),
            JsonList,
            Shape::Chat,
            2,
            0,
            0,
        ),
        (
            "a.json",
            pretty.to_owned(),
            JsonValues,
            Shape::Instruction,
            2,
            0,
            0,
        ),
        (
            "a.json",
            format!("{chat}\n{chat}\n"),
            JsonLines,
            Shape::Chat,
            2,
            0,
            0,
        ),
        (
            "a",
            format!("\u{feff}{chat}\n"),
            JsonLines,
            Shape::Chat,
            1,
            0,
            0,
        ),
        (
            "a.json",
            "hello {}".to_owned(),
            JsonValues,
            Shape::Table,
            1,
            1,
            0,
        ),
        (
            "a.csv",
            "prompt,completion\na,b\n\"c,\nd\",e\n".to_owned(),
            csv(',', true),
            Shape::Instruction,
            2,
            0,
            0,
        ),
        (
            "a.csv",
            "id;name\n1;x\n2\n3;y;z\n4;w\n".to_owned(),
            csv(';', true),
            Shape::Table,
            2,
            2,
            0,
        ),
        (
            "a.csv",
            "1,2\n3,4\n".to_owned(),
            csv(',', false),
            Shape::Table,
            2,
            0,
            0,
        ),
        (
            "a.tsv",
            "text\tid\na b\t1\n".to_owned(),
            csv('\t', true),
            Shape::Text,
            1,
            0,
            0,
        ),
        (
            "a.txt",
            "one\n\ntwo\n".to_owned(),
            Text,
            Shape::Text,
            2,
            0,
            1,
        ),
        ("a", "one\ntwo".to_owned(), Text, Shape::Text, 2, 0, 0),
        (
            "a.jsonl",
            r#"{"chosen":"a","rejected":"b"}"#.to_owned(),
            JsonLines,
            Shape::Preference,
            1,
            0,
            0,
        ),
        (
            "a.jsonl",
            "1\n\"t\"\n[]\n{\"text\": 1".to_owned(),
            JsonLines,
            Shape::Text,
            2,
            2,
            0,
        ),
        (
            "a.txt.gz",
            "one\ntwo\n".to_owned(),
            Text,
            Shape::Text,
            2,
            0,
            0,
        ),
    ] {
        let bytes = match name.ends_with(".gz") {
            true => gzip(data.as_bytes()),
            false => data.clone().into_bytes(),
        };
        let found = read(name, &bytes);
        let file = &found.files[0];
        let got = (
            file.format,
            found.rows,
            found.unreadable_rows,
            found.blank_lines,
        );
        let shaped = found.shapes.contains_key(&shape);
        let whole = file.problem.is_none() && file.bytes == bytes.len() as u64;
        if got != (format, rows, unreadable, blank) || !shaped || !whole {
            wrong.push(format!("{name} {data:?}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lengths_are_counted_by_part() {
    let data = r#"{"messages":[{"role":"system","content":"s s"},{"role":"user","content":"a b c"},{"role":"assistant","content":"d"},{"role":"user","content":"e"},{"role":"assistant","content":"f g"}]}
{"prompt":"a b c d","chosen":"e f","rejected":"g h i","id":9}
{"text":"w x"}
{"prompt":"refuse this","completion":"x"}
{"question":"only","answer":""}"#;
    let found = read("mixed.jsonl", data.as_bytes());
    assert_eq!(
        (found.rows, found.unreadable_rows, found.empty_rows),
        (4, 1, 0)
    );
    let problem = &found.faults[0].problem;
    assert!(matches!(problem, RowProblem::Tokenizer { .. }), "{problem}");
    assert_eq!(found.faults[0].place.line, 4);
    let tokens = &found.tokens;
    assert_eq!(
        tokens.counting,
        Counting::Exact {
            tokenizer: "words".to_owned()
        }
    );
    assert_eq!(tokens.total, 9 + 9 + 2 + 1);
    // The chat, the preference with its longer answer, the text, the question.
    assert_eq!((tokens.rows.count, tokens.rows.total), (4, 9 + 7 + 2 + 1));
    let prompts = tokens.prompts.expect("there are prompts");
    let answers = tokens.answers.expect("there are answers");
    assert_eq!((prompts.count, prompts.total), (4, 5 + 7 + 4 + 1));
    assert_eq!((answers.count, answers.total), (5, 1 + 2 + 2 + 3));
    assert_eq!((answers.min, answers.max, answers.p50), (0, 3, 2));
    assert_eq!(found.speakers[&Speaker::User], 2);
    assert_eq!(found.speakers[&Speaker::System], 1);
    assert_eq!(found.turns.expect("there is a chat").max, 5);
    let longest: Vec<_> = found
        .longest
        .iter()
        .map(|l| (l.tokens, l.place.line))
        .collect();
    assert_eq!(longest, [(9, 1), (7, 2), (2, 3), (1, 5)]);
}

#[test]
fn columns_duplicates_and_languages() {
    let mut data = "id,name,score\n".to_owned();
    for n in 0..100 {
        data += &format!(
            "{n},name {},{}\n",
            n % 7,
            if n % 2 == 0 { "" } else { "1.5" }
        );
    }
    data += "3,name 3,1.5\n";
    let found = read("t.csv", data.as_bytes());
    let column = |name: &str| {
        found
            .columns
            .iter()
            .find(|c| c.name == name)
            .expect("there")
    };
    assert_eq!(column("id").kinds[&ValueKind::Number], 101);
    assert_eq!(column("name").kinds[&ValueKind::Text], 101);
    assert_eq!(column("score").filled, 51);
    assert_eq!(column("name").mean_bytes, 6.0);
    assert_eq!((found.duplicates.rows, found.duplicates.exact), (1, true));
    assert_eq!(found.duplicates.first[0].line, 102);

    // The same texts in another order of fields, with another identifier, are the same row.
    let rows = r#"{"prompt":"a","completion":"b","id":1}
{"id":2,"completion":"b","prompt":"a"}
{"prompt":"ab","completion":""}"#;
    assert_eq!(read("d.jsonl", rows.as_bytes()).duplicates.rows, 1);

    let french = "Le petit chat dort sur la chaise pendant que les enfants jouent dehors.\n";
    let english = "The small cat sleeps on the chair while the children are playing outside.\n";
    let text = french.repeat(3) + english;
    let languages = read("l.txt", text.as_bytes()).languages;
    let shares: Vec<_> = languages
        .shares
        .iter()
        .map(|s| (s.language.as_str(), s.share))
        .collect();
    assert_eq!(shares, [("fr", 0.75), ("en", 0.25)]);
    assert_eq!((languages.sampled_rows, languages.unknown), (4, 0.0));
}

/// A stream of one byte, over and over.
struct Endless {
    byte: u8,
    left: u64,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        buffer[..n].fill(self.byte);
        self.left -= n as u64;
        Ok(n)
    }
}

#[test]
fn a_line_without_an_end_is_skipped() {
    for (name, start, byte) in [
        ("a.jsonl", &b"{\"text\":\"ok\"}\n"[..], b'x'),
        ("a.json", b"[{\"text\":\"ok\"},\"", b'x'),
        ("a.json", b"[{\"text\":\"ok\"}", b' '),
        ("a.json", b"[{\"text\":\"ok\"},", b'['),
        ("a.csv", b"text\nok\n\"", b'x'),
        ("a.csv", b"text\nok\n", b','),
        ("a.txt", b"ok\n", b'\0'),
    ] {
        let endless = Endless {
            byte,
            left: 200 << 20,
        };
        let mut profiler = Profiler::new(Limits {
            row_bytes: 1 << 20,
            ..Limits::default()
        });
        profiler.read(name, BufReader::new(start.chain(endless)));
        let found = profiler.finish();
        let problem = &found.files[0].problem;
        assert_eq!(found.rows, 1, "{name}");
        assert!(
            found.unreadable_rows == 1 || *problem == Some(FileProblem::Unterminated),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn hostile_bytes_are_named() {
    let deep = format!("{{\"text\": {}", "[".repeat(100_000));
    let many = format!("[{}]", "0,".repeat(2_000_000) + "0");
    let cut = gzip(&"some text\n".repeat(10_000).into_bytes());
    let bomb = gzip(&vec![b'\n'; 200 << 20]);
    // What must be said of the row, or of the file.
    let mut wrong = Vec::new();
    for (name, data, expected) in [
        (
            "a.jsonl",
            &b"{\"text\":\"\xff\"}"[..],
            "expected UTF-8, found another byte after 9",
        ),
        ("a.txt", b"a\0b", "found a NUL after 1"),
        ("a.jsonl", b"{\"text\":\"\0\"}", "found a NUL"),
        ("a.jsonl", deep.as_bytes(), "recursion limit"),
        (
            "a.jsonl",
            many.as_bytes(),
            "expected at most 1048576 values",
        ),
        ("a.json", b"[1", "expected the end of a JSON value"),
        ("a.json", b"[{} {}]", "line 1: expected `,` or `]`"),
        ("a.csv", b"a,b\n1\n", "expected 2 fields, found 1"),
        ("a.csv", b"a,b\n\xc3,\xa9\n", "expected UTF-8"),
        ("a.txt.gz", &cut[..cut.len() / 2], "expected gzip data"),
        ("a.txt.gz", b"\x1f\x8bnot gzip at all", "expected gzip data"),
        ("a.txt.gz", &bomb, "expected at most 200 times the bytes"),
        ("a.csv", b"\xff\xfea\0,\0", "found UTF-16"),
        ("a.bin", b"PAR1", "it has to be a file"),
    ] {
        let found = read(name, data);
        let rows = found.faults.iter().map(|f| f.problem.to_string());
        let files = found.files[0].problem.iter().map(ToString::to_string);
        let said: Vec<String> = rows.chain(files).collect();
        if !said.iter().any(|s| s.contains(expected)) {
            wrong.push(format!("{name}, {expected}: {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_cut_archive_keeps_the_rows_before_the_cut() {
    let text: String = (0..50_000).map(|n| format!("row number {n}\n")).collect();
    let packed = gzip(text.as_bytes());
    let found = read("a.txt.gz", &packed[..packed.len() / 2]);
    assert!((1000..49_000).contains(&found.rows), "{}", found.rows);
    assert!(matches!(
        found.files[0].problem,
        Some(FileProblem::Gzip { .. })
    ));
}

#[test]
fn nothing_is_a_profile_too() {
    for name in ["a.jsonl", "a.json", "a.csv", "a.txt", "a"] {
        let found = read(name, b"");
        assert_eq!(
            (found.rows, found.unreadable_rows, found.files_total),
            (0, 0, 1),
            "{name}"
        );
        assert_eq!(found.tokens.rows.mean, 0.0);
        assert!(found.tokens.prompts.is_none());
    }
}

#[test]
fn a_profile_survives_its_own_json_and_repeats() {
    let rows: String = (0..64)
        .map(|n| {
            format!(
                "{{\"prompt\":\"number {}\",\"completion\":\"{n}\"}}\n",
                n % 9
            )
        })
        .collect();
    let data = rows + "{\"other\":[1]}\nnot json\n\n";
    let json = || serde_json::to_string(&read("a.jsonl", data.as_bytes())).expect("serialises");
    let (first, second) = (json(), json());
    assert_eq!(first, second);
    let back: DatasetProfile = serde_json::from_str(&first).expect("parses");
    assert_eq!(serde_json::to_string(&back).expect("serialises"), first);
}

#[test]
fn chunks_change_nothing() {
    let data = "{\"text\":\"é\"}\r\n{\"text\":\"b\"}\r\n\r\n{\"te";
    let whole = read("a.jsonl", data.as_bytes());
    for chunk in [1, 2, 7] {
        let mut profiler = Profiler::default().with_tokenizer(&Words);
        profiler.read("a.jsonl", BufReader::with_capacity(chunk, data.as_bytes()));
        assert_eq!(profiler.finish(), whole, "{chunk}");
    }
}

fn write(folder: &Path, name: &str, data: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("below the folder")).expect("writable");
    fs::write(path, data).expect("writable");
}

#[test]
fn folders_are_read_in_order_and_once() {
    let folder = tempfile::tempdir().expect("writable");
    let root = folder.path();
    write(root, "b.jsonl", "{\"text\":\"one\"}\n");
    write(root, "a/x.csv", "text\ntwo\n");
    write(root, "a/empty.txt", "");
    write(root, "ignored.bin", "x");
    write(root, ".hidden.jsonl", "{\"text\":\"no\"}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(root, root.join("a/loop")).expect("links");
        symlink(root.join("a"), root.join("again")).expect("links");
        symlink(root.join("b.jsonl"), root.join("c.jsonl")).expect("links");
        symlink(root.join("nowhere"), root.join("broken.jsonl")).expect("links");
    }
    let found = profile(root, Some(&Words)).expect("readable");
    let names: Vec<&str> = found.files.iter().map(|f| f.file.as_str()).collect();
    assert_eq!(names, ["a/empty.txt", "a/x.csv", "b.jsonl"]);
    assert_eq!(found.rows, 2);
    assert_eq!(found.files_ignored, if cfg!(unix) { 2 } else { 1 });
    assert_eq!(found.bytes, 24);
}

#[test]
fn paths_that_hold_nothing_are_errors() {
    let folder = tempfile::tempdir().expect("writable");
    let root = folder.path();
    write(root, "x.bin", "x");
    let error = profile(root, None).expect_err("no data");
    assert!(matches!(error, DatasetError::NoFiles { .. }), "{error}");
    let error = profile(&root.join("absent"), None).expect_err("absent");
    assert!(matches!(error, DatasetError::Io { .. }), "{error}");
    #[cfg(unix)]
    {
        let error = profile(Path::new("/dev/null"), None).expect_err("a device");
        assert!(matches!(error, DatasetError::NotAFile { .. }), "{error}");
    }
    for n in 0..20 {
        write(root, &format!("{n}.txt"), "x");
    }
    let few = Limits {
        entries: 10,
        ..Limits::default()
    };
    let error = Profiler::new(few).read_path(root).expect_err("too many");
    assert!(
        matches!(error, DatasetError::TooManyFiles { limit: 10, .. }),
        "{error}"
    );
}

#[test]
fn an_interrupted_stream_is_a_problem_of_the_file() {
    struct Breaks;
    impl Read for Breaks {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let start = "a line\n".repeat(20_000);
    let mut profiler = Profiler::default();
    profiler.read("a.txt", BufReader::new(start.as_bytes().chain(Breaks)));
    let found = profiler.finish();
    assert!(found.rows > 10_000, "{}", found.rows);
    let problem = found.files[0].problem.as_ref().expect("named");
    assert!(
        problem.to_string().contains("the disk is gone"),
        "{problem}"
    );
}

/// Rows are told while they are read, and the figures grow.
#[test]
fn progress_is_told() {
    let line = format!("{}\n", "word ".repeat(2000));
    let rows = 5000_u64;
    let mut left = rows;
    struct Lines<'l> {
        line: &'l [u8],
        at: usize,
        left: &'l mut u64,
    }
    impl Read for Lines<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.fill_buf()?.read(buffer)?;
            self.consume(n);
            Ok(n)
        }
    }
    impl BufRead for Lines<'_> {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            Ok(if *self.left == 0 {
                &[]
            } else {
                &self.line[self.at..]
            })
        }
        fn consume(&mut self, n: usize) {
            self.at += n;
            if n > 0 && self.at == self.line.len() {
                self.at = 0;
                *self.left -= 1;
            }
        }
    }
    let mut told = Vec::new();
    let mut profiler = Profiler::default().on_progress(|p| told.push((p.bytes, p.rows)));
    profiler.read(
        "a.txt",
        Lines {
            line: line.as_bytes(),
            at: 0,
            left: &mut left,
        },
    );
    let found = profiler.finish();
    assert_eq!(found.rows, rows);
    assert_eq!(found.bytes, rows * line.len() as u64);
    assert!(told.len() >= 2, "{told:?}");
    assert!(told.windows(2).all(|w| w[0] < w[1]), "{told:?}");
}
