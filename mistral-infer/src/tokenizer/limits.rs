//! Limits on tokenizer files and texts, each with its reason.
//!
//! Tokenizer files come from strangers. Everything that a file can make grow is bounded by one of
//! these constants, and crossing one is a named error.

/// Largest tokenizer file that is read. Mistral's largest `tokenizer.json` has 17 MB; other
/// families stay below 40 MB.
pub const MAX_FILE_BYTES: u64 = 128 << 20;

/// Largest vocabulary, control tokens included. Mistral's largest has 131,072 entries and no
/// released model of any family is above 300,000.
pub const MAX_VOCABULARY: usize = 1 << 20;

/// Longest single token in bytes. Mistral's longest has 128; the limit bounds the cost of one
/// merge look-up.
pub const MAX_TOKEN_BYTES: usize = 1024;

/// Longest name of a control token in bytes.
pub const MAX_CONTROL_BYTES: usize = 256;

/// Longest regular expression in a tokenizer file, in bytes. Mistral's has 211, the longest known
/// (o200k) about 600.
pub const MAX_PATTERN_BYTES: usize = 4096;

/// Longest text that one call encodes, in bytes: far above any context window (10 million tokens
/// are about 40 MB of English), and it keeps positions in 32 bits.
pub const MAX_TEXT_BYTES: usize = 256 << 20;

/// How many times longer the normalizer and pre-tokenizer of a `tokenizer.json` may make a text,
/// and its decoder a token. Known files stay below 100 by the same count; a list of replacements
/// that each double a text would fill any memory.
pub const MAX_GROWTH: usize = 1024;

/// Steps that one match of a foreign regular expression may take before it is given up.
pub const MAX_PATTERN_STEPS: usize = 1_000_000;
