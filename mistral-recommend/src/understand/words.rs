//! Jobs, wishes and conditions in single words and short phrases.

use mistral_core::need::{HostingNeed, LicenceNeed, Need, Ownership, Task};
use mistral_core::plan::Runtime;
use mistral_core::precision::Precision;

use super::pieces::{Kind, Piece};
use super::vocabulary::{
    API, CAPABILITIES, COMMERCIAL, EITHER, IDIOMS, LANGUAGES, MISTRALS_API, NOT_COMMERCIAL,
    OFFLINE, OPEN_SOURCE, OPEN_WEIGHTS, OWNED, PRIORITIES, RENTED, SELF, TASKS,
};

/// A text that phrases are looked for in: its words with one space between and at either end.
pub(super) struct Words(String);

/// What stands for a name or an idiom: it keeps its place, so that words on either side of it don't
/// form a phrase.
const PLACE: &str = " | ";

/// Words that deny what follows.
const DENIALS: &[&str] = &[
    "no", "not", "without", "sans", "pas", "aucun", "aucune", "never", "neither", "non", "avoid",
];
/// Words that may stand between a denial and what it denies.
const BETWEEN: &[&str] = &[
    "need",
    "needs",
    "needed",
    "for",
    "any",
    "of",
    "a",
    "an",
    "the",
    "or",
    "nor",
    "ou",
    "ni",
    "use",
    "want",
    "require",
    "have",
    "besoin",
    "de",
    "d",
    "special",
    "particular",
];
/// Most words between them.
const REACH: usize = 6;

impl Words {
    pub(super) fn of(pieces: &[Piece]) -> Self {
        let mut text = String::from(" ");
        for (i, p) in pieces.iter().enumerate() {
            // `vision-free` is `no vision`.
            let free = |p: &Piece| p.is(&["free"]);
            if pieces.get(i + 1).is_some_and(|next| next.is(&["-"]))
                && pieces.get(i + 2).is_some_and(free)
            {
                text.push_str("no ");
            }
            let named = matches!(p.kind, Kind::Device(_) | Kind::Model(_));
            if named || is_person(pieces, i) {
                text.push('|');
            } else if p.kind == Kind::Sign && p.is(&["-", "/", "(", "+"]) {
                continue;
            } else {
                text.push_str(&p.text);
            }
            text.push(' ');
        }
        for idiom in IDIOMS {
            text = text.replace(&format!(" {idiom} "), PLACE);
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
        self.0
            .match_indices(&pattern)
            .any(|(at, _)| !is_denied(&self.0[..at]))
    }

    /// Whether the phrase was said at all, denied or not.
    pub(super) fn mentions(&self, phrases: &[&str]) -> bool {
        phrases
            .iter()
            .any(|p| self.0.contains(&format!(" {} ", p.replace('-', " "))))
    }
}

/// Whether what follows `text` is denied: by one of its last two words, or by one before words such
/// as `need for` and what an `or` joins.
fn is_denied(text: &str) -> bool {
    let ends = |w: &&str| !matches!(*w, "," | "." | ";" | ":" | "!" | "?" | "|" | "but" | "mais");
    let mut joined = false;
    for (i, word) in text
        .split_whitespace()
        .rev()
        .take_while(ends)
        .take(REACH)
        .enumerate()
    {
        if DENIALS.contains(&word) {
            return true;
        }
        if i > 0 && !joined && !BETWEEN.contains(&word) {
            return false;
        }
        joined = matches!(word, "or" | "nor" | "ou" | "ni");
    }
    false
}

/// `30 agents`, `our support agents`: people, not programs.
fn is_person(pieces: &[Piece], i: usize) -> bool {
    let people = [
        "support", "call", "center", "centre", "human", "service", "sales", "field", "contact",
    ];
    let number = |p: &Piece| matches!(p.kind, Kind::Number { .. });
    pieces[i].is(&["agents"])
        && pieces[..i]
            .iter()
            .rev()
            .take(3)
            .take_while(|p| p.kind == Kind::Word || number(p))
            .any(|p| p.is(&people) || number(p))
}

/// Whether the text says that machines are rented, or that they are there.
pub(super) fn ownership(words: &Words) -> Option<Ownership> {
    if words.has(RENTED) {
        Some(Ownership::Rented)
    } else if words.has(OWNED) {
        Some(Ownership::Owned)
    } else {
        None
    }
}

/// Puts what the words say into the need.
pub(super) fn read(words: &Words, need: &mut Need) {
    need.task = TASKS
        .iter()
        .find(|(_, phrases)| words.has(phrases))
        .map(|(t, _)| *t)
        .or_else(|| embeds(words).then_some(Task::Embed));
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

/// `embed 10 million documents`, and not `embed a chatbot in our site`.
fn embeds(words: &Words) -> bool {
    let verbs = ["embed", "vectorise", "vectorize", "vectoriser", "embedder"];
    let texts = [
        "document",
        "documents",
        "text",
        "texts",
        "textes",
        "passages",
        "chunks",
        "pages",
        "sentences",
        "phrases",
        "articles",
        "products",
        "produits",
        "tickets",
        "records",
    ];
    words.has(&verbs) && words.mentions(&texts)
}

/// Whether the API that is spoken of is Mistral's, and not one that the user offers.
pub(super) fn names_mistrals_api(words: &Words) -> bool {
    words.has(MISTRALS_API)
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
    ]) || words.has(OFFLINE)
    {
        Some(HostingNeed::Offline)
    } else if words.has(SELF) && words.has(EITHER) {
        None
    } else if words.has(SELF)
        || words.mentions(&[
            "no api",
            "not the api",
            "without the api",
            "without api",
            "sans api",
            "pas d api",
            "no third party",
            "no cloud",
            "not the cloud",
            "not in the cloud",
            "without cloud",
            "without the cloud",
            "pas de cloud",
            "sans cloud",
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
    if words.mentions(NOT_COMMERCIAL) {
        licence.commercial = Some(false);
    } else if words.has(COMMERCIAL) {
        licence.commercial = Some(true);
    }
    if words.has(OPEN_SOURCE) {
        licence.open_source = Some(true);
    }
    if words.has(OPEN_WEIGHTS) {
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
