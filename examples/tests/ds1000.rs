//! Problems of our own in the benchmark's form.
