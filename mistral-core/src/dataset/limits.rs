//! What bounds the memory of a profile.

/// Bounds on what is held at once. The defaults keep a profile below about 100 MB whatever it reads:
/// most of it is one row, its values, and the hashes of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest row in bytes; longer ones are skipped without being held, and counted. A book has
    /// about a million.
    pub row_bytes: usize,
    /// Most values of one row (a list counts each of its elements), 32 bytes each.
    pub row_values: usize,
    /// Most fields of a CSV record.
    pub fields: usize,
    /// Most hashes of rows that are held, 17 bytes each. Up to so many different rows duplicates are
    /// counted; beyond, every second hash is dropped again and again, and they are estimated with a
    /// standard error of `1.2 / sqrt(hashes held)`.
    pub hashes: usize,
    /// Rows in the sample for languages, each with `sample_bytes`.
    pub sample_rows: usize,
    /// Bytes of each row in that sample.
    pub sample_bytes: usize,
    /// Most files and folders looked at below a folder.
    pub entries: usize,
    /// Most folders inside one another.
    pub depth: usize,
    /// How many times its size a compressed file may have when it is unpacked, beyond 64 MB. Texts
    /// reach 3 to 20.
    pub expansion: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            row_bytes: 16 << 20,
            row_values: 1 << 20,
            fields: 4096,
            // What a hash table of 2^19 places holds before it grows.
            hashes: 450_000,
            sample_rows: 2048,
            sample_bytes: 512,
            entries: 100_000,
            depth: 64,
            expansion: 200,
        }
    }
}
