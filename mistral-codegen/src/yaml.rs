//! YAML documents as trees, written so that every reader gets back what went in.
//!
//! Keys stay in the order in which they were put, so that a document reads as people write it. A
//! text is bare only where no reader of YAML 1.1 or 1.2 takes it for anything else; every other one
//! goes through [`quote::yaml`].
//!
//! `serde_yaml_ng`, which reads documents here, can't write them: it has no comments, and leaves
//! `yes`, `on`, `1_000`, `12:30:00` and `2026-11-23` bare (0.10), which readers of YAML 1.1 such as
//! PyYAML take for a boolean, numbers and a date.

use crate::quote;

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// Nothing: an entry of a map with this value isn't there.
    Absent,
    /// A value that says nothing.
    Null,
    Text(String),
    /// Lines that people read, written as such where the format allows it.
    Lines(String),
    Number(i64),
    /// A number with a fraction, as it is written.
    Literal(String),
    Bool(bool),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value, and a line about it for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) note: Option<&'static str>,
    pub(crate) value: Node,
}

/// A map: `"key" => value`, or `"key" # "a note" => value`. A `None` leaves its key out.
macro_rules! map {
    ($($key:expr $(, # $note:literal)? => $value:expr;)*) => {
        $crate::yaml::Node::entries(vec![$($crate::yaml::Entry {
            key: String::from($key),
            note: $crate::yaml::note(&[$($note)?]),
            value: $crate::yaml::Node::from($value),
        }),*])
    };
}
pub(crate) use map;

/// The only note of an entry, if there is one.
pub(crate) fn note(notes: &[&'static str]) -> Option<&'static str> {
    notes.first().copied()
}

impl Node {
    /// A map without the entries that are absent.
    pub(crate) fn entries(entries: Vec<Entry>) -> Self {
        let there = |entry: &Entry| entry.value != Self::Absent;
        Self::Map(entries.into_iter().filter(there).collect())
    }

    /// A map with the entries of another after its own; anything else stays as it is.
    pub(crate) fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Map(mut entries), Self::Map(others)) => {
                entries.extend(others);
                Self::Map(entries)
            }
            (node, _) => node,
        }
    }

    /// A list of texts.
    pub(crate) fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(|t| Self::Text(t.into())).collect())
    }

    /// The document: a comment for people, then the map.
    pub(crate) fn document(&self, about: &str) -> String {
        let mut out = String::new();
        for line in about.lines() {
            out.push_str("# ");
            out.push_str(line);
            out.push('\n');
        }
        self.write(0, &mut out);
        out
    }

    /// Writes a value after its `key:` or `-`, with the line's end.
    fn write(&self, depth: usize, out: &mut String) {
        match self {
            Self::Absent | Self::Null => line("null", out),
            Self::Text(text) => line(&scalar(text), out),
            Self::Number(number) => line(&number.to_string(), out),
            Self::Literal(text) => line(text, out),
            Self::Bool(value) => line(if *value { "true" } else { "false" }, out),
            Self::Lines(text) => lines(text, depth, out),
            Self::List(parts) if parts.is_empty() => line("[]", out),
            Self::Map(entries) if entries.is_empty() => line("{}", out),
            Self::List(parts) => {
                for part in parts {
                    indent(depth, out);
                    out.push('-');
                    part.write_inside(depth + 1, out);
                }
            }
            Self::Map(entries) => {
                for entry in entries {
                    entry.write_lines(depth, out);
                }
            }
        }
    }

    /// A part of a list: its first entry stands beside the dash.
    fn write_inside(&self, depth: usize, out: &mut String) {
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                for (i, entry) in entries.iter().enumerate() {
                    if i == 0 {
                        out.push(' ');
                        entry.write(depth, out);
                    } else {
                        entry.write_lines(depth, out);
                    }
                }
            }
            Self::List(parts) if !parts.is_empty() => {
                out.push('\n');
                self.write(depth, out);
            }
            other => {
                out.push(' ');
                other.write(depth, out);
            }
        }
    }
}

impl Entry {
    /// The entry on lines of its own, its note before it.
    fn write_lines(&self, depth: usize, out: &mut String) {
        if let Some(note) = self.note {
            indent(depth, out);
            line(&format!("# {note}"), out);
        }
        indent(depth, out);
        self.write(depth, out);
    }

    fn write(&self, depth: usize, out: &mut String) {
        out.push_str(&scalar(&self.key));
        out.push(':');
        let below = match &self.value {
            Node::Map(entries) => !entries.is_empty(),
            Node::List(parts) => !parts.is_empty(),
            _ => false,
        };
        out.push(if below { '\n' } else { ' ' });
        self.value.write(depth + 1, out);
    }
}

fn line(text: &str, out: &mut String) {
    out.push_str(text);
    out.push('\n');
}

fn indent(depth: usize, out: &mut String) {
    out.push_str(&"  ".repeat(depth));
}

/// Lines as a literal block, or as a quoted text where a block would change them.
fn lines(text: &str, depth: usize, out: &mut String) {
    let plain = |c: char| matches!(c, ' '..='~' | '\n');
    let whole = text.ends_with('\n') && !text.ends_with("\n\n");
    let fits = whole
        && text.chars().all(plain)
        && !text.starts_with([' ', '\n'])
        && text.lines().all(|l| !l.ends_with(' '));
    if !fits {
        return line(&quote::yaml(text), out);
    }
    out.push_str("|\n");
    for part in text.lines() {
        if !part.is_empty() {
            indent(depth, out);
            out.push_str(part);
        }
        out.push('\n');
    }
}

/// Words that some reader takes for something else than a text.
const WORDS: [&str; 11] = [
    "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf",
];

/// A text as a scalar: bare when it begins with a letter and has letters, digits and `-_./` only.
fn scalar(text: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    let word = || WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(bare) && !word() {
        return text.to_owned();
    }
    quote::yaml(text)
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Node {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<bool> for Node {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u16> for Node {
    fn from(number: u16) -> Self {
        Self::Number(i64::from(number))
    }
}

impl From<u32> for Node {
    fn from(number: u32) -> Self {
        Self::Number(i64::from(number))
    }
}

impl From<i32> for Node {
    fn from(number: i32) -> Self {
        Self::Number(i64::from(number))
    }
}

impl From<Vec<Node>> for Node {
    fn from(parts: Vec<Node>) -> Self {
        Self::List(parts)
    }
}

impl<T: Into<Node>> From<Option<T>> for Node {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn documents_read_as_people_write_them() {
        let node = map! {
            "kind" => "Pod";
            "port", # "as the plan has it" => 8000;
            "none" => None::<&str>;
            "list" => vec![map! { "name" => "a"; "on" => true; }, Node::from("no"), Node::List(vec![])];
            "run" => Node::Lines("a: $x\n\n  b\n".to_owned());
            "empty" => map! {};
        };
        let expected = "# A pod.\nkind: Pod\n# as the plan has it\nport: 8000\nlist:\n  - name: a\n    \"on\": true\n  - \"no\"\n  - []\nrun: |\n  a: $x\n\n    b\nempty: {}\n";
        assert_eq!(node.document("A pod."), expected);
    }

    /// The tree as JSON has it.
    fn value(node: &Node) -> Value {
        match node {
            Node::Absent | Node::Null => Value::Null,
            Node::Text(text) | Node::Lines(text) => json!(text),
            Node::Number(number) => json!(number),
            Node::Literal(text) => serde_json::from_str(text).expect("a number"),
            Node::Bool(value) => json!(value),
            Node::List(parts) => parts.iter().map(value).collect(),
            Node::Map(entries) => entries
                .iter()
                .map(|e| (e.key.clone(), value(&e.value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[ -~\n]{0,12}",
            proptest::sample::select(vec![
                "yes",
                "NO",
                "null",
                "~",
                "1e3",
                "0x1f",
                "2026-11-23",
                "- a",
                "a: b",
                "#",
                "{{ x }}",
                "$(id)",
                "a\n\nb\n",
                " a\n",
                "\n",
                "a \n",
                "<<",
                "=",
                "!x",
                "&x",
                "*x",
                "%x",
                "@",
                "`",
            ])
            .prop_map(str::to_owned),
        ]
    }

    fn node() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![
            text().prop_map(Node::Text),
            text().prop_map(Node::Lines),
            any::<i64>().prop_map(Node::Number),
            any::<bool>().prop_map(Node::Bool),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let entry = (text(), inner.clone(), any::<bool>());
            let entry = entry.prop_map(|(key, value, noted)| Entry {
                key,
                note: noted.then_some("a note: with # signs"),
                value,
            });
            prop_oneof![
                proptest::collection::vec(inner, 0..4).prop_map(Node::List),
                proptest::collection::vec(entry, 0..4).prop_map(|mut entries| {
                    entries.sort_by(|a, b| a.key.cmp(&b.key));
                    entries.dedup_by(|a, b| a.key == b.key);
                    Node::Map(entries)
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(node in node()) {
            let document = map! { "root" => node.clone(); }.document("About\nit.");
            let read: Value = serde_yaml_ng::from_str(&document).expect(&document);
            prop_assert_eq!(&read["root"], &value(&node), "{}", document);
        }
    }
}
