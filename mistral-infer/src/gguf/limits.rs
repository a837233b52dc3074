//! Limits on GGUF files, each with its reason.
//!
//! Counts and lengths in a file are claims. Before one is believed it is held against the bytes
//! that are left, so that a file of some hundred bytes can never cost more than that; the limits
//! here bound what a large file may cost.

/// Metadata entries. Released models have 20 to 60; a file with more than this is no model.
pub const MAX_ENTRIES: usize = 1 << 16;

/// Bytes of a metadata key: the format's own limit.
pub const MAX_KEY_BYTES: usize = (1 << 16) - 1;

/// Elements of an array. The largest of released models is a list of 270,000 merges.
pub const MAX_ARRAY: usize = 1 << 24;

/// Bytes of a text. The largest is a whole `tokenizer.json`, of up to 40 MB.
pub const MAX_TEXT_BYTES: usize = 128 << 20;

/// Tensors of one file. The largest released model with a tensor for each expert has 24,000.
pub const MAX_TENSORS: usize = 1 << 20;

/// Bytes of a tensor's name: twice what the format allows, since some writers were built with a
/// longer limit.
pub const MAX_NAME_BYTES: usize = 128;

/// Dimensions of a tensor: as many as ggml has.
pub const MAX_DIMENSIONS: u32 = 4;

/// Smallest and largest alignment of tensor data. The format asks for a multiple of 8; the largest
/// page of a system that we run on has 64 KiB.
pub const ALIGNMENTS: std::ops::RangeInclusive<u32> = 8..=1 << 16;

/// Files of one split model. The largest released ones have about 60.
pub const MAX_SHARDS: usize = 4096;

/// Bytes of a chat template. Mistral's have up to 13,000.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;
