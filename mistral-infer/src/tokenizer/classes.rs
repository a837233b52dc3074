//! Unicode general categories, as far as the tekken pattern names them.

use std::sync::OnceLock;

use regex_syntax::hir::{Class, HirKind};

/// `\p{Lu}` or `\p{Lt}`: an upper-case letter that is not also in the lower set.
pub(super) const UPPER: u8 = 1;
/// `\p{Ll}`: a lower-case letter.
pub(super) const LOWER: u8 = 2;
/// `\p{Lm}` or `\p{Lo}`: a letter in both the upper and the lower set of the pattern.
pub(super) const OTHER_LETTER: u8 = 4;
/// `\p{M}`: a mark, in both sets and no letter.
pub(super) const MARK: u8 = 8;
/// `\p{N}`.
pub(super) const NUMBER: u8 = 16;
/// `\s`.
pub(super) const SPACE: u8 = 32;
/// Carriage return or line feed.
pub(super) const NEWLINE: u8 = 64;

const PAGE: usize = 256;
const PAGES: usize = 0x11_0000 / PAGE;

/// One byte of class bits for each code point, in shared pages of 256.
pub(super) struct Classes {
    ascii: [u8; 128],
    page_of: Vec<u16>,
    pages: Vec<[u8; PAGE]>,
}

impl Classes {
    /// The table, built from the Unicode data of `regex-syntax` at first use.
    pub(super) fn get() -> &'static Self {
        static TABLE: OnceLock<Classes> = OnceLock::new();
        TABLE.get_or_init(Self::build)
    }

    fn build() -> Self {
        let mut flat = vec![0u8; PAGES * PAGE];
        let categories = [
            (r"[\p{Lu}\p{Lt}]", UPPER),
            (r"\p{Ll}", LOWER),
            (r"[\p{Lm}\p{Lo}]", OTHER_LETTER),
            (r"\p{M}", MARK),
            (r"\p{N}", NUMBER),
            (r"\s", SPACE),
            (r"[\r\n]", NEWLINE),
        ];
        for (pattern, bit) in categories {
            let hir = regex_syntax::parse(pattern).expect("the pattern is one Unicode class");
            let HirKind::Class(Class::Unicode(class)) = hir.kind() else {
                unreachable!("{pattern} is a class of more than one character");
            };
            for range in class.ranges() {
                for entry in &mut flat[range.start() as usize..=range.end() as usize] {
                    *entry |= bit;
                }
            }
        }
        let mut pages: Vec<[u8; PAGE]> = Vec::new();
        let page_of = flat
            .chunks_exact(PAGE)
            .map(|chunk| {
                let at = pages
                    .iter()
                    .position(|page| page == chunk)
                    .unwrap_or_else(|| {
                        pages.push(chunk.try_into().expect("chunks_exact gives a whole page"));
                        pages.len() - 1
                    });
                at as u16
            })
            .collect();
        let ascii = flat[..128]
            .try_into()
            .expect("the table is longer than 128");
        Self {
            ascii,
            page_of,
            pages,
        }
    }

    /// The class bits of the character that starts at byte `at`, and its length in bytes; `None` at
    /// the end of the text.
    #[inline]
    pub(super) fn at(&self, text: &str, at: usize) -> Option<(u8, usize)> {
        let first = *text.as_bytes().get(at)?;
        if first < 128 {
            return Some((self.ascii[first as usize], 1));
        }
        let c = text[at..].chars().next()?;
        let code = c as usize;
        let page = self.page_of[code / PAGE] as usize;
        Some((self.pages[page][code % PAGE], c.len_utf8()))
    }
}
