//! Which languages the texts are in, on a sample.

use std::collections::BTreeMap;

use super::profile::{LanguageProfile, LanguageShare};
use whatlang::Lang;

/// A sample drawn evenly from all rows, however many come (Vitter's algorithm R, "Random sampling
/// with a reservoir", ACM TOMS 11, 1985). What is drawn depends on the number of the row alone.
#[derive(Debug)]
pub(crate) struct Sample {
    texts: Vec<String>,
    rows: usize,
    bytes: usize,
    seen: u64,
}

impl Sample {
    pub(crate) fn new(rows: usize, bytes: usize) -> Self {
        Self {
            texts: Vec::new(),
            rows,
            bytes,
            seen: 0,
        }
    }

    pub(crate) fn add(&mut self, text: &str) {
        let text = text.trim_start();
        if text.is_empty() {
            return;
        }
        self.seen += 1;
        let cut = &text[..text.floor_char_boundary(self.bytes)];
        if self.texts.len() < self.rows {
            self.texts.push(cut.to_owned());
            return;
        }
        let place = mix(self.seen) % self.seen;
        if let Some(text) = usize::try_from(place)
            .ok()
            .and_then(|i| self.texts.get_mut(i))
        {
            text.clear();
            text.push_str(cut);
        }
    }

    pub(crate) fn finish(&self) -> LanguageProfile {
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        for text in &self.texts {
            if let Some(found) = whatlang::detect(text)
                && found.is_reliable()
            {
                *counts.entry(code(found.lang())).or_default() += 1;
            }
        }
        let all = self.texts.len().max(1) as f64;
        let known: u64 = counts.values().sum();
        let mut shares: Vec<LanguageShare> = counts
            .into_iter()
            .map(|(language, n)| LanguageShare {
                language: language.to_owned(),
                share: rounded(n as f64 / all),
            })
            .collect();
        shares.sort_by(|a, b| b.share.total_cmp(&a.share));
        LanguageProfile {
            sampled_rows: self.texts.len() as u64,
            sampled_bytes_per_row: self.bytes as u64,
            shares,
            unknown: rounded((self.texts.len() as u64 - known) as f64 / all),
        }
    }
}

/// A share to four digits: a sample says no more.
fn rounded(share: f64) -> f64 {
    (share * 1e4).round() / 1e4
}

/// A number that looks random (the finisher of SplitMix64).
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// ISO 639-1 where there is one, as needs have it; otherwise ISO 639-3.
fn code(language: Lang) -> &'static str {
    const SHORT: &[(&str, &str)] = &[
        ("afr", "af"),
        ("aka", "ak"),
        ("amh", "am"),
        ("ara", "ar"),
        ("aze", "az"),
        ("bel", "be"),
        ("ben", "bn"),
        ("bul", "bg"),
        ("cat", "ca"),
        ("ces", "cs"),
        ("cmn", "zh"),
        ("cym", "cy"),
        ("dan", "da"),
        ("deu", "de"),
        ("ell", "el"),
        ("eng", "en"),
        ("epo", "eo"),
        ("est", "et"),
        ("fin", "fi"),
        ("fra", "fr"),
        ("guj", "gu"),
        ("heb", "he"),
        ("hin", "hi"),
        ("hrv", "hr"),
        ("hun", "hu"),
        ("hye", "hy"),
        ("ind", "id"),
        ("ita", "it"),
        ("jav", "jv"),
        ("jpn", "ja"),
        ("kan", "kn"),
        ("kat", "ka"),
        ("khm", "km"),
        ("kor", "ko"),
        ("lat", "la"),
        ("lav", "lv"),
        ("lit", "lt"),
        ("mal", "ml"),
        ("mar", "mr"),
        ("mkd", "mk"),
        ("mya", "my"),
        ("nep", "ne"),
        ("nld", "nl"),
        ("nob", "nb"),
        ("ori", "or"),
        ("pan", "pa"),
        ("pes", "fa"),
        ("pol", "pl"),
        ("por", "pt"),
        ("ron", "ro"),
        ("rus", "ru"),
        ("sin", "si"),
        ("slk", "sk"),
        ("slv", "sl"),
        ("sna", "sn"),
        ("spa", "es"),
        ("srp", "sr"),
        ("swe", "sv"),
        ("tam", "ta"),
        ("tel", "te"),
        ("tgl", "tl"),
        ("tha", "th"),
        ("tuk", "tk"),
        ("tur", "tr"),
        ("ukr", "uk"),
        ("urd", "ur"),
        ("uzb", "uz"),
        ("vie", "vi"),
        ("yid", "yi"),
        ("zul", "zu"),
    ];
    let long = language.code();
    let at = SHORT.binary_search_by_key(&long, |(long, _)| *long);
    at.map_or(long, |i| SHORT[i].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: &str = "The quick brown fox jumps over the lazy dog while the others are watching it from the hill.";
    const FRENCH: &str = "Le petit chat dort sur la chaise pendant que les autres enfants jouent dans le jardin de la maison.";

    #[test]
    fn every_language_has_a_short_code() {
        for language in Lang::all() {
            assert_eq!(code(*language).len(), 2, "{}", language.code());
        }
    }

    #[test]
    fn the_sample_is_spread_and_bounded() {
        let mut sample = Sample::new(200, 80);
        // The second language comes only in the last quarter.
        for row in 0..40_000 {
            sample.add(if row < 30_000 { ENGLISH } else { FRENCH });
        }
        assert_eq!(sample.texts.len(), 200);
        assert!(sample.texts.iter().all(|t| t.len() <= 80));
        let found = sample.finish();
        let share = |l: &str| {
            let of = found.shares.iter().find(|s| s.language == l);
            of.map_or(0.0, |s| s.share)
        };
        // Three standard errors of a share of one in four among 200.
        assert!((share("fr") - 0.25).abs() < 0.092, "{found:?}");
        assert!((share("en") - 0.75).abs() < 0.092, "{found:?}");
    }

    #[test]
    fn what_is_no_language_is_unknown() {
        let mut sample = Sample::new(10, 100);
        sample.add("");
        sample.add("   ");
        sample.add("12345 67890");
        let found = sample.finish();
        assert_eq!((found.sampled_rows, found.unknown), (1, 1.0));
        assert!(found.shares.is_empty());
        let none = Sample::new(10, 100).finish();
        assert_eq!((none.sampled_rows, none.unknown), (0, 0.0));
    }
}
