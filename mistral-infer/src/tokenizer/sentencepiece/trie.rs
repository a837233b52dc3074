//! A byte trie that finds the longest user-defined piece at a place of the text.

use std::collections::HashMap;

/// Byte strings, found as prefixes.
#[derive(Debug)]
pub(super) struct Trie {
    /// Next node by node and byte; node 0 is the root.
    edges: HashMap<(u32, u8), u32>,
    /// Whether a string ends at a node.
    ends: Vec<bool>,
    /// Which bytes any string starts with, so that most places cost one test.
    first: [bool; 256],
}

impl Default for Trie {
    fn default() -> Self {
        Self {
            edges: HashMap::new(),
            ends: vec![false],
            first: [false; 256],
        }
    }
}

impl Trie {
    /// Adds a string that is not empty.
    pub(super) fn insert(&mut self, text: &[u8]) {
        let mut node = 0;
        for &byte in text {
            let new = self.ends.len() as u32;
            node = *self.edges.entry((node, byte)).or_insert(new);
            if node == new {
                self.ends.push(false);
            }
        }
        self.ends[node as usize] = true;
        if let Some(&byte) = text.first() {
            self.first[usize::from(byte)] = true;
        }
    }

    /// The first place from `at` on where a string may start. Strings are UTF-8, so it is the start
    /// of a character.
    pub(super) fn next_candidate(&self, text: &[u8], at: usize) -> Option<usize> {
        if self.ends.len() == 1 {
            return None;
        }
        let rest = text.get(at..)?;
        rest.iter()
            .position(|&byte| self.first[usize::from(byte)])
            .map(|i| at + i)
    }

    /// Length of the longest string that `text` starts with.
    pub(super) fn longest_prefix(&self, text: &[u8]) -> Option<usize> {
        if !text
            .first()
            .is_some_and(|&byte| self.first[usize::from(byte)])
        {
            return None;
        }
        let mut node = 0;
        let mut longest = None;
        for (i, &byte) in text.iter().enumerate() {
            let Some(&next) = self.edges.get(&(node, byte)) else {
                break;
            };
            node = next;
            if self.ends[node as usize] {
                longest = Some(i + 1);
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_longest() {
        let mut trie = Trie::default();
        for text in ["[A]", "[A]B", "[", "\u{e9}"] {
            trie.insert(text.as_bytes());
        }
        let cases = [
            ("[A]BC", Some(4)),
            ("[A]C", Some(3)),
            ("[B", Some(1)),
            ("x", None),
            ("", None),
            ("\u{e9}", Some(2)),
        ];
        for (text, expected) in cases {
            assert_eq!(trie.longest_prefix(text.as_bytes()), expected, "{text:?}");
        }
    }
}
