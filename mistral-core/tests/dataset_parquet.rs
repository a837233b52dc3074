//! Profiles of Parquet files, sound and broken.
#![cfg(feature = "parquet")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use mistral_core::dataset::{
    DatasetProfile, FileFormat, FileProblem, Limits, Profiler, Shape, ValueKind,
};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// A file of two texts and a number in each row, and as many rows as asked.
fn make(names: [&str; 2], rows: usize, compression: Compression) -> Vec<u8> {
    let schema = format!(
        "message m {{ required binary {} (UTF8); optional binary {} (UTF8); required int64 id; }}",
        names[0], names[1]
    );
    let schema = Arc::new(parse_message_type(&schema).expect("a schema"));
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .build();
    let mut file = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    let text = |word: &str| -> Vec<ByteArray> {
        (0..rows)
            .map(|n| format!("{word} {n}").into_bytes().into())
            .collect()
    };
    let mut column = group.next_column().expect("writable").expect("there");
    let typed = column.typed::<ByteArrayType>();
    typed
        .write_batch(&text("question"), None, None)
        .expect("writable");
    column.close().expect("writable");
    let mut column = group.next_column().expect("writable").expect("there");
    // Every third is null.
    let levels: Vec<i16> = (0..rows).map(|n| i16::from(n % 3 != 0)).collect();
    let answers: Vec<ByteArray> = text("answer")
        .into_iter()
        .zip(&levels)
        .filter_map(|(t, l)| (*l == 1).then_some(t))
        .collect();
    let typed = column.typed::<ByteArrayType>();
    typed
        .write_batch(&answers, Some(&levels), None)
        .expect("writable");
    column.close().expect("writable");
    let mut column = group.next_column().expect("writable").expect("there");
    let ids: Vec<i64> = (0..rows as i64).collect();
    column
        .typed::<Int64Type>()
        .write_batch(&ids, None, None)
        .expect("writable");
    column.close().expect("writable");
    group.close().expect("writable");
    writer.close().expect("writable");
    file
}

fn read(data: &[u8], limits: Limits) -> DatasetProfile {
    let folder = tempfile::tempdir().expect("writable");
    let path = folder.path().join("a.parquet");
    fs::write(&path, data).expect("writable");
    let mut profiler = Profiler::new(limits);
    profiler.read_path(Path::new(&path)).expect("a file");
    profiler.finish()
}

#[test]
fn rows_are_read() {
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::LZ4_RAW,
    ] {
        let data = make(["prompt", "completion"], 3000, compression);
        let found = read(&data, Limits::default());
        assert_eq!(found.files[0].problem, None, "{compression:?}");
        assert_eq!(found.files[0].format, FileFormat::Parquet);
        assert_eq!(
            (found.rows, found.shapes[&Shape::Instruction]),
            (3000, 3000)
        );
        let answers = found.tokens.answers.expect("there are answers");
        assert_eq!(answers.count, 2000, "a null is no answer");
        assert_eq!(found.bytes, data.len() as u64);
        assert_eq!(found.duplicates.rows, 0);
    }
}

#[test]
fn tables_have_columns() {
    let found = read(
        &make(["a", "b"], 90, Compression::SNAPPY),
        Limits::default(),
    );
    let kinds: Vec<_> = found
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.filled, c.kinds.keys().copied().next()))
        .collect();
    let expected = [
        ("a", 90, Some(ValueKind::Text)),
        ("b", 60, Some(ValueKind::Text)),
        ("id", 90, Some(ValueKind::Number)),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(found.shapes[&Shape::Table], 90);
}

#[test]
fn rows_beyond_the_limits_are_faults() {
    let data = make(["a", "b"], 10, Compression::SNAPPY);
    let few = Limits {
        row_bytes: 40,
        ..Limits::default()
    };
    assert_eq!(read(&data, few).unreadable_rows, 10);
    let few = Limits {
        row_values: 3,
        ..Limits::default()
    };
    assert_eq!(read(&data, few).unreadable_rows, 10);
}

#[test]
fn broken_files_are_named_whatever_is_broken() {
    let data = make(["prompt", "completion"], 50, Compression::SNAPPY);
    let footer = data.len() - 8;
    let with = |at: usize, bytes: &[u8]| {
        let mut data = data.clone();
        data[at..at + bytes.len()].copy_from_slice(bytes);
        data
    };
    for (name, data) in [
        ("only letters", b"PAR1".to_vec()),
        ("no footer", b"PAR1PAR1PAR1".to_vec()),
        ("cut", data[..data.len() / 2].to_vec()),
        ("a footer of 4 GB", with(footer, &[0xff; 4])),
        ("a footer that isn't one", with(footer - 100, &[0xff; 100])),
        // The first page's header says that it unpacks to 2 GB.
        (
            "a page of 2 GB",
            with(4, &[0x15, 0, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f]),
        ),
        ("a page without a header", with(4, &[0xff; 16])),
    ] {
        let found = read(&data, Limits::default());
        let problem = &found.files[0].problem;
        assert!(
            matches!(problem, Some(FileProblem::Parquet { .. })),
            "{name}: {problem:?}"
        );
    }
}

/// Any byte may be another one: the program goes on, and soon.
#[test]
fn every_byte_may_be_wrong() {
    let data = make(["prompt", "completion"], 20, Compression::SNAPPY);
    for at in 4..data.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut broken = data.clone();
            broken[at] ^= flip;
            let found = read(&broken, Limits::default());
            assert_eq!(found.files_total, 1);
        }
    }
}
