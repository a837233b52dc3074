//! Turns tokens into an answer: its thoughts, its text, and the calls of tools in it.

use std::sync::Arc;

use crate::backend::{Backend, Markers, ToolCall, Tools};

/// An answer while it arrives.
pub struct Answer {
    backend: Arc<dyn Backend>,
    markers: Markers,
    section: Section,
}

enum Section {
    Text,
    Thought,
    /// Tokens and text from the marker on.
    Calls(Vec<u32>, String),
}

/// More of an answer; possibly an empty text.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Of its text.
    Text(String),
    /// Of the thoughts before its text.
    Thought(String),
}

/// What is left when an answer ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: all text has been given out.
    Nothing,
    /// Calls of tools.
    Calls(Vec<ToolCall>),
    /// Text that looked like calls and isn't any.
    Text(String),
}

impl Answer {
    /// An answer without tokens yet.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, tools: Tools) -> Self {
        let mut markers = backend.markers();
        if tools == Tools::None {
            markers.calls = None;
        }
        Self {
            backend,
            markers,
            section: Section::Text,
        }
    }

    /// Takes a token; returns what to give out.
    #[must_use]
    pub fn piece(&mut self, token: u32, text: String) -> Part {
        let in_calls = matches!(self.section, Section::Calls(..));
        if !in_calls && self.markers.calls == Some(token) {
            self.section = Section::Calls(Vec::new(), String::new());
        } else if let (false, Some((begin, end))) = (in_calls, self.markers.thought) {
            if token == begin {
                self.section = Section::Thought;
            } else if token == end {
                // Text that became certain with this token was thought before it.
                self.section = Section::Text;
                return Part::Thought(text);
            }
        }
        match &mut self.section {
            Section::Text => Part::Text(text),
            Section::Thought => Part::Thought(text),
            Section::Calls(tokens, kept) => {
                tokens.push(token);
                kept.push_str(&text);
                Part::Text(String::new())
            }
        }
    }

    /// Ends the answer.
    #[must_use]
    pub fn finish(self) -> Rest {
        match self.section {
            Section::Text | Section::Thought => Rest::Nothing,
            Section::Calls(tokens, text) => match self.backend.tool_calls(&tokens) {
                Some(calls) if !calls.is_empty() => Rest::Calls(calls),
                _ => Rest::Text(text),
            },
        }
    }
}
