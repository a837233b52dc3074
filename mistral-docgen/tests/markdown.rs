//! Pages as they are written, Markdown and MDX.

use mistral_docgen::markdown::{self, BlockKind};
use proptest::prelude::*;

const FAQ: &str = r#"---
title: "Errors"
sidebar_position: 8
description: What goes wrong
---
import { Faq } from '@site/faq';

# Errors

<SectionTab as="h2" sectionId="client">Client errors (4xx)</SectionTab>

<Faq>
  <FaqItem question="400: Bad request">
    The body is malformed.

    - Invalid JSON
    - No `model`

    ```python
    for line in ds:
        print(line)
    ```
  </FaqItem>
</Faq>

:::tip Remember
See [limits](/limits#tokens).
:::

| Field | Meaning |
|---|---|
| `code` | machine-readable |
<Image
  src="a > b.png"
  alt={"x"}
/>

## Client errors (4xx)

Text with <AppLink href="x">a link</AppLink>.
"#;

#[test]
fn mdx_gives_headings_items_rows_and_code_with_their_lines() {
    let page = markdown::read("r/errors.md", FAQ);
    assert_eq!(
        (page.title.as_str(), page.description.as_str()),
        ("Errors", "What goes wrong")
    );
    let headings: Vec<_> = page
        .sections
        .iter()
        .map(|s| (s.level, s.heading.as_str(), s.anchor.as_str()))
        .collect();
    assert_eq!(
        headings,
        [
            (0, "", ""),
            (1, "Errors", "errors"),
            (2, "Client errors (4xx)", "client"),
            (3, "400: Bad request", "400-bad-request"),
            (2, "Client errors (4xx)", "client-errors-4xx"),
        ]
    );
    let faq = &page.sections[3];
    assert_eq!(faq.trail, ["Errors", "Client errors (4xx)"]);
    let texts: Vec<_> = faq.blocks.iter().map(|b| b.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "The body is malformed.",
            "Invalid JSON",
            "No model",
            "for line in ds:\n    print(line)",
            "Remember See limits.",
            "Field: code; Meaning: machine-readable",
        ]
    );
    let code = &faq.blocks[3];
    assert_eq!(
        code.kind,
        BlockKind::Code {
            language: "python".into()
        }
    );
    let first = FAQ
        .lines()
        .position(|l| l.contains("```python"))
        .expect("in the text")
        + 1;
    assert_eq!(code.lines, first..first + 4);
    assert_eq!(page.links[0].target, "/limits#tokens");
    let link = FAQ
        .lines()
        .position(|l| l.contains("[limits]"))
        .expect("in the text")
        + 1;
    assert_eq!(page.links[0].line, link);
    let targets: Vec<_> = page.links.iter().map(|l| l.target.as_str()).collect();
    assert_eq!(targets, ["/limits#tokens", "x"]);
    assert_eq!(page.sections[4].blocks[0].text, "Text with a link.");
}

/// Tags that are moved to the margin, or never closed, leave what follows them readable.
#[test]
fn indented_text_behind_tags_is_no_code() {
    let text = "<Outer>\n  <Tab label=\"a\">\n<Inner>\n    <Open>\n\n```py\nx = 1\n```\n\n</Inner>\n  </Tab>\n  <Tab label=\"b\">\n    See [c](/c).\n  </Tab>\n</Other>\n</Outer>\n\nEnd.\n";
    let page = markdown::read("p.md", text);
    let blocks: Vec<_> = page.sections[0]
        .blocks
        .iter()
        .map(|b| (matches!(b.kind, BlockKind::Code { .. }), b.text.as_str()))
        .collect();
    assert_eq!(
        blocks,
        [(true, "x = 1"), (false, "See c."), (false, "End.")]
    );
    assert_eq!(page.links[0].line, 13);
}

#[test]
fn a_page_without_marks_is_one_section() {
    let page = markdown::read("notes/plain.md", "only text");
    assert_eq!(page.title, "plain");
    assert_eq!(page.sections.len(), 1);
    assert_eq!(page.sections[0].blocks[0].text, "only text");
}

#[test]
fn what_only_looks_like_a_tag_stays() {
    let text = "Fast:\n\n<5 ms for it.\n\n<https://x.y/z> is where.\n\n<Tag> <1 s\n\nEnd.\n";
    let page = markdown::read("p.md", text);
    let blocks: Vec<_> = page.sections[0]
        .blocks
        .iter()
        .map(|b| b.text.as_str())
        .collect();
    assert_eq!(
        blocks,
        [
            "Fast:",
            "<5 ms for it.",
            "https://x.y/z is where.",
            "<1 s",
            "End."
        ]
    );
    assert_eq!(page.links[0].target, "https://x.y/z");
}

#[test]
fn anchors_are_unique() {
    let page = markdown::read("p.md", "# A\n# A\n# A-1\n# A\n## {#a-2}\n");
    let anchors: Vec<_> = page.sections.iter().map(|s| s.anchor.as_str()).collect();
    assert_eq!(anchors, ["", "a", "a-1", "a-1-1", "a-2", "a-2-1"]);
}

#[test]
fn hostile_pages_end() {
    for text in [
        ">".repeat(100_000),
        "[".repeat(100_000),
        "<a ".repeat(50_000),
        "<a>".repeat(50_000),
        "# a\n".repeat(20_000),
        "- ".repeat(50_000),
        // Ends that look for their beginnings among many.
        "<a>\n".repeat(200_000) + &"</b>\n".repeat(200_000),
        "# a\n".repeat(20_000) + &"# a-1\n".repeat(20_000),
        "`".repeat(100_000),
        "x".repeat(10_000_000),
        "|a".repeat(20_000) + "\n" + &"|-".repeat(20_000) + "\n",
    ] {
        let page = markdown::read("p.md", &text);
        assert!(!page.sections.is_empty());
    }
}

proptest! {
    #[test]
    fn any_text_gives_a_page_whose_lines_lie_in_it(text in "(?s)([<>{}`#*:|/=\"a\n -]{0,6}|.|SectionTab|FaqItem|import ){0,60}") {
        let page = markdown::read("p.md", &text);
        let count = text.split('\n').count() + 1;
        for section in &page.sections {
            prop_assert!(section.lines.start >= 1 && section.lines.end <= count + 1);
            for block in &section.blocks {
                prop_assert!(block.lines.start >= 1 && block.lines.start < block.lines.end);
                prop_assert!(block.lines.end <= count + 1, "{:?} of {count}", block.lines);
            }
        }
    }
}
