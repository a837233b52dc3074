//! Words of texts and questions: folded, cut, stemmed; identifiers whole and in parts.

use rust_stemmers::{Algorithm, Stemmer};
use std::collections::HashMap;

/// Longest word that is kept, in bytes; what is longer (a key, a line of base64) is no word.
const MAX_WORD: usize = 64;
/// Most parts of an identifier that is kept in one piece too.
const MAX_PARTS: usize = 6;

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// In lower case, without accents.
    pub(crate) plain: String,
    /// What is indexed: the stem, or what has digits as it is.
    pub(crate) term: String,
    /// An identifier in one piece, after its parts.
    pub(crate) whole: bool,
}

/// Stems words of one language.
pub(crate) struct Cutter {
    stemmer: Stemmer,
}

/// Stems that were found before: the same words return all through a corpus.
pub(crate) type Memo = HashMap<String, String>;

impl Cutter {
    pub(crate) fn new(language: &str) -> Self {
        let algorithm = match language {
            "fr" => Algorithm::French,
            _ => Algorithm::English,
        };
        Self {
            stemmer: Stemmer::create(algorithm),
        }
    }

    /// The words of `text` in order. An identifier (`retry_policy`, `WF_1101`, `mistral-chat`, `TensorRT`)
    /// gives its parts, and then itself in one piece.
    pub(crate) fn words(&self, text: &str, memo: &mut Memo) -> Vec<Word> {
        let mut words = Vec::new();
        for chunk in text.split(|c: char| !(c.is_alphanumeric() || "_-.'’".contains(c))) {
            let chunk = chunk.trim_matches(['_', '-', '.', '\'', '’']);
            if chunk.is_empty() || chunk.len() > 4 * MAX_WORD {
                continue;
            }
            let parts = parts(chunk);
            for part in &parts {
                let plain = fold(part);
                if plain.len() <= MAX_WORD {
                    let term = self.term(&plain, memo);
                    words.push(Word {
                        plain,
                        term,
                        whole: false,
                    });
                }
            }
            if (2..=MAX_PARTS).contains(&parts.len()) {
                let plain = fold(&parts.concat());
                if plain.len() <= MAX_WORD {
                    let term = self.term(&plain, memo);
                    words.push(Word {
                        plain,
                        term,
                        whole: true,
                    });
                }
            }
        }
        words
    }

    /// The stem of a folded word; one that has digits stays as it is.
    pub(crate) fn term(&self, plain: &str, memo: &mut Memo) -> String {
        if plain.bytes().any(|b| b.is_ascii_digit()) {
            return plain.to_owned();
        }
        if let Some(term) = memo.get(plain) {
            return term.clone();
        }
        let term = self.stemmer.stem(plain).into_owned();
        memo.insert(plain.to_owned(), term.clone());
        term
    }

    /// Two neighbours in one: `fine` and `tuning` become what `finetuning` is.
    pub(crate) fn pair(&self, first: &str, second: &str, memo: &mut Memo) -> String {
        self.term(&format!("{first}{second}"), memo)
    }
}

/// Cuts at marks, between small and large letters, and at the end of a run of large ones.
fn parts(chunk: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for piece in chunk.split(['_', '-', '.', '\'', '’']) {
        let mut from = 0;
        let letters: Vec<(usize, char)> = piece.char_indices().collect();
        for at in 1..letters.len() {
            let (byte, c) = letters[at];
            let before = letters[at - 1].1;
            let next_small = letters.get(at + 1).is_some_and(|(_, n)| n.is_lowercase());
            // One letter more (`MoE`, `LoRAs`) is no word of its own.
            let goes_on = at + 1 < letters.len();
            let hump = before.is_lowercase() && c.is_uppercase() && goes_on && byte - from > 1;
            let end_of_capitals =
                before.is_uppercase() && c.is_uppercase() && next_small && at - from > 1;
            if hump || end_of_capitals {
                parts.push(&piece[from..byte]);
                from = byte;
            }
        }
        parts.push(&piece[from..]);
    }
    // `l'API`, `it's`: an elision is not a word.
    let elision = chunk.contains(['\'', '’']);
    parts.retain(|part| !(part.is_empty() || elision && part.chars().count() == 1));
    parts
}

/// Lower case, and without the accents of French.
pub(crate) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        match c {
            'à' | 'â' | 'ä' | 'á' => folded.push('a'),
            'é' | 'è' | 'ê' | 'ë' => folded.push('e'),
            'î' | 'ï' | 'í' => folded.push('i'),
            'ô' | 'ö' | 'ó' => folded.push('o'),
            'ù' | 'û' | 'ü' | 'ú' => folded.push('u'),
            'ç' => folded.push('c'),
            'ñ' => folded.push('n'),
            'œ' => folded.push_str("oe"),
            'æ' => folded.push_str("ae"),
            _ => folded.push(c),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_kept_whole_and_in_parts() {
        let words = |text: &str| -> Vec<String> {
            let words = Cutter::new("en").words(text, &mut Memo::new());
            words.into_iter().map(|w| w.plain).collect()
        };
        let rows: &[(&str, &[&str])] = &[
            (
                "retry_policy_max",
                &["retry", "policy", "max", "retrypolicymax"],
            ),
            ("WF_1101", &["wf", "1101", "wf1101"]),
            ("TensorRT-LLM", &["tensor", "rt", "llm", "tensorrtllm"]),
            ("fine-tuning", &["fine", "tuning", "finetuning"]),
            ("l'API", &["api"]),
            ("déjà vu.", &["deja", "vu"]),
            ("HTTPServer", &["http", "server", "httpserver"]),
            ("MoE", &["moe"]),
        ];
        for (text, expected) in rows {
            assert_eq!(words(text), *expected, "{text}");
        }
    }
}
