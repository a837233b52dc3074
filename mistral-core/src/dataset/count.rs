//! The door through which a tokenizer counts.

/// Why a text could not be counted: the tokenizer's own error.
pub type CountError = Box<dyn std::error::Error + Send + Sync>;

/// Something that knows how many tokens a text has.
///
/// `mistral-infer` implements it for its tokenizers.
pub trait CountTokens {
    /// A name for reports: the tokenizer's kind, version and size.
    fn name(&self) -> String;

    /// Tokens of a text, without begin, end or other control tokens.
    ///
    /// # Errors
    /// The tokenizer's own, for instance when a text is longer than it takes.
    fn count(&self, text: &str) -> Result<u64, CountError>;
}
