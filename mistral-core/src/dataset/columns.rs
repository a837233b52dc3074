//! Fields of tables.

use std::collections::BTreeMap;

use super::node::Node;
use super::profile::{ColumnProfile, ValueKind};

/// Most columns that are followed; later ones are left out.
const MOST: usize = 256;
/// Longest name that is kept, in characters.
const NAME: usize = 128;

/// Whether numbers are written apart from texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// As in JSON.
    Typed,
    /// As in CSV: a text may be a number.
    Written,
}

#[derive(Debug, Default)]
pub(crate) struct Columns(BTreeMap<String, Column>);

#[derive(Debug, Default)]
struct Column {
    filled: u64,
    kinds: BTreeMap<ValueKind, u64>,
    text_bytes: u64,
}

impl Columns {
    pub(crate) fn note(&mut self, row: &Node<'_>, values: Values) {
        let Node::Object(fields) = row else {
            return;
        };
        for (name, value) in fields {
            let Some(mut kind) = value.kind() else {
                continue;
            };
            let text = value.text();
            if values == Values::Written && text.is_some_and(|t| t.trim().is_empty()) {
                continue;
            }
            if values == Values::Written && text.is_some_and(is_number) {
                kind = ValueKind::Number;
            }
            let Some(column) = self.column(name) else {
                continue;
            };
            column.filled += 1;
            *column.kinds.entry(kind).or_default() += 1;
            if kind == ValueKind::Text {
                column.text_bytes += text.map_or(0, str::len) as u64;
            }
        }
    }

    fn column(&mut self, name: &str) -> Option<&mut Column> {
        let end = name.char_indices().nth(NAME).map_or(name.len(), |(i, _)| i);
        let name = &name[..end];
        if !self.0.contains_key(name) {
            if self.0.len() >= MOST {
                return None;
            }
            self.0.insert(name.to_owned(), Column::default());
        }
        self.0.get_mut(name)
    }

    pub(crate) fn finish(self) -> Vec<ColumnProfile> {
        let column = |(name, c): (String, Column)| {
            let texts = c.kinds.get(&ValueKind::Text).copied().unwrap_or(0);
            ColumnProfile {
                name,
                filled: c.filled,
                mean_bytes: c.text_bytes as f64 / texts.max(1) as f64,
                kinds: c.kinds,
            }
        };
        self.0.into_iter().map(column).collect()
    }
}

/// Whether a written field is a number; names of special values aren't.
pub(crate) fn is_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok_and(f64::is_finite)
}
