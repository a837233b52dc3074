//! Code within documentation.

use crate::facts::{Example, Language, Span};
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// Words behind a fence that tell rustdoc what to do and name no language.
const RUSTDOC_WORDS: &[&str] = &[
    "ignore",
    "no_run",
    "should_panic",
    "compile_fail",
    "test_harness",
    "standalone_crate",
    "custom",
];

/// Examples in `doc`: fenced code, and of Python what stands behind `>>>`.
pub(super) fn examples(doc: &str, language: Language, of: &str, span: &Span) -> Vec<Example> {
    let mut found = fenced(doc, language);
    if language == Language::Python {
        found.extend(doctests(doc));
    }
    found
        .into_iter()
        .map(|(language, attributes, code)| Example {
            language,
            attributes,
            code,
            span: span.clone(),
            of: of.to_owned(),
        })
        .collect()
}

type Found = (String, Vec<String>, String);

fn fenced(doc: &str, language: Language) -> Vec<Found> {
    let mut found = Vec::new();
    let mut open: Option<Found> = None;
    for event in Parser::new(doc) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                let (name, attributes) = fence_words(&info, language);
                open = Some((name, attributes, String::new()));
            }
            Event::Text(text) => {
                if let Some((_, _, code)) = &mut open {
                    code.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => found.extend(open.take()),
            _ => {}
        }
    }
    found
}

/// The language and the other words of a fence, as rustdoc reads them.
fn fence_words(info: &str, language: Language) -> (String, Vec<String>) {
    let mut name = None;
    let mut attributes = Vec::new();
    for word in info.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
        let instructs = language == Language::Rust
            && (RUSTDOC_WORDS.contains(&word)
                || word.starts_with("ignore-")
                || word.starts_with("edition"));
        if instructs || name.is_some() {
            attributes.push(word.to_owned());
        } else {
            name = Some(word.to_owned());
        }
    }
    (
        name.unwrap_or_else(|| language.name().to_owned()),
        attributes,
    )
}

/// Blocks of `>>>` lines with their `...` lines, without prompts and without what they print.
fn doctests(doc: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut code = String::new();
    let mut inside_fence = false;
    for line in doc.lines().chain([""]) {
        let line = line.trim_start();
        if line.starts_with("```") || line.starts_with("~~~") {
            inside_fence = !inside_fence;
        }
        let prompted = [">>>", "..."]
            .iter()
            .find_map(|prompt| line.strip_prefix(prompt))
            .filter(|rest| rest.is_empty() || rest.starts_with(' '));
        if let Some(rest) = prompted.filter(|_| !inside_fence) {
            code.push_str(rest.strip_prefix(' ').unwrap_or(rest));
            code.push('\n');
        } else if line.is_empty() && !code.is_empty() {
            found.push((
                Language::Python.name().to_owned(),
                vec!["doctest".to_owned()],
                std::mem::take(&mut code),
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_are_read_as_rustdoc_reads_them() {
        let rows = [
            ("", Language::Rust, "rust", vec![]),
            ("no_run", Language::Rust, "rust", vec!["no_run"]),
            ("rust,ignore", Language::Rust, "rust", vec!["ignore"]),
            ("edition2021", Language::Rust, "rust", vec!["edition2021"]),
            ("text", Language::Rust, "text", vec![]),
            ("ignore", Language::Python, "ignore", vec![]),
            ("bash title", Language::Python, "bash", vec!["title"]),
        ];
        for (info, language, name, attributes) in rows {
            let doc = format!("Text.\n\n```{info}\nlet a = 1;\n\nb();\n```\nMore.");
            let found = fenced(&doc, language);
            let attributes: Vec<String> = attributes.into_iter().map(str::to_owned).collect();
            let code = "let a = 1;\n\nb();\n".to_owned();
            assert_eq!(found, [(name.to_owned(), attributes, code)], "{info:?}");
        }
    }

    #[test]
    fn doctests_lose_prompts_and_output() {
        let found = doctests("Sums.\n\n>>> add(1,\n...     2)\n3\n>>> add(1, 1)\n2\n\nEnd.");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].2, "add(1,\n    2)\nadd(1, 1)\n");
    }
}
