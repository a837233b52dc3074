//! Jobs, wishes and conditions in single words and short phrases.

use mistral_core::capability::Capability;
use mistral_core::need::{HostingNeed, LicenceNeed, Need, Priority, Task};
use mistral_core::plan::Runtime;
use mistral_core::precision::Precision;

use super::pieces::{Kind, Piece};

/// Phrases of a job, in English and French; the first row with a match decides, so that rarer
/// jobs stand before common ones.
const TASKS: &[(Task, &[&str])] = &[
    (
        Task::Fim,
        &[
            "fim",
            "fill in the middle",
            "fill-in-the-middle",
            "autocomplete",
            "autocompletion",
            "code completion",
            "completion de code",
            "tab completion",
            "inline completion",
            "infilling",
            "copilot",
        ],
    ),
    (
        Task::Ocr,
        &[
            "ocr",
            "scan",
            "scans",
            "scanned",
            "numerises",
            "numerise",
            "extract text from",
            "pdf to text",
            "handwriting",
            "manuscrits",
        ],
    ),
    (
        Task::Speech,
        &[
            "text to speech",
            "text-to-speech",
            "tts",
            "voice cloning",
            "synthese vocale",
            "read aloud",
        ],
    ),
    (
        Task::Transcribe,
        &[
            "transcribe",
            "transcription",
            "transcriptions",
            "transcrire",
            "speech to text",
            "speech-to-text",
            "speech recognition",
            "audio",
            "voice",
            "dictation",
            "dictee",
            "meetings recordings",
            "subtitles",
        ],
    ),
    (
        Task::Embed,
        &[
            "embedding",
            "embeddings",
            "vector",
            "vectors",
            "vecteurs",
            "semantic search",
            "recherche semantique",
        ],
    ),
    (
        Task::Moderate,
        &[
            "moderation",
            "moderate",
            "moderer",
            "guardrail",
            "guardrails",
            "toxicity",
            "content filter",
        ],
    ),
    (
        Task::Agents,
        &[
            "agent",
            "agents",
            "agentic",
            "agentique",
            "tool use",
            "tool calling",
            "tool-calling",
            "function calling",
            "function-calling",
            "appel de fonctions",
            "appels de fonctions",
            "swe",
            "autonomous",
            "workflow automation",
            "multi-step",
        ],
    ),
    (
        Task::Code,
        &[
            "code",
            "coding",
            "programming",
            "programmation",
            "coder",
            "developer assistant",
            "code review",
            "refactor",
            "refactoring",
            "pull requests",
            "sql",
            "python",
            "unit tests",
            "codebase",
            "rust",
            "javascript",
        ],
    ),
    (
        Task::Vision,
        &[
            "vision",
            "image",
            "images",
            "photo",
            "photos",
            "screenshots",
            "screenshot",
            "multimodal",
            "pictures",
            "visual",
            "charts",
            "captures d ecran",
            "diagrams",
        ],
    ),
    (
        Task::Reasoning,
        &[
            "reasoning",
            "reason",
            "raisonnement",
            "raisonner",
            "math",
            "maths",
            "mathematics",
            "mathematiques",
            "theorem",
            "theorems",
            "proof",
            "proofs",
            "logic",
            "olympiad",
            "thinking",
            "scientific",
            "step by step",
        ],
    ),
    (
        Task::Rag,
        &[
            "rag",
            "retrieval",
            "knowledge base",
            "base de connaissances",
            "documentation search",
            "search over",
            "question answering",
            "questions sur",
            "q&a over",
            "chat with my documents",
            "over our docs",
            "our documents",
            "nos documents",
            "intranet",
            "wiki",
        ],
    ),
    (
        Task::Summarise,
        &[
            "summarise",
            "summarizing",
            "summarising",
            "synthetiser",
            "summarize",
            "summaries",
            "summary",
            "summarisation",
            "summarization",
            "resume",
            "resumer",
            "resumes",
            "synthese",
            "condense",
            "digest",
            "tl dr",
        ],
    ),
    (
        Task::Translate,
        &[
            "translate",
            "translation",
            "translations",
            "translating",
            "traduire",
            "traduction",
            "traductions",
        ],
    ),
    (
        Task::Extract,
        &[
            "extract",
            "extraction",
            "extraire",
            "classify",
            "classification",
            "classifier",
            "categorise",
            "categorize",
            "label",
            "labelling",
            "json output",
            "structured",
            "entities",
            "sentiment",
            "triage",
            "routing",
            "tagging",
            "invoices",
            "factures",
        ],
    ),
    (
        Task::Chat,
        &[
            "chat",
            "chatbot",
            "bot",
            "assistant",
            "support",
            "conversation",
            "conversational",
            "helpdesk",
            "customer service",
            "service client",
            "discussion",
            "dialogue",
            "general purpose",
            "writing",
            "write",
            "redaction",
            "rediger",
            "emails",
            "roleplay",
            "storytelling",
            "creative",
            "tutor",
            "faq",
            "questions",
            "answers",
        ],
    ),
];

/// Conditions that stand beside the job.
const CAPABILITIES: &[(Capability, &[&str])] = &[
    (
        Capability::Tools,
        &[
            "tool",
            "tools",
            "function calling",
            "function-calling",
            "outils",
            "functions",
            "appels de fonctions",
            "appel de fonctions",
            "mcp",
        ],
    ),
    (
        Capability::Vision,
        &[
            "vision",
            "image",
            "images",
            "photo",
            "photos",
            "screenshot",
            "screenshots",
            "multimodal",
        ],
    ),
    (
        Capability::Reasoning,
        &["reasoning", "raisonnement", "thinking"],
    ),
    (
        Capability::StructuredOutput,
        &["json", "structured", "schema", "structuree", "structurees"],
    ),
    (
        Capability::Fim,
        &["fim", "fill in the middle", "fill-in-the-middle"],
    ),
    (
        Capability::Multilingual,
        &["multilingual", "multilingue", "languages", "langues"],
    ),
];

const LANGUAGES: &[(&str, &[&str])] = &[
    ("fr", &["french", "francais", "francaise", "francophone"]),
    ("de", &["german", "allemand", "deutsch"]),
    ("es", &["spanish", "espagnol"]),
    ("it", &["italian", "italien"]),
    ("pt", &["portuguese", "portugais"]),
    ("en", &["english", "anglais"]),
    ("ar", &["arabic", "arabe"]),
    ("zh", &["chinese", "chinois"]),
    ("ja", &["japanese", "japonais"]),
    ("ko", &["korean", "coreen"]),
    ("hi", &["hindi"]),
    ("nl", &["dutch", "neerlandais"]),
    ("ru", &["russian", "russe"]),
];

const PRIORITIES: &[(Priority, &[&str])] = &[
    (
        Priority::Cost,
        &[
            "cheap",
            "cheapest",
            "cheaper",
            "lowest cost",
            "low cost",
            "low-cost",
            "inexpensive",
            "affordable",
            "economical",
            "pas cher",
            "moins cher",
            "economique",
            "bon marche",
            "minimise cost",
            "minimize cost",
            "tight budget",
            "save money",
        ],
    ),
    (
        Priority::Speed,
        &[
            "fast",
            "fastest",
            "faster",
            "quick",
            "low latency",
            "low-latency",
            "real time",
            "real-time",
            "realtime",
            "snappy",
            "instant",
            "rapide",
            "rapides",
            "vite",
            "temps reel",
            "faible latence",
            "reactif",
        ],
    ),
    (
        Priority::Throughput,
        &[
            "throughput",
            "batch processing",
            "debit",
            "high volume",
            "gros volume",
            "as many tokens",
        ],
    ),
    (
        Priority::Quality,
        &[
            "best quality",
            "highest quality",
            "quality first",
            "most accurate",
            "accurate",
            "accuracy",
            "smartest",
            "best possible",
            "best answers",
            "high quality",
            "state of the art",
            "sota",
            "meilleure qualite",
            "qualite",
            "precis",
            "quality",
            "best model",
            "meilleur modele",
        ],
    ),
    (
        Priority::Size,
        &[
            "small",
            "smallest",
            "tiny",
            "lightweight",
            "light",
            "leger",
            "legere",
            "petit",
            "compact",
        ],
    ),
    (
        Priority::Longevity,
        &[
            "long term",
            "long-term",
            "supported for",
            "stable",
            "perenne",
            "long terme",
            "maintained",
        ],
    ),
];

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

const API: &[&str] = &[
    "api",
    "la plateforme",
    "hosted by mistral",
    "serverless",
    "managed",
    "saas",
    "pay per token",
    "pay as you go",
    "mistral cloud",
];
const OFFLINE: &[&str] = &[
    "offline",
    "air gapped",
    "airgapped",
    "air gap",
    "no internet",
    "hors ligne",
    "deconnecte",
    "sans internet",
    "without internet",
    "disconnected",
    "no network",
];
const SELF: &[&str] = &[
    "self host",
    "self hosted",
    "self hosting",
    "selfhosted",
    "on premise",
    "on premises",
    "on prem",
    "locally",
    "local",
    "private",
    "privacy",
    "confidential",
    "gdpr",
    "rgpd",
    "in house",
    "auto heberge",
    "heberge chez nous",
    "chez nous",
    "in our datacenter",
    "our datacenter",
    "hosted by us",
    "sur site",
    "en local",
    "localement",
    "prive",
    "souverain",
    "confidentiel",
    "confidentielles",
    "our own servers",
    "own hardware",
    "nos serveurs",
    "data must not leave",
    "hipaa",
    "on device",
    "embedded",
];

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
