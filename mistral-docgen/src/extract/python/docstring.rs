//! Docstrings, and the parts of them that have a form: Google's, NumPy's and Sphinx's.

use ruff_python_ast::{Expr, Stmt};
use std::collections::BTreeMap;

/// What a docstring says of parameters and errors.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sections {
    /// By name, attributes of a class included.
    pub(super) parameters: BTreeMap<String, String>,
    /// Names of errors.
    pub(super) raises: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Parameters,
    Raises,
    Other,
}

/// The docstring of a module, class or function.
pub(super) fn of_body(body: &[Stmt]) -> Option<String> {
    of_statement(body.first()?)
}

/// The text of a statement that is only a string.
pub(super) fn of_statement(statement: &Stmt) -> Option<String> {
    let Stmt::Expr(statement) = statement else {
        return None;
    };
    let Expr::StringLiteral(literal) = &*statement.value else {
        return None;
    };
    let text = clean(literal.value.to_str());
    (!text.is_empty()).then_some(text)
}

/// Without the indentation that all lines but the first share.
fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\t', "        ");
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let rest = text.lines().skip(1).filter(|line| !line.trim().is_empty());
    let shared = rest.map(indent).min().unwrap_or(0);
    let lines = text.lines().enumerate().map(|(at, line)| match at {
        0 => line.trim(),
        _ => line.get(shared..).unwrap_or("").trim_end(),
    });
    lines
        .collect::<Vec<_>>()
        .join("\n")
        .trim_matches('\n')
        .to_owned()
}

/// Reason and version of `.. deprecated:: 1.2`.
pub(super) fn deprecated(doc: &str) -> Option<(String, Option<String>)> {
    let mut lines = doc.lines();
    let version = lines
        .find_map(|line| line.trim().strip_prefix(".. deprecated::"))?
        .trim();
    let reason: Vec<&str> = lines
        .take_while(|line| line.starts_with(' ') && !line.trim().is_empty())
        .map(str::trim)
        .collect();
    let since = (!version.is_empty()).then(|| version.to_owned());
    Some((reason.join(" "), since))
}

/// Reads whichever of the three forms the docstring has.
pub(super) fn sections(doc: &str) -> Sections {
    let mut found = Sections::default();
    let lines: Vec<&str> = doc.lines().collect();
    sphinx(&lines, &mut found);
    let mut at = 0;
    while at < lines.len() {
        let underlined = lines.get(at + 1).is_some_and(|next| is_underline(next));
        let title = lines[at].trim();
        let indent = indent(lines[at]);
        at += 1;
        if underlined {
            at = entries(&lines, at + 1, indent, section(title), true, &mut found);
        } else if let Some(title) = title.strip_suffix(':') {
            let section = section(title);
            if section != Section::Other {
                at = entries(&lines, at, indent + 1, section, false, &mut found);
            }
        }
    }
    found.raises.sort();
    found.raises.dedup();
    found
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn is_underline(line: &str) -> bool {
    let line = line.trim();
    line.len() >= 3 && line.bytes().all(|byte| byte == b'-')
}

fn section(title: &str) -> Section {
    match title.to_ascii_lowercase().as_str() {
        "args" | "arguments" | "params" | "parameters" | "keyword args" | "keyword arguments"
        | "other parameters" | "attributes" => Section::Parameters,
        "raises" | "exceptions" => Section::Raises,
        _ => Section::Other,
    }
}

/// Reads entries indented by `least` at least, and says where they end. NumPy's have their text below the name.
fn entries(
    lines: &[&str],
    mut at: usize,
    least: usize,
    section: Section,
    numpy: bool,
    found: &mut Sections,
) -> usize {
    let first = lines[at.min(lines.len())..]
        .iter()
        .find(|line| !line.trim().is_empty());
    let own = first.map_or(0, |line| indent(line));
    let mut names: Vec<String> = Vec::new();
    while let Some(line) = lines.get(at) {
        let next_title = numpy && lines.get(at + 1).is_some_and(|next| is_underline(next));
        if !line.trim().is_empty() && (indent(line) < least || next_title) {
            break;
        }
        at += 1;
        if line.trim().is_empty() {
            continue;
        }
        let mut text = line.trim();
        if indent(line) <= own {
            let (head, rest) = head(text, numpy);
            names = head.split(',').filter_map(name).collect();
            text = rest;
            if section == Section::Raises {
                found.raises.extend(names.iter().cloned());
            }
        }
        if section == Section::Parameters && !text.is_empty() {
            for name in &names {
                add(found, name, text);
            }
        }
    }
    at
}

/// What stands before the colon of an entry and what behind; a colon in brackets belongs to a type.
fn head(line: &str, numpy: bool) -> (&str, &str) {
    if numpy {
        return (line.split(" :").next().unwrap_or(line), "");
    }
    let mut depth = 0_usize;
    for (at, c) in line.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                return (
                    line[..at].split(" (").next().unwrap_or(""),
                    line[at + 1..].trim(),
                );
            }
            _ => {}
        }
    }
    (line, "")
}

/// A name without stars and quotes; nothing where it isn't one.
fn name(text: &str) -> Option<String> {
    let text = text.trim().trim_start_matches('*').trim_matches('`');
    let fits = |c: char| c == '_' || c == '.' || c.is_alphanumeric();
    (!text.is_empty() && text.chars().all(fits)).then(|| text.to_owned())
}

fn add(found: &mut Sections, name: &str, text: &str) {
    let known = found.parameters.entry(name.to_owned()).or_default();
    if !known.is_empty() {
        known.push(' ');
    }
    known.push_str(text);
}

/// `:param int count: How many.` and `:raises ValueError: …`.
fn sphinx(lines: &[&str], found: &mut Sections) {
    let mut open: Option<String> = None;
    for line in lines {
        let text = line.trim();
        let field = text.strip_prefix(':').and_then(|rest| rest.split_once(':'));
        if let Some((head, rest)) = field {
            let mut words = head.split_whitespace();
            let kind = words.next().unwrap_or_default();
            let name = words.next_back().and_then(name);
            open = None;
            match (kind, name) {
                (
                    "param" | "parameter" | "arg" | "argument" | "key" | "keyword" | "ivar",
                    Some(name),
                ) => {
                    if !rest.trim().is_empty() {
                        add(found, &name, rest.trim());
                    }
                    open = Some(name);
                }
                ("raises" | "raise" | "except" | "exception", Some(name)) => {
                    found.raises.push(name)
                }
                _ => {}
            }
        } else if text.is_empty() {
            open = None;
        } else if let Some(name) = &open {
            add(found, name, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_forms_say_the_same() {
        let google = "Short.\n\nArgs:\n    a: First,\n        and more.\n    b (dict[str, int]): Second.\n    *rest: Others.\n\nReturns:\n    c: no parameter.\n\nRaises:\n    ValueError: If it is.\n    os.Error: Else.";
        let numpy = "Short.\n\nParameters\n----------\na : int\n    First,\n    and more.\nb : dict\n    Second.\n*rest\n    Others.\n\nReturns\n-------\nc : int\n    No.\n\nRaises\n------\nValueError\n    If it is.\nos.Error\n    Else.";
        let sphinx = "Short.\n\n:param a: First,\n    and more.\n:param dict b: Second.\n:param rest: Others.\n:returns: c\n:raises ValueError: If it is.\n:raises os.Error: Else.";
        for doc in [google, numpy, sphinx] {
            let found = sections(doc);
            let parameters: Vec<_> = found
                .parameters
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect();
            let expected = [
                ("a", "First, and more."),
                ("b", "Second."),
                ("rest", "Others."),
            ];
            assert_eq!(parameters, expected, "{doc}");
            assert_eq!(found.raises, ["ValueError", "os.Error"], "{doc}");
        }
    }

    #[test]
    fn text_is_cleaned_and_deprecation_found() {
        assert_eq!(
            clean(" One.\n\n    Two.\n      Three.\n    "),
            "One.\n\nTwo.\n  Three."
        );
        let doc = "Old.\n\n.. deprecated:: 1.2\n   Use new.\n\nMore.";
        assert_eq!(
            deprecated(doc),
            Some(("Use new.".to_owned(), Some("1.2".to_owned())))
        );
        assert_eq!(deprecated("New."), None);
    }
}
