//! From the text of a page to its sections.

use super::{Block, BlockKind, Link, Page, Section, mdx, slug};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use std::collections::BTreeMap;
use std::ops::Range;

/// Reads a page. Total: any text gives a page, broken marks are text.
#[must_use]
pub fn read(path: &str, source: &str) -> Page {
    let flat = mdx::flatten(source);
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS;
    let mut reader = Reader::new(&flat.text, flat.named);
    for (event, span) in Parser::new_ext(&flat.text, options).into_offset_iter() {
        reader.event(event, span);
    }
    let (sections, links, anchors) = reader.finish();
    let front = |key: &str| {
        flat.front
            .iter()
            .find(|(k, v)| k == key && !v.is_empty())
            .map(|(_, value)| value.clone())
    };
    let heading = sections
        .iter()
        .find(|s| s.level == 1 && !s.heading.is_empty());
    let name = path.rsplit('/').next().unwrap_or(path);
    let title = front("title")
        .or_else(|| heading.map(|s| s.heading.clone()))
        .unwrap_or_else(|| name.split('.').next().unwrap_or(name).to_owned());
    Page {
        path: path.to_owned(),
        title,
        description: front("description").unwrap_or_default(),
        sections,
        links,
        anchors,
    }
}

/// What the text of the moment belongs to.
enum Holder {
    Heading { level: u8, id: Option<String> },
    Paragraph,
    Item,
    Code { language: String },
    Cell,
}

struct Reader {
    /// Byte at which each line begins.
    starts: Vec<usize>,
    sections: Vec<Section>,
    links: Vec<Link>,
    named: mdx::Named,
    holder: Option<Holder>,
    text: String,
    begin: usize,
    items: usize,
    header: Vec<String>,
    row: Vec<String>,
    in_header: bool,
    /// Links that are open: target, line, and where their words begin in `text`.
    open_links: Vec<(String, usize, usize)>,
    /// Anchors that are taken, with the last number behind each.
    anchors: BTreeMap<String, usize>,
    /// Headings above the next one; at most six.
    above: Vec<(u8, String)>,
}

impl Reader {
    fn new(text: &str, named: mdx::Named) -> Self {
        let starts: Vec<usize> = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        let end = starts.len();
        Self {
            starts,
            sections: vec![Section {
                heading: String::new(),
                level: 0,
                anchor: String::new(),
                trail: Vec::new(),
                blocks: Vec::new(),
                lines: 1..end,
            }],
            links: Vec::new(),
            named,
            holder: None,
            text: String::new(),
            begin: 1,
            items: 0,
            header: Vec::new(),
            row: Vec::new(),
            in_header: false,
            open_links: Vec::new(),
            anchors: BTreeMap::new(),
            above: Vec::new(),
        }
    }

    fn line(&self, byte: usize) -> usize {
        self.starts.partition_point(|&start| start <= byte)
    }

    fn event(&mut self, event: Event, span: Range<usize>) {
        match event {
            Event::Start(tag) => self.start(tag, span),
            Event::End(tag) => self.stop(tag, span),
            Event::Text(text) | Event::Code(text) => self.text.push_str(&text),
            Event::InlineHtml(tag) | Event::Html(tag) => {
                let line = self.line(span.start);
                self.named.tag(&tag, line);
            }
            Event::SoftBreak | Event::HardBreak => {
                let code = matches!(self.holder, Some(Holder::Code { .. }));
                self.text.push(if code { '\n' } else { ' ' });
            }
            _ => {}
        }
    }

    fn hold(&mut self, holder: Holder, span: &Range<usize>) {
        self.flush(span.start);
        self.holder = Some(holder);
        self.begin = self.line(span.start);
    }

    fn start(&mut self, tag: Tag, span: Range<usize>) {
        match tag {
            Tag::Heading { level, id, .. } => {
                let level = level_number(level);
                let id = id.map(|id| id.to_string());
                self.hold(Holder::Heading { level, id }, &span);
            }
            Tag::Paragraph if self.items == 0 => self.hold(Holder::Paragraph, &span),
            Tag::Paragraph => {
                if self.holder.is_none() {
                    self.hold(Holder::Item, &span);
                } else if !self.text.is_empty() {
                    self.text.push(' ');
                }
            }
            Tag::Item => {
                self.items += 1;
                self.hold(Holder::Item, &span);
            }
            Tag::CodeBlock(kind) => {
                let language = match kind {
                    CodeBlockKind::Fenced(info) => info
                        .split([' ', ',', '{'])
                        .next()
                        .unwrap_or("")
                        .to_lowercase(),
                    CodeBlockKind::Indented => String::new(),
                };
                self.hold(Holder::Code { language }, &span);
            }
            Tag::TableHead => {
                self.in_header = true;
                self.header.clear();
                self.row.clear();
            }
            Tag::TableRow => self.row.clear(),
            Tag::TableCell => self.hold(Holder::Cell, &span),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                let line = self.line(span.start);
                self.open_links
                    .push((dest_url.to_string(), line, self.text.len()));
            }
            _ => {}
        }
    }

    fn stop(&mut self, tag: TagEnd, span: Range<usize>) {
        match tag {
            TagEnd::Paragraph if self.items > 0 => {}
            TagEnd::Heading(_) | TagEnd::Paragraph | TagEnd::CodeBlock => self.flush(span.end),
            TagEnd::Item => {
                self.flush(span.end);
                self.items = self.items.saturating_sub(1);
            }
            TagEnd::TableCell => {
                self.holder = None;
                let cell = std::mem::take(&mut self.text).trim().to_owned();
                if self.in_header {
                    self.header.push(cell);
                } else {
                    self.row.push(cell);
                }
            }
            TagEnd::TableHead => self.in_header = false,
            TagEnd::TableRow => self.push_row(span),
            TagEnd::Link | TagEnd::Image => {
                if let Some((target, line, from)) = self.open_links.pop() {
                    let text = self.text.get(from..).unwrap_or("").to_owned();
                    self.links.push(Link { target, text, line });
                }
            }
            _ => {}
        }
    }

    fn push_row(&mut self, span: Range<usize>) {
        let cells: Vec<String> = self
            .row
            .iter()
            .enumerate()
            .filter(|(_, cell)| !cell.is_empty())
            .map(|(at, cell)| match self.header.get(at) {
                Some(name) if !name.is_empty() => format!("{name}: {cell}"),
                _ => cell.clone(),
            })
            .collect();
        let first = self.line(span.start);
        self.push(BlockKind::Row, cells.join("; "), first..first + 1);
    }

    /// Ends what is being held; `end` is the byte behind it.
    fn flush(&mut self, end: usize) {
        let Some(holder) = self.holder.take() else {
            self.text.clear();
            return;
        };
        let text = std::mem::take(&mut self.text);
        let last = self.line(end.saturating_sub(1)).max(self.begin);
        let lines = self.begin..last + 1;
        match holder {
            Holder::Heading { level, id } => self.heading(level, id, text.trim(), lines),
            Holder::Paragraph => self.push(BlockKind::Paragraph, text.trim().to_owned(), lines),
            Holder::Item => self.push(BlockKind::Item, text.trim().to_owned(), lines),
            Holder::Code { language } => {
                let text = text.trim_end_matches('\n').to_owned();
                self.push(BlockKind::Code { language }, text, lines);
            }
            Holder::Cell => {}
        }
    }

    fn heading(&mut self, level: u8, id: Option<String>, text: &str, lines: Range<usize>) {
        self.above.retain(|(above, _)| *above < level);
        let trail = self
            .above
            .iter()
            .map(|(_, heading)| heading.clone())
            .collect();
        self.above.push((level, text.to_owned()));
        let base = id.unwrap_or_else(|| slug(text));
        let anchor = self.unused(base);
        if let Some(last) = self.sections.last_mut() {
            last.lines.end = lines.start;
        }
        self.sections.push(Section {
            heading: text.to_owned(),
            level,
            anchor,
            trail,
            blocks: Vec::new(),
            lines: lines.start..self.starts.len(),
        });
    }

    /// The anchor itself, or the first of `anchor-1`, `anchor-2` … that no section has: as GitHub numbers them.
    fn unused(&mut self, anchor: String) -> String {
        let mut count = self.anchors.get(&anchor).copied().unwrap_or(0);
        let mut found = anchor.clone();
        while self.anchors.contains_key(&found) {
            count += 1;
            found = format!("{anchor}-{count}");
        }
        self.anchors.insert(anchor, count);
        self.anchors.entry(found.clone()).or_insert(0);
        found
    }

    fn push(&mut self, kind: BlockKind, text: String, lines: Range<usize>) {
        if text.is_empty() {
            return;
        }
        let section = self.sections.last_mut().expect("one is made at the start");
        section.blocks.push(Block { kind, text, lines });
    }

    fn finish(mut self) -> (Vec<Section>, Vec<Link>, Vec<String>) {
        let end = self.starts.last().copied().unwrap_or(0);
        self.flush(end);
        self.links.append(&mut self.named.links);
        self.links.sort_by_key(|link| link.line);
        (self.sections, self.links, self.named.anchors)
    }
}

const fn level_number(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}
