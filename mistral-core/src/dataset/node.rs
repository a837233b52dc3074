//! A row as values, whatever it was written in.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::profile::{RowProblem, ValueKind};

/// A value. Texts are borrowed from the row where nothing in them is escaped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    /// The number's bits: enough to tell numbers apart.
    Number(u64),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// The value under a name; of several the last, as most readers of JSON have it.
    pub(crate) fn get(&self, name: &str) -> Option<&Node<'a>> {
        match self {
            Self::Object(fields) => fields.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn kind(&self) -> Option<ValueKind> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(_) => ValueKind::Bool,
            Self::Number(_) => ValueKind::Number,
            Self::Text(_) => ValueKind::Text,
            Self::List(_) => ValueKind::List,
            Self::Object(_) => ValueKind::Object,
        })
    }

    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Reads one JSON value of at most `values` values. Nesting is bounded by `serde_json` (128).
pub(crate) fn parse(text: &str, values: usize) -> Result<Node<'_>, RowProblem> {
    let left = Cell::new(values);
    let mut reader = serde_json::Deserializer::from_str(text);
    let node = Seed(&left)
        .deserialize(&mut reader)
        .and_then(|node| reader.end().map(|()| node));
    node.map_err(|e| {
        if left.get() == 0 {
            RowProblem::TooManyValues {
                limit: values as u64,
            }
        } else {
            RowProblem::Json {
                message: e.to_string().chars().take(160).collect(),
            }
        }
    })
}

/// Reads a value while some are left.
#[derive(Clone, Copy)]
struct Seed<'c>(&'c Cell<usize>);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        match self.0.get() {
            0 => return Err(D::Error::custom("too many values")),
            left => self.0.set(left - 1),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(Node::Number(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(Node::Number(value.cast_unsigned()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Node<'de>, E> {
        Ok(Node::Number(value.to_bits()))
    }
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(value)))
    }
    fn visit_str<E>(self, value: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(value.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node<'de>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Node::List(values))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some(name) = object.next_key_seed(Name)? {
            fields.push((name, object.next_value_seed(self)?));
        }
        Ok(Node::Object(fields))
    }
}

/// Reads a field's name, borrowed where it can be.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_bounded() {
        let node = parse(
            r#"{"a": [1, -1, 0.5, null, true], "b": "x\n", "a": "last"}"#,
            20,
        )
        .expect("valid");
        assert_eq!(node.get("a").and_then(Node::text), Some("last"));
        assert_eq!(node.get("b").and_then(Node::text), Some("x\n"));
        assert!(node.get("c").is_none());
        for (text, values, expected) in [
            ("[1,2,3]", 3, "at most 3 values"),
            ("[1,2", 9, "EOF while parsing a list"),
            ("{} {}", 9, "trailing characters"),
            ("\"\u{1}\"", 9, "control character"),
            (&"[".repeat(1000), 2000, "recursion limit"),
        ] {
            let found = parse(text, values).expect_err(text).to_string();
            assert!(found.contains(expected), "{text:.20}: {found}");
        }
        assert!(parse("[1,2,3]", 4).is_ok());
    }
}
