//! Folders of pages.

use mistral_docgen::DocgenError;
use mistral_docgen::corpus::{self, MAX_FILE_BYTES, Skipped};
use std::fs::{self, File};

#[test]
fn translations_share_a_path_and_what_is_left_out_is_named() {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in [
        ("en/guide/a.md", "# A"),
        ("fr/guide/a.md", "# Un"),
        ("en/b.mdx", "# B"),
        ("en/notes.txt", "no page"),
        ("other/c.md", "of no language"),
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("folders");
        fs::write(path, text).expect("a page");
    }
    fs::write(root.path().join("en/latin.md"), [b'#', b' ', 0xe9]).expect("a page");
    let long = File::create(root.path().join("en/long.md")).expect("a page");
    long.set_len(MAX_FILE_BYTES + 1)
        .expect("a file with a hole");
    let corpus = corpus::read(root.path()).expect("pages");
    let pages: Vec<_> = corpus
        .pages
        .iter()
        .map(|p| {
            (
                p.language.as_str(),
                p.page.path.as_str(),
                p.page.title.as_str(),
            )
        })
        .collect();
    assert_eq!(
        pages,
        [
            ("en", "b.mdx", "B"),
            ("en", "guide/a.md", "A"),
            ("fr", "guide/a.md", "Un")
        ]
    );
    let skipped: Vec<_> = corpus.skipped.iter().map(|(_, why)| *why).collect();
    assert_eq!(skipped, [Skipped::NotUtf8, Skipped::TooLong]);
}

#[cfg(unix)]
#[test]
fn a_loop_of_links_is_not_followed() {
    let root = tempfile::tempdir().expect("a folder");
    fs::write(root.path().join("a.md"), "# A").expect("a page");
    std::os::unix::fs::symlink(root.path(), root.path().join("again")).expect("a link");
    assert_eq!(corpus::read(root.path()).expect("pages").pages.len(), 1);
}

#[test]
fn a_folder_without_pages_is_an_error() {
    let root = tempfile::tempdir().expect("a folder");
    assert!(matches!(
        corpus::read(root.path()),
        Err(DocgenError::NoPages { .. })
    ));
    assert!(matches!(
        corpus::read(&root.path().join("missing")),
        Err(DocgenError::Io { .. })
    ));
}

/// Every page of the shared corpus, where it is there: each `SectionTab` is found as a heading.
#[test]
fn every_section_of_a_real_documentation_is_found() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/corpus/en");
    if !std::path::Path::new(root).is_dir() {
        return;
    }
    let corpus = corpus::read(std::path::Path::new(root)).expect("pages");
    assert_eq!(corpus.pages.len(), 322);
    let mut missing = Vec::new();
    for page in &corpus.pages {
        let source = fs::read_to_string(format!("{root}/{}", page.page.path)).expect("a page");
        for id in source.split("sectionId=\"").skip(1) {
            let id = id.split('"').next().unwrap_or("");
            if !page.page.sections.iter().any(|s| s.anchor == id) {
                missing.push(format!("{}#{id}", page.page.path));
            }
        }
        for question in source.split("<FaqItem question=\"").skip(1) {
            let question = question.split('"').next().unwrap_or("");
            let plain = question.replace('`', "");
            if !page.page.sections.iter().any(|s| s.heading == plain) {
                missing.push(format!("{}: {question}", page.page.path));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "{} of them: {missing:#?}",
        missing.len()
    );
}
