//! Writes small tokenizer files of our own: the three formats over one little vocabulary, so that
//! tests need no third-party file.
#![allow(dead_code, reason = "each test program uses some of it")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mistral_infer::tokenizer::{TEKKEN_PATTERN, TokenizerVersion};

/// What the vocabularies are learned from.
const CORPUS: &str = "\
The small model reads the text and writes the next word. Words that are often there become one token, \
the others are cut into parts. A tokenizer that is small is easy to test: the text, the tokens, and the \
text again. Testing the tests is the other half of testing.\n\
Le petit mod\u{e8}le \u{e9}crit le texte, mot apr\u{e8}s mot. \u{c9}t\u{e9}, No\u{eb}l, \u{153}uvre.\n\
{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n\
    if x == 10:\n        return 3.14\n\
\u{6587}\u{5b57}\u{3068}\u{6587}\u{7ae0}\u{3068}\u{5358}\u{8a9e}\n";

/// Control tokens by id; the first 20 are those of files that list none.
pub(crate) const CONTROL: [&str; 38] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
    "<SPECIAL_20>",
    "<SPECIAL_21>",
    "<SPECIAL_22>",
    "<SPECIAL_23>",
    "<SPECIAL_24>",
    "<SPECIAL_25>",
    "<SPECIAL_26>",
    "<SPECIAL_27>",
    "<SPECIAL_28>",
    "<SPECIAL_29>",
    "<SPECIAL_30>",
    "<SPECIAL_31>",
    "[ARGS]",
    "[CALL_ID]",
    "[THINK]",
    "[/THINK]",
    "[MODEL_SETTINGS]",
    "[/MODEL_SETTINGS]",
];

/// Ids set aside for control tokens.
const CONTROL_IDS: usize = 50;

/// Learns merges: the most frequent neighbouring pair becomes a token, the smaller one on ties.
fn learn(mut words: Vec<Vec<Vec<u8>>>, merges: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut learned = Vec::new();
    while learned.len() < merges {
        let mut counts: BTreeMap<(&[u8], &[u8]), usize> = BTreeMap::new();
        for word in &words {
            for pair in word.windows(2) {
                *counts.entry((&pair[0], &pair[1])).or_default() += 1;
            }
        }
        let best = counts.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0)));
        let Some((&(left, right), _)) = best else {
            break;
        };
        let (left, right) = (left.to_vec(), right.to_vec());
        for word in &mut words {
            let mut i = 0;
            while i + 1 < word.len() {
                if word[i] == left && word[i + 1] == right {
                    let tail = word.remove(i + 1);
                    word[i].extend(tail);
                }
                i += 1;
            }
        }
        learned.push((left, right));
    }
    learned
}

/// Words with the space before them, as bytes.
fn byte_words() -> Vec<Vec<Vec<u8>>> {
    CORPUS
        .split_inclusive(' ')
        .collect::<Vec<_>>()
        .iter()
        .map(|word| word.bytes().map(|byte| vec![byte]).collect())
        .collect()
}

/// Token bytes in order of rank: the bytes, then what was learned.
fn ranks() -> Vec<Vec<u8>> {
    let mut ranks: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
    for (left, right) in learn(byte_words(), 150) {
        let joined = [left, right].concat();
        if !ranks.contains(&joined) {
            ranks.push(joined);
        }
    }
    ranks
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0u32, |word, &b| word << 8 | u32::from(b));
        let word = word << (8 * (3 - group.len()));
        for i in 0..4 {
            let symbol = ALPHABET[(word >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= group.len() {
                char::from(symbol)
            } else {
                '='
            });
        }
    }
    text
}

/// A `tekken.json` of a version.
pub(crate) fn tekken(version: TokenizerVersion) -> String {
    let listed = match version {
        TokenizerVersion::V1 | TokenizerVersion::V2 | TokenizerVersion::V3 => 20,
        TokenizerVersion::V7 => 20,
        TokenizerVersion::V11 => 34,
        TokenizerVersion::V13 => 36,
        _ => 38,
    };
    let mut file = tekken_of(version, &ranks(), &CONTROL[..listed], CONTROL_IDS);
    if version >= TokenizerVersion::V15 {
        file["model_settings_builder"] = serde_json::json!({
            "reasoning_effort": {
                "type": "enum", "values": ["none", "high"], "accepts_none": true, "default": "none",
            },
        });
    }
    file.to_string() + "\n"
}

/// A `tekken.json` with these tokens, of whose `control_ids` control tokens some are listed.
pub(crate) fn tekken_of(
    version: TokenizerVersion,
    ranks: &[Vec<u8>],
    listed: &[&str],
    control_ids: usize,
) -> serde_json::Value {
    let vocab: Vec<_> = ranks
        .iter()
        .enumerate()
        .map(|(rank, bytes)| {
            let text = std::str::from_utf8(bytes).ok();
            serde_json::json!({"rank": rank, "token_bytes": base64(bytes), "token_str": text})
        })
        .collect();
    let control: Vec<_> = listed
        .iter()
        .enumerate()
        .map(
            |(rank, name)| serde_json::json!({"rank": rank, "token_str": name, "is_control": true}),
        )
        .collect();
    serde_json::json!({
        "config": {
            "pattern": TEKKEN_PATTERN,
            "num_vocab_tokens": ranks.len(),
            "default_vocab_size": ranks.len() + control_ids,
            "default_num_special_tokens": control_ids,
            "version": version.name(),
        },
        "vocab": vocab,
        "special_tokens": control,
        "version": 1,
        "type": "Tekken",
    })
}

/// A piece of a SentencePiece model: text, score, and type as the format numbers it.
pub(crate) type Piece<'a> = (&'a str, f32, u64);

pub(crate) const NORMAL: u64 = 1;
pub(crate) const UNKNOWN: u64 = 2;
pub(crate) const CONTROL_PIECE: u64 = 3;
pub(crate) const USER_DEFINED: u64 = 4;
pub(crate) const UNUSED: u64 = 5;
pub(crate) const BYTE: u64 = 6;

pub(crate) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn bytes_field(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(crate) fn varint_field(number: u64, value: u64, out: &mut Vec<u8>) {
    varint(number << 3, out);
    varint(value, out);
}

/// Encodes pieces as the first field of a model.
pub(crate) fn pieces_field(pieces: &[Piece<'_>]) -> Vec<u8> {
    let mut model = Vec::new();
    for (text, score, kind) in pieces {
        let mut piece = Vec::new();
        bytes_field(1, text.as_bytes(), &mut piece);
        varint(2 << 3 | 5, &mut piece);
        piece.extend(score.to_bits().to_le_bytes());
        varint_field(3, *kind, &mut piece);
        bytes_field(1, &piece, &mut model);
    }
    model
}

/// Settings of a SentencePiece model.
pub(crate) struct Spec {
    pub(crate) model_type: u64,
    pub(crate) byte_fallback: bool,
    pub(crate) whitespace_as_suffix: bool,
    pub(crate) add_dummy_prefix: bool,
    pub(crate) remove_extra_whitespaces: bool,
}

impl Default for Spec {
    /// Those of Mistral's models.
    fn default() -> Self {
        Self {
            model_type: 2,
            byte_fallback: true,
            whitespace_as_suffix: false,
            add_dummy_prefix: true,
            remove_extra_whitespaces: false,
        }
    }
}

/// A SentencePiece model file.
pub(crate) fn sentencepiece_of(pieces: &[Piece<'_>], spec: &Spec) -> Vec<u8> {
    let mut model = pieces_field(pieces);
    let mut trainer = Vec::new();
    varint_field(3, spec.model_type, &mut trainer);
    varint_field(24, spec.whitespace_as_suffix.into(), &mut trainer);
    varint_field(35, spec.byte_fallback.into(), &mut trainer);
    bytes_field(2, &trainer, &mut model);
    let mut normalizer = Vec::new();
    bytes_field(1, b"identity", &mut normalizer);
    varint_field(3, spec.add_dummy_prefix.into(), &mut normalizer);
    varint_field(4, spec.remove_extra_whitespaces.into(), &mut normalizer);
    varint_field(5, 1, &mut normalizer);
    bytes_field(3, &normalizer, &mut model);
    model
}

/// Names of the 256 byte pieces.
pub(crate) fn byte_pieces() -> Vec<String> {
    (0..=255u8).map(|byte| format!("<0x{byte:02X}>")).collect()
}

/// A SentencePiece model of v7, with a user-defined piece.
pub(crate) fn sentencepiece() -> Vec<u8> {
    let text = format!(" {}", CORPUS.replace('\n', " ")).replace(' ', "\u{2581}");
    let mut words: Vec<Vec<Vec<u8>>> = Vec::new();
    for c in text.chars() {
        if c == '\u{2581}' || words.is_empty() {
            words.push(Vec::new());
        }
        let word = words.last_mut().expect("one was pushed");
        word.push(c.to_string().into_bytes());
    }
    let merges = learn(words, 150);
    let bytes = byte_pieces();
    let mut pieces: Vec<Piece<'_>> = vec![("<unk>", 0.0, UNKNOWN)];
    pieces.extend(
        CONTROL[1..20]
            .iter()
            .map(|name| (*name, 0.0, CONTROL_PIECE)),
    );
    pieces.push(("[REF]", 0.0, USER_DEFINED));
    pieces.extend(bytes.iter().map(|name| (name.as_str(), 0.0, BYTE)));
    let joined: Vec<String> = merges
        .iter()
        .map(|(left, right)| {
            String::from_utf8([&left[..], right].concat()).expect("joined characters")
        })
        .collect();
    let mut score = 0.0;
    let mut known: Vec<&str> = Vec::new();
    for text in &joined {
        if !known.contains(&text.as_str()) {
            known.push(text);
            pieces.push((text, score, NORMAL));
            score -= 1.0;
        }
    }
    let mut letters: Vec<String> = text.chars().map(String::from).collect();
    letters.sort_unstable();
    letters.dedup();
    for letter in &letters {
        pieces.push((letter, score, NORMAL));
        score -= 1.0;
    }
    sentencepiece_of(&pieces, &Spec::default())
}

/// GPT-2's characters for bytes.
pub(crate) fn byte_character(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let code = if printable(byte) {
        u32::from(byte)
    } else {
        0x100 + (0..byte).filter(|&b| !printable(b)).count() as u32
    };
    char::from_u32(code).expect("below 0x200")
}

/// Name of a control token of v13.
fn control_name(id: usize) -> String {
    match CONTROL.get(id).filter(|_| id < 36) {
        Some(name) => (*name).to_owned(),
        None => format!("<SPECIAL_{id}>"),
    }
}

/// A byte-level `tokenizer.json` with the vocabulary of [`tekken`] as v13 has it.
pub(crate) fn tokenizer_json() -> String {
    let name = |bytes: &[u8]| bytes.iter().map(|&b| byte_character(b)).collect::<String>();
    let ranks = ranks();
    let mut vocab = serde_json::Map::new();
    for id in 0..CONTROL_IDS {
        vocab.insert(control_name(id), id.into());
    }
    for (rank, bytes) in ranks.iter().enumerate() {
        vocab.insert(name(bytes), (rank + CONTROL_IDS).into());
    }
    let merges: Vec<_> = learn(byte_words(), 150)
        .iter()
        .map(|(left, right)| [name(left), name(right)])
        .collect();
    let added: Vec<_> = (0..CONTROL_IDS)
        .map(|id| {
            let content = control_name(id);
            serde_json::json!({
                "id": id, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true,
            })
        })
        .collect();
    let byte_level = serde_json::json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
    });
    let mut file = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {
                "type": "Split", "pattern": {"Regex": TEKKEN_PATTERN}, "behavior": "Isolated",
                "invert": false,
            },
            byte_level,
        ]},
        "post_processor": null,
        "decoder": byte_level,
    });
    file["model"] = serde_json::json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
        "ignore_merges": true, "vocab": vocab, "merges": merges,
    });
    let mut text = String::new();
    write!(text, "{file}").expect("writing to a string never fails");
    text + "\n"
}
