//! Turns tokens into an answer: its text, and the calls of tools in it.

use std::sync::Arc;

use crate::backend::{Backend, ToolCall, Tools};

/// An answer while it arrives.
pub struct Answer {
    backend: Arc<dyn Backend>,
    /// The token that begins calls, when calls are looked for.
    begins_calls: Option<u32>,
    /// Tokens and text from that token on.
    calls: Option<(Vec<u32>, String)>,
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
        let begins_calls = match tools {
            Tools::Offered => backend.tool_token(),
            Tools::None => None,
        };
        Self {
            backend,
            begins_calls,
            calls: None,
        }
    }

    /// Takes a token; returns the text to give out, possibly none.
    #[must_use]
    pub fn piece(&mut self, token: u32, text: String) -> String {
        if self.calls.is_none() && self.begins_calls == Some(token) {
            self.calls = Some((Vec::new(), String::new()));
        }
        match &mut self.calls {
            None => text,
            Some((tokens, kept)) => {
                tokens.push(token);
                kept.push_str(&text);
                String::new()
            }
        }
    }

    /// Ends the answer.
    #[must_use]
    pub fn finish(self) -> Rest {
        match self.calls {
            None => Rest::Nothing,
            Some((tokens, text)) => match self.backend.tool_calls(&tokens) {
                Some(calls) if !calls.is_empty() => Rest::Calls(calls),
                _ => Rest::Text(text),
            },
        }
    }
}
