//! Links that lead somewhere, and links that don't.

use mistral_docgen::corpus::{self, Corpus, CorpusPage};
use mistral_docgen::links::{LinkProblem, check};
use mistral_docgen::markdown;
use std::path::Path;

fn corpus_of(pages: &[(&str, &str, &str)]) -> Corpus {
    let pages = pages
        .iter()
        .map(|(language, path, text)| CorpusPage {
            page: markdown::read(path, text),
            language: (*language).to_owned(),
        })
        .collect();
    Corpus {
        pages,
        skipped: Vec::new(),
    }
}

/// Each row: a link on the page `site/guide/start.md`, and what is wrong with it.
#[test]
fn each_kind_of_link_is_judged() {
    let no_anchor = |page: &str| LinkProblem::NoAnchor { page: page.into() };
    let rows = [
        ("/guide/setup", None),
        ("/site/guide/setup.md", None),
        ("/guide/setup/", None),
        ("setup.md", None),
        ("./setup#keys", None),
        ("../faq.mdx#what%20now", Some(no_anchor("site/faq.mdx"))),
        ("../faq#what-now", None),
        ("#first", None),
        ("#second", Some(no_anchor("site/guide/start.md"))),
        ("/guide", None),
        ("/setup", Some(LinkProblem::NoPage)),
        ("../..", Some(LinkProblem::NoPage)),
        ("../../../etc", Some(LinkProblem::NoPage)),
        (
            "/guide/Setup",
            Some(LinkProblem::Capitals {
                page: "site/guide/setup.md".into(),
            }),
        ),
        ("#tag", None),
        ("#named", None),
        ("/guide/gone?x=1#y", Some(LinkProblem::NoPage)),
    ];
    for (target, expected) in rows {
        let start = format!(
            "# Start\n\n## First\n\nSee [it]({target}).\n\n<Tabs\n  id=\"tag\">\n\nA <a name=\"named\"></a> place.\n"
        );
        let corpus = corpus_of(&[
            ("en", "site/guide/start.md", &start),
            ("en", "site/guide/setup.md", "# Setup\n## Keys\n"),
            ("en", "site/guide/index.md", "# Guide\n"),
            (
                "en",
                "site/faq.mdx",
                "<SectionTab as=\"h2\" sectionId=\"what-now\">What?</SectionTab>\n",
            ),
        ]);
        let report = check(&corpus, &[]);
        assert_eq!(report.checked, 1, "{target}");
        let found = report.broken.first().map(|b| b.problem.clone());
        assert_eq!(found, expected, "{target}");
        if let Some(broken) = report.broken.first() {
            assert_eq!(
                (broken.line, broken.page.as_str()),
                (5, "site/guide/start.md")
            );
        }
    }
}

#[test]
fn other_hosts_and_files_are_counted_and_not_judged() {
    let text = "[a](https://x.y/z) [b](mailto:a@b.c) [c](//host/p) ![d](/img/d.png) [e](LICENSE.txt) [f](./LICENCE) [g](/v1.5) [h](/api/chat#x) [i](/apis)";
    let report = check(&corpus_of(&[("en", "p.md", text)]), &["/api"]);
    assert_eq!(
        (report.external, report.files, report.served, report.checked),
        (3, 3, 1, 2)
    );
    assert_eq!(report.broken.len(), 2);
}

#[test]
fn a_translation_is_no_target_of_another_language() {
    let report = check(
        &corpus_of(&[
            ("en", "a.md", "[b](/b)"),
            ("fr", "a.md", "[b](/b)"),
            ("fr", "b.md", "# B"),
        ]),
        &[],
    );
    let broken: Vec<_> = report.broken.iter().map(|b| b.page.as_str()).collect();
    assert_eq!(broken, ["en/a.md"]);
}

/// The known broken links of a published documentation, where it is there.
#[test]
fn known_broken_links_of_a_real_documentation_are_found() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/corpus/en");
    if !Path::new(root).is_dir() {
        return;
    }
    let report = check(
        &corpus::read(Path::new(root)).expect("pages"),
        &["/", "/models", "/api", "/resources/cookbooks"],
    );
    for (target, capitals) in [
        ("/rag_quickstart", false),
        ("/admin/set-up-Organization/verify-domain", true),
        ("/resources/changelogs", false),
    ] {
        let found = report.broken.iter().find(|b| b.target.contains(target));
        let problem = found.map(|b| matches!(b.problem, LinkProblem::Capitals { .. }));
        assert_eq!(problem, Some(capitals), "{target}");
    }
}
