//! Shared parts of the example programs: argument parsing and output.
