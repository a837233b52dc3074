//! Markdown and MDX as pages of sections: headings, questions of an FAQ, paragraphs, items, rows, code, links,
//! each with the lines at which it stands.
//!
//! ```
//! let page = mistral_docgen::markdown::read("guide.md", "# Guide\n\n## Install\n\nRun `pip install x`.\n");
//! assert_eq!(page.title, "Guide");
//! assert_eq!(page.sections[2].anchor, "install");
//! assert_eq!(page.sections[2].blocks[0].text, "Run pip install x.");
//! ```

mod mdx;
mod read;

pub use read::read;

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// One file of documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Where it lies, relative to the corpus, with `/`.
    pub path: String,
    /// The front matter's title, else the first heading of level 1, else the file's name.
    pub title: String,
    /// The front matter's description; empty where there is none.
    pub description: String,
    /// In order of appearance; the first holds what stands before any heading.
    pub sections: Vec<Section>,
    /// Every link and image of the page by line, tags with an `href` included.
    pub links: Vec<Link>,
    /// Fragments that tags name besides the sections' anchors (`<a id="x">`).
    pub anchors: Vec<String>,
}

/// What stands below one heading, up to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Its heading or question; empty before the first.
    pub heading: String,
    /// 1 to 6; 0 before the first heading.
    pub level: u8,
    /// The fragment under which a page links to it; unique on its page, empty before the first heading.
    pub anchor: String,
    /// Headings above it, from the outside.
    pub trail: Vec<String>,
    /// Its content.
    pub blocks: Vec<Block>,
    /// Lines of the file from its heading on, counted from 1, the end excluded.
    pub lines: Range<usize>,
}

/// One piece of a section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What it is.
    pub kind: BlockKind,
    /// Its text without marks; rows as `header: cell; header: cell`.
    pub text: String,
    /// Lines of the file, counted from 1, the end excluded.
    pub lines: Range<usize>,
}

/// The kinds of [`Block`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// A paragraph or a quote.
    Paragraph,
    /// An item of a list.
    Item,
    /// A row of a table.
    Row,
    /// A block of code, with the language that its fence names; empty where it names none.
    Code {
        /// The first word of the fence, in lower case.
        language: String,
    },
}

/// A reference from a page to somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// As written.
    pub target: String,
    /// Its words.
    pub text: String,
    /// The line on which it begins, counted from 1.
    pub line: usize,
}

/// The fragment that GitHub makes of a heading.
#[must_use]
pub fn slug(heading: &str) -> String {
    let mut slug = String::with_capacity(heading.len());
    for c in heading.trim().chars() {
        if c.is_alphanumeric() || c == '_' || c == '-' {
            slug.extend(c.to_lowercase());
        } else if c.is_whitespace() {
            slug.push('-');
        }
    }
    slug
}
