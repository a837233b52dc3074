//! Counting tokens for profiles of data.

use mistral_core::dataset::{CountError, CountTokens};

use super::{Tokenizer, TokenizerKind};

impl CountTokens for Tokenizer {
    fn name(&self) -> String {
        let kind = match self.kind() {
            TokenizerKind::Tekken => "tekken",
            TokenizerKind::SentencePiece => "SentencePiece",
            TokenizerKind::HuggingFace => "tokenizer.json",
        };
        let version = self.version().map(|v| format!(" {v}")).unwrap_or_default();
        format!("{kind}{version} ({} tokens)", self.vocab_size())
    }

    fn count(&self, text: &str) -> Result<u64, CountError> {
        Ok(self.encode(text)?.len() as u64)
    }
}
