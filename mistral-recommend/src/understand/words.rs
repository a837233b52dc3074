//! Jobs, wishes and conditions in single words and short phrases.

use mistral_core::need::{HostingNeed, LicenceNeed, Need};
use mistral_core::plan::Runtime;
use mistral_core::precision::Precision;

use super::pieces::{Kind, Piece};
use super::vocabulary::{API, CAPABILITIES, LANGUAGES, OFFLINE, PRIORITIES, SELF, TASKS};

/// A text that phrases are looked for in: its words with one space between and at either end.
pub(super) struct Words(String);

impl Words {
    pub(super) fn of(pieces: &[Piece]) -> Self {
        let mut text = String::from(" ");
        for p in pieces {
            let silent = p.is(&["-", "/", "(", "'", "+"])
                || matches!(p.kind, Kind::Device(_) | Kind::Model(_));
            // A name keeps its place, so that words on either side of it don't form a phrase.
            text.push_str(if silent && p.kind == Kind::Sign {
                ""
            } else if silent {
                "|"
            } else {
                &p.text
            });
            if !(silent && p.kind == Kind::Sign) {
                text.push(' ');
            }
        }
        Self(text)
    }

    /// Whether one of the phrases was said and not denied just before.
    pub(super) fn has(&self, phrases: &[&str]) -> bool {
        phrases
            .iter()
            .any(|phrase| self.says(&phrase.replace('-', " ")))
    }

    fn says(&self, phrase: &str) -> bool {
        let pattern = format!(" {phrase} ");
        self.0.match_indices(&pattern).any(|(at, _)| {
            let before: Vec<&str> = self.0[..at].split_whitespace().rev().take(2).collect();
            let denies = |w: &&str| {
                matches!(
                    *w,
                    "no" | "not"
                        | "without"
                        | "don't"
                        | "sans"
                        | "pas"
                        | "aucun"
                        | "aucune"
                        | "never"
                        | "neither"
                        | "non"
                )
            };
            !before.iter().any(denies)
        })
    }

    /// Whether the phrase was said at all, denied or not.
    pub(super) fn mentions(&self, phrases: &[&str]) -> bool {
        phrases
            .iter()
            .any(|p| self.0.contains(&format!(" {} ", p.replace('-', " "))))
    }
}

/// Puts what the words say into the need.
pub(super) fn read(words: &Words, need: &mut Need) {
    need.task = TASKS
        .iter()
        .find(|(_, phrases)| words.has(phrases))
        .map(|(t, _)| *t);
    for (capability, phrases) in CAPABILITIES {
        if words.has(phrases) && !need.capabilities.contains(capability) {
            need.capabilities.push(*capability);
        }
    }
    for (code, names) in LANGUAGES {
        if words.has(names) {
            need.languages.push((*code).to_owned());
        }
    }
    for (priority, phrases) in PRIORITIES {
        if words.has(phrases) {
            need.priorities.push(*priority);
        }
    }
    need.hosting = hosting(words);
    licence(words, &mut need.licence);
    need.runtime = runtime(words);
    need.precision = precision(words);
}

/// Whether the text asks for the API and for the contrary of it.
pub(super) fn hosting_conflict(words: &Words) -> bool {
    words.has(API) && words.has(OFFLINE)
}

fn hosting(words: &Words) -> Option<HostingNeed> {
    if words.mentions(&[
        "no internet",
        "without internet",
        "sans internet",
        "no network",
        "no cloud",
        "pas de cloud",
        "sans cloud",
    ]) || words.has(OFFLINE)
    {
        Some(HostingNeed::Offline)
    } else if words.has(SELF)
        || words.mentions(&[
            "no api",
            "not the api",
            "without the api",
            "without api",
            "sans api",
            "pas d api",
            "no third party",
        ])
    {
        Some(HostingNeed::SelfHosted)
    } else if words.has(API)
        || words.mentions(&["no servers", "no infrastructure", "sans serveur", "no ops"])
    {
        Some(HostingNeed::Api)
    } else {
        None
    }
}

fn licence(words: &Words, licence: &mut LicenceNeed) {
    if words.mentions(&[
        "non commercial",
        "noncommercial",
        "not commercial",
        "research only",
        "for research",
        "academic",
        "hobby",
        "personal use",
        "personal project",
        "usage personnel",
        "recherche",
        "pour m amuser",
        "side project",
        "student project",
    ]) {
        licence.commercial = Some(false);
    } else if words.has(&[
        "commercial",
        "commercially",
        "commerciale",
        "business",
        "customers",
        "clients",
        "company",
        "entreprise",
        "startup",
        "production",
        "product",
        "produit",
        "enterprise",
        "client",
    ]) {
        licence.commercial = Some(true);
    }
    if words.has(&[
        "apache",
        "apache 2.0",
        "open source",
        "opensource",
        "mit",
        "libre",
        "osi",
    ]) {
        licence.open_source = Some(true);
    }
    if words.has(&[
        "open weights",
        "open weight",
        "openweights",
        "poids ouverts",
        "weights",
    ]) {
        licence.open_weights = Some(true);
    }
}

fn runtime(words: &Words) -> Option<Runtime> {
    let rows: &[(Runtime, &[&str])] = &[
        (Runtime::Vllm, &["vllm"]),
        (
            Runtime::LlamaServer,
            &[
                "llama.cpp",
                "llama cpp",
                "llamacpp",
                "llama server",
                "gguf",
                "llama . cpp",
            ],
        ),
        (Runtime::Ollama, &["ollama"]),
        (Runtime::Sglang, &["sglang"]),
        (
            Runtime::TensorrtLlm,
            &["tensorrt", "tensorrt llm", "trtllm", "trt llm"],
        ),
        (Runtime::Mlx, &["mlx"]),
        (Runtime::MistralInfer, &["mistral infer"]),
    ];
    rows.iter()
        .find(|(_, phrases)| words.has(phrases))
        .map(|(r, _)| *r)
}

fn precision(words: &Words) -> Option<Precision> {
    let rows: &[(Precision, &[&str])] = &[
        (
            Precision::Bf16,
            &[
                "bf16",
                "bfloat16",
                "full precision",
                "pleine precision",
                "unquantized",
                "unquantised",
            ],
        ),
        (Precision::F16, &["fp16", "float16"]),
        (Precision::Fp8, &["fp8"]),
        (Precision::Nvfp4, &["nvfp4", "fp4"]),
        (Precision::Awq, &["awq"]),
        (Precision::Gptq, &["gptq"]),
        (
            Precision::Q8_0,
            &["q8_0", "q8 0", "q8", "8bit", "8 bit", "8 bits", "int8"],
        ),
        (Precision::Q6K, &["q6_k", "q6 k", "q6"]),
        (Precision::Q5KM, &["q5_k_m", "q5 k m", "q5"]),
        (
            Precision::Q4KM,
            &["q4_k_m", "q4 k m", "q4", "4bit", "4 bit", "4 bits", "int4"],
        ),
        (Precision::Q3KM, &["q3_k_m", "q3 k m", "q3"]),
    ];
    rows.iter()
        .find(|(_, phrases)| words.has(phrases))
        .map(|(p, _)| *p)
}
