//! Links between pages: does the page exist, and does it have the heading?

use crate::corpus::Corpus;
use crate::markdown::{Link, Page};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What was found about the links of a corpus.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// Links to pages and headings of the corpus that were looked up.
    pub checked: usize,
    /// Links that leave the corpus: another host, mail, data. Not looked up.
    pub external: usize,
    /// Links to files that aren't pages, such as images. Not looked up.
    pub files: usize,
    /// Links below a path that the caller named as served from elsewhere. Not looked up.
    pub served: usize,
    /// Links that lead nowhere, by page and line.
    pub broken: Vec<BrokenLink>,
}

/// A link that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BrokenLink {
    /// The page on which it stands, with its language's folder where there are several.
    pub page: String,
    /// The line, counted from 1.
    pub line: usize,
    /// As written.
    pub target: String,
    /// What is wrong.
    pub problem: LinkProblem,
}

/// Why a link leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LinkProblem {
    /// No page of the corpus has this path.
    NoPage,
    /// A page has this path but for capitals.
    Capitals {
        /// Its path.
        page: String,
    },
    /// The page is there and has no such heading.
    NoAnchor {
        /// The page's path.
        page: String,
    },
}

/// Looks up every link of every page in the pages of its language.
///
/// A path that begins with `/` counts from the corpus or from the page's first folder (a corpus may hold several
/// sites); another path from the page's folder, or, as sites without endings are served, from the page itself.
/// `x`, `x.md`, `x.mdx`, `x/index` and `x/README` name the same page. `served` are paths such as `/api` whose pages
/// another program makes: what lies at or below them is counted only.
#[must_use]
pub fn check(corpus: &Corpus, served: &[&str]) -> LinkReport {
    let mut report = LinkReport::default();
    let languages: BTreeSet<&str> = corpus.pages.iter().map(|p| p.language.as_str()).collect();
    for &language in &languages {
        let pages = corpus.pages.iter().filter(|p| p.language == language);
        let site = Site::new(pages.clone().map(|p| &p.page), served);
        for page in pages {
            let name = if languages.len() > 1 {
                format!("{language}/{}", page.page.path)
            } else {
                page.page.path.clone()
            };
            for link in &page.page.links {
                site.check(&page.page, link, &name, &mut report);
            }
        }
    }
    report.broken.sort();
    report
}

/// Pages of one language by the names under which links know them.
struct Site<'a> {
    routes: BTreeMap<String, &'a Page>,
    /// The same in small letters.
    folded: BTreeMap<String, &'a Page>,
    anchors: BTreeMap<&'a str, BTreeSet<&'a str>>,
    served: &'a [&'a str],
}

impl<'a> Site<'a> {
    fn new(pages: impl Iterator<Item = &'a Page>, served: &'a [&'a str]) -> Self {
        let mut site = Self {
            routes: BTreeMap::new(),
            folded: BTreeMap::new(),
            anchors: BTreeMap::new(),
            served,
        };
        for page in pages {
            let route = route(&page.path);
            site.folded.entry(route.to_lowercase()).or_insert(page);
            site.routes.entry(route).or_insert(page);
            let sections = page.sections.iter().map(|s| s.anchor.as_str());
            let anchors = sections.chain(page.anchors.iter().map(String::as_str));
            site.anchors.insert(&page.path, anchors.collect());
        }
        site
    }

    fn check(&self, page: &Page, link: &Link, name: &str, report: &mut LinkReport) {
        let target = link.target.trim();
        if is_external(target) {
            report.external += 1;
            return;
        }
        let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
        let path = path.split('?').next().unwrap_or("");
        if is_file(path) {
            report.files += 1;
            return;
        }
        let below = |prefix: &&str| {
            path.strip_prefix(*prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if self.served.iter().any(below) {
            report.served += 1;
            return;
        }
        report.checked += 1;
        let problem = match self.find(page, path) {
            Ok(found) => self.anchor(found, fragment).err(),
            Err(problem) => Some(problem),
        };
        if let Some(problem) = problem {
            report.broken.push(BrokenLink {
                page: name.to_owned(),
                line: link.line,
                target: link.target.clone(),
                problem,
            });
        }
    }

    fn find(&self, page: &'a Page, path: &str) -> Result<&'a Page, LinkProblem> {
        if path.is_empty() {
            return Ok(page);
        }
        let routes = candidates(&page.path, &decode(path));
        if let Some(found) = routes.iter().find_map(|route| self.routes.get(route)) {
            return Ok(found);
        }
        let folded = routes
            .iter()
            .find_map(|route| self.folded.get(&route.to_lowercase()));
        Err(
            folded.map_or(LinkProblem::NoPage, |found| LinkProblem::Capitals {
                page: found.path.clone(),
            }),
        )
    }

    fn anchor(&self, page: &Page, fragment: &str) -> Result<(), LinkProblem> {
        let fragment = decode(fragment);
        let known = fragment.is_empty()
            || fragment == "top"
            || self.anchors[page.path.as_str()].contains(fragment.as_str());
        if known {
            return Ok(());
        }
        Err(LinkProblem::NoAnchor {
            page: page.path.clone(),
        })
    }
}

/// The name of a page without its ending, and without `index` or `README`.
fn route(path: &str) -> String {
    let end = path.len();
    let bare = [".mdx", ".md"]
        .iter()
        .find(|ending| {
            path.get(end.saturating_sub(ending.len())..)
                .is_some_and(|tail| tail.eq_ignore_ascii_case(ending))
        })
        .map_or(path, |ending| &path[..end - ending.len()]);
    match bare.rsplit_once('/') {
        Some((folder, "index" | "README")) => folder.to_owned(),
        None if matches!(bare, "index" | "README") => String::new(),
        _ => bare.to_owned(),
    }
}

/// The routes that a path on this page may mean, the likeliest first.
fn candidates(page: &str, path: &str) -> Vec<String> {
    let folders: Vec<&str> = page.split('/').collect();
    let folders = &folders[..folders.len() - 1];
    let mut bases: Vec<String> = Vec::new();
    let relative = match path.strip_prefix('/') {
        Some(rest) => {
            bases.push(String::new());
            bases.extend(folders.first().map(|site| (*site).to_owned()));
            rest
        }
        None => {
            bases.push(folders.join("/"));
            bases.push(route(page));
            path
        }
    };
    bases
        .iter()
        .filter_map(|base| join(base, relative))
        .map(|joined| route(&joined))
        .collect()
}

/// `base/path` with `.` and `..` taken out; nothing where it leaves the corpus.
fn join(base: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// A scheme (`https:`, `mailto:`) or a host (`//`), by RFC 3986, section 3.
fn is_external(target: &str) -> bool {
    let scheme = target.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    scheme || target.starts_with("//")
}

/// Whether the path names a file that isn't a page: it ends in letters behind a point, other than a page's, or is all
/// in capitals (`LICENCE`).
fn is_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name.len() > 1 && name.chars().all(|c| c.is_ascii_uppercase()) {
        return true;
    }
    name.rsplit_once('.').is_some_and(|(stem, ending)| {
        !stem.is_empty()
            && (1..=5).contains(&ending.len())
            && ending.chars().all(|c| c.is_ascii_alphanumeric())
            && ending.starts_with(|c: char| c.is_ascii_alphabetic())
            && !["md", "mdx"].contains(&ending.to_lowercase().as_str())
    })
}

/// `%20` and the like as what they stand for; what isn't UTF-8 then stays as written.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = (digit(at + 1), digit(at + 2));
        if let (b'%', (Some(high), Some(low))) = (bytes[at], pair) {
            decoded.push((high * 16 + low) as u8);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}
