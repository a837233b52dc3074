//! Which flags an engine's version has, and what each takes.
//!
//! The tables are data files that a program reads out of the engines' packages (`readers/`), with
//! their source. A command is built through a table, so that an unknown flag or a value of the
//! wrong kind can't be generated; [`lint()`] finds them in what others wrote, [`migrate()`]
//! rewrites a command for another version.

mod changes;
mod command;
mod find;
mod lint;
mod migrate;
mod settings;
mod table;
mod takes;
mod words;

use std::sync::LazyLock;

pub use command::{Command, Explained, Why, Word, why};
pub use find::command_words;
pub use lint::{Finding, FindingKind, LintReport, lint, lint_command};
pub use migrate::{Migrated, Migration, Unresolved, migrate};
pub use settings::Settings;
pub use table::FlagTable;

use crate::CodegenError;

/// The newest version of an engine, and the others that commands are migrated from.
macro_rules! tables {
    ($($(#[doc = $doc:literal])+ $name:ident: $kept:literal, $newest:literal $(, $older:literal)*;)+) => {
        $(
            $(#[doc = $doc])+
            ///
            /// # Panics
            /// Never: the embedded file is read by a test.
            pub static $name: LazyLock<FlagTable> = LazyLock::new(|| embedded(
                include_str!(concat!("../../data/", $newest)),
                include_str!(concat!("../../data/", $kept)),
            ));
        )+

        /// Every version that a table is embedded of, the newest of an engine first.
        pub fn tables() -> &'static [&'static FlagTable] {
            static ALL: LazyLock<Vec<&'static FlagTable>> = LazyLock::new(|| {
                let mut all: Vec<&'static FlagTable> = Vec::new();
                $(
                    all.push(&$name);
                    $({
                        static OLDER: LazyLock<FlagTable> = LazyLock::new(|| embedded(
                            include_str!(concat!("../../data/", $older)),
                            include_str!(concat!("../../data/", $kept)),
                        ));
                        all.push(&OLDER);
                    })*
                )+
                all
            });
            &ALL
        }
    };
}

tables! {
    /// vLLM 0.33.0.
    VLLM: "vllm.json", "vllm-0.33.0.json", "vllm-0.20.0.json", "vllm-0.10.0.json";
    /// vLLM for TPUs 0.32.0.
    VLLM_TPU: "vllm-tpu.json", "vllm-tpu-0.32.0.json";
    /// SGLang 0.5.23.
    SGLANG: "sglang.json", "sglang-0.5.23.json";
    /// `trtllm-serve` of TensorRT-LLM at commit 029e223.
    TENSORRT_LLM: "tensorrt-llm.json", "tensorrt-llm-029e223.json";
    /// llama.cpp's server, as llama-cpp-python 0.3.36 has it.
    LLAMA_SERVER: "llama-server.json", "llama-server-py0.3.36.json";
    /// Commands and parameters of Ollama's Modelfile, and its environment, at commit fb30760.
    OLLAMA: "ollama.json", "ollama-fb30760.json";
    /// `guidellm run` of GuideLLM 0.8.1, with the settings that its options take.
    GUIDELLM: "guidellm.json", "guidellm-0.8.1.json";
}

fn embedded(read: &str, kept: &str) -> FlagTable {
    FlagTable::from_json(read, kept).expect("the embedded tables are read by a test")
}

/// The table of an engine's version, by `engine` for the newest or `engine:version`.
///
/// # Errors
/// [`CodegenError::UnknownVersion`] naming the versions that there are.
///
/// ```
/// use mistral_codegen::flags;
/// assert_eq!(flags::find("vllm:0.10.0")?.version, "0.10.0");
/// assert!(flags::find("vllm:0.1").is_err());
/// # Ok::<(), mistral_codegen::CodegenError>(())
/// ```
pub fn find(name: &str) -> Result<&'static FlagTable, CodegenError> {
    let (engine, version) = match name.split_once(':') {
        Some((engine, version)) => (engine, Some(version)),
        None => (name, None),
    };
    let fits = |table: &&&FlagTable| {
        table.engine == engine && version.is_none_or(|version| table.version == version)
    };
    tables().iter().find(fits).copied().ok_or_else(|| {
        let known = tables()
            .iter()
            .map(|t| format!("{}:{}", t.engine, t.version));
        CodegenError::UnknownVersion {
            found: name.chars().take(64).collect(),
            known: known.collect::<Vec<_>>().join(", "),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_and_refuse_by_name() {
        assert_eq!(tables().len(), 9);
        let vllm = &*VLLM;
        let llama = &*LLAMA_SERVER;
        let sglang = &*SGLANG;
        let cases: &[(&FlagTable, &str, Option<&str>, Option<&str>)] = &[
            (vllm, "--max-model-len", Some("32768"), None),
            (
                vllm,
                "--max-model-len",
                Some("0"),
                Some("a whole number from 1"),
            ),
            (vllm, "--max-model-len", None, Some("no value")),
            (vllm, "--enable-auto-tool-choice", None, None),
            (vllm, "--no-enable-prefix-caching", None, None),
            (
                vllm,
                "--enable-auto-tool-choice",
                Some("yes"),
                Some("expects no value"),
            ),
            (vllm, "--tokenizer-mode", Some("slow"), Some("hf, inkling")),
            (vllm, "--swap-space", Some("4"), Some("it was removed")),
            (
                vllm,
                "--guided-decoding-backend",
                Some("x"),
                Some("--structured-outputs-config"),
            ),
            (vllm, "--enable-mm", None, Some("no version has had it")),
            (
                vllm,
                "--no-such-flag",
                None,
                Some("has no flag --no-such-flag"),
            ),
            (vllm, "--compilation-config", Some("{}"), None),
            (vllm, "--compilation-config.mode", Some("3"), None),
            (vllm, "-tp", Some("2"), None),
            (vllm, "--tensor_parallel_size", Some("2"), None),
            // A generated command has whole names.
            (vllm, "--tensor-paral", Some("2"), Some("no flag")),
            (
                vllm,
                "--served-model-name",
                Some("--port"),
                Some("begin with -"),
            ),
            (
                vllm,
                "--override-generation-config",
                Some("[1]"),
                Some("a JSON object"),
            ),
            (llama, "--n-gpu-layers", Some("all"), None),
            (llama, "--seed", Some("-1"), None),
            (llama, "--cache-type-k", Some("q8_0"), None),
            (llama, "--cache-type-k", Some("fp8"), Some("q8_0")),
            (llama, "--draft-max", Some("4"), Some("--spec-draft-n-max")),
            (sglang, "--tensor-parallel-size", Some("2"), None),
            (sglang, "--tp_size", Some("2"), Some("no flag")),
            (sglang, "--tool-call-parser", Some("mistral"), None),
            (&TENSORRT_LLM, "--tp_size", Some("2"), None),
            (&TENSORRT_LLM, "--tp-size", Some("2"), Some("no flag")),
            (&OLLAMA, "PARAMETER num_ctx", Some("4096"), None),
            (&OLLAMA, "PARAMETER mirostat", Some("1"), Some("no flag")),
            (&VLLM_TPU, "--max-model-len", Some("2048"), None),
        ];
        for (table, flag, value, error) in cases {
            let found = table.check(flag, *value).err().map(|e| e.to_string());
            match (error, &found) {
                (None, None) => {}
                (Some(part), Some(text)) => assert!(text.contains(part), "{flag}: {text}"),
                _ => panic!("{flag} {value:?}: expected {error:?}, found {found:?}"),
            }
        }
    }

    #[test]
    fn arguments_of_a_command_line() {
        let words = |s: &str| s.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let good = "vllm serve a/b --port 8000 --seed -1 --enable-auto-tool-choice";
        VLLM.check_arguments(&words(good)).expect("all are known");
        for bad in [
            "serve a --port 8000 --nope",
            "serve a --port 99999",
            "serve --port",
        ] {
            assert!(VLLM.check_arguments(&words(bad)).is_err(), "{bad}");
        }
    }
}
