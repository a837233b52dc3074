//! What is measured, on which files.

/// A file that `make_gguf` writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModelFile {
    shape: &'static str,
    /// None for all of the shape's layers.
    layers: Option<u32>,
    mix: &'static str,
}

impl ModelFile {
    /// Shape, layers and mix.
    pub(crate) fn name(&self) -> String {
        match self.layers {
            Some(layers) => format!("{}-l{layers}-{}", self.shape, self.mix),
            None => format!("{}-{}", self.shape, self.mix),
        }
    }

    pub(crate) fn file(&self) -> String {
        format!("{}.gguf", self.name())
    }

    /// For `make_gguf`, after the file.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut words = ["--shape", self.shape, "--mix", self.mix]
            .map(str::to_owned)
            .to_vec();
        if let Some(layers) = self.layers {
            words.extend(["--layers".to_owned(), layers.to_string()]);
        }
        words
    }
}

/// One figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    /// Tokens a second of a prompt of so many, the cache empty before it.
    Prefill(u32),
    /// Tokens a second of one sequence with so many in its cache.
    Decode { depth: u32 },
    /// Tokens a second of so many sequences decoded together, beside one alone.
    Together(u32),
    /// The largest resident set, bytes, after a prompt of 16 tokens.
    Memory,
    /// Seconds of loading.
    Load,
}

impl Test {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Prefill(tokens) => format!("prefill {tokens}"),
            Self::Decode { depth } => format!("decode at {depth}"),
            Self::Together(sequences) => format!("{sequences} sequences / 1"),
            Self::Memory => "peak RSS".to_owned(),
            Self::Load => "load".to_owned(),
        }
    }

    /// Whether the smaller value is the better one.
    pub(crate) fn is_cost(self) -> bool {
        matches!(self, Self::Memory | Self::Load)
    }
}

/// Figures of one file that a contestant measures one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) model: ModelFile,
    pub(crate) threads: u32,
    /// Tokens that a decode test generates.
    pub(crate) generate: u32,
    pub(crate) tests: Vec<Test>,
}

impl Case {
    /// Model, threads and a part that tells cases of the same model apart.
    pub(crate) fn name(&self) -> String {
        let first = self.tests.first().map_or("", |test| match test {
            Test::Prefill(_) | Test::Decode { depth: 0 } => "speed",
            Test::Decode { .. } => "deep",
            Test::Together(_) => "together",
            Test::Memory | Test::Load => "memory",
        });
        format!("{}/t{}/{first}", self.model.name(), self.threads)
    }
}

/// The most telling cases first, so that a short run has them.
pub(crate) fn cases() -> Vec<Case> {
    use Test::{Decode, Load, Memory, Prefill, Together};
    let model = |shape, layers, mix| ModelFile { shape, layers, mix };
    let empty = Decode { depth: 0 };
    let whole = |mix| model("7b", None, mix);
    let slice = |mix| model("7b", Some(4), mix);
    let mixtral = |mix| model("mixtral", Some(4), mix);
    let small = model("126m", None, "bf16");
    [
        (whole("q4_k_m"), 2, 24, vec![Prefill(512), empty]),
        (whole("q4_k_m"), 1, 16, vec![empty]),
        (
            slice("q4_k_m"),
            2,
            64,
            vec![Prefill(512), Prefill(2048), empty],
        ),
        (slice("q4_k_m"), 2, 48, vec![Decode { depth: 8192 }]),
        (
            mixtral("q4_k_m"),
            2,
            48,
            vec![Prefill(128), Prefill(512), empty],
        ),
        (whole("q8_0"), 2, 16, vec![Prefill(512), empty]),
        (whole("q8_0"), 1, 12, vec![empty]),
        (whole("q4_k_m"), 2, 16, vec![Together(8)]),
        (small, 2, 128, vec![Prefill(512), empty]),
        (whole("q4_k_m"), 2, 2, vec![Memory, Load]),
        (whole("q4_0"), 2, 24, vec![Prefill(512), empty]),
        (
            mixtral("q8_0"),
            2,
            48,
            vec![Prefill(128), Prefill(512), empty],
        ),
        (slice("q8_0"), 2, 64, vec![Prefill(512), empty]),
    ]
    .map(|(model, threads, generate, tests)| Case {
        model,
        threads,
        generate,
        tests,
    })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn cases_have_names_of_their_own() {
        let names: BTreeSet<String> = cases().iter().map(Case::name).collect();
        assert_eq!(names.len(), cases().len(), "{names:?}");
        assert!(names.contains("7b-l4-q4_k_m/t2/deep"), "{names:?}");
    }
}
