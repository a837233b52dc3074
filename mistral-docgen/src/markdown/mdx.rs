//! MDX as Markdown: tags that carry headings become headings, other tags go, and what they indented moves
//! back. Lines keep their numbers; code blocks keep their text.

use super::Link;

/// Tags whose attribute is the heading of what they hold, with the attributes' names.
const HEADINGS: &[(&str, &[&str])] = &[
    ("FaqItem", &["question"]),
    ("ExplorerTab", &["label", "title", "name"]),
    ("Accordion", &["title"]),
    ("details", &["summary"]),
];

/// HTML's elements without an end.
const VOID: &[&str] = &["br", "hr", "img", "input", "link", "meta"];

/// Most tags that are open at a time; further ones indent nothing. Each end looks for its beginning among them.
const MAX_OPEN: usize = 128;

/// Tags whose content is a heading.
const TITLED: &[&str] = &["SectionTab", "Heading"];

/// The page's front matter and its text as Markdown, line for line.
pub(super) struct Flat {
    pub(super) front: Vec<(String, String)>,
    pub(super) text: String,
    pub(super) named: Named,
}

/// What tags say of a page besides its text.
#[derive(Default)]
pub(super) struct Named {
    /// Values of `id` and `name`: fragments that lead somewhere.
    pub(super) anchors: Vec<String>,
    /// Values of `href`.
    pub(super) links: Vec<Link>,
}

impl Named {
    /// Takes what a tag, or one line of a tag, says. `line` counts from 1.
    pub(super) fn tag(&mut self, tag: &str, line: usize) {
        let tag = format!(" {}", tag.trim_start());
        for name in ["id", "name"] {
            self.anchors
                .extend(attribute(&tag, name).map(str::to_owned));
        }
        if let Some(target) = attribute(&tag, "href") {
            let text = attribute(&tag, "title").unwrap_or_default().to_owned();
            let target = target.to_owned();
            self.links.push(Link { target, text, line });
        }
    }
}

pub(super) fn flatten(source: &str) -> Flat {
    let lines: Vec<&str> = source
        .split('\n')
        .map(|l| l.trim_end_matches('\r'))
        .collect();
    let (front, start) = front_matter(&lines);
    let mut flattener = Flattener {
        out: vec![String::new(); start],
        open: Vec::new(),
        fence: None,
        level: 1,
        rest: Rest::None,
        named: Named::default(),
    };
    let mut at = start;
    while at < lines.len() {
        at = flattener.line(&lines, at);
    }
    let mut text = flattener.out.join("\n");
    text.push('\n');
    Flat {
        front,
        text,
        named: flattener.named,
    }
}

/// `key: value` lines between two `---`, and the line behind them.
fn front_matter(lines: &[&str]) -> (Vec<(String, String)>, usize) {
    if lines.first().map(|l| l.trim_end()) != Some("---") {
        return (Vec::new(), 0);
    }
    let Some(end) = lines.iter().skip(1).position(|l| l.trim_end() == "---") else {
        return (Vec::new(), 0);
    };
    let entries = lines[1..=end]
        .iter()
        .filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            let value = value.trim().trim_matches(['"', '\'']);
            Some((key.trim().to_owned(), value.to_owned()))
        })
        .collect();
    (entries, end + 2)
}

/// What a tag that was begun on an earlier line still swallows.
enum Rest {
    None,
    /// Attributes, up to the tag's `>`; whether the tag opens something, and its indentation.
    Tag(Scan, usize),
    /// An import or export, up to a line that ends it.
    Script,
}

struct Flattener {
    out: Vec<String>,
    /// Open tags with their indentations.
    open: Vec<(String, usize)>,
    fence: Option<(char, usize)>,
    level: usize,
    rest: Rest,
    named: Named,
}

impl Flattener {
    /// Takes the line `at` (or several) and returns the next.
    fn line(&mut self, lines: &[&str], at: usize) -> usize {
        let line = lines[at];
        if let Some((mark, length)) = self.fence {
            self.out.push(self.dedent(line));
            let trimmed = line.trim();
            if trimmed.chars().take_while(|&c| c == mark).count() >= length
                && trimmed.trim_start_matches(mark).is_empty()
            {
                self.fence = None;
            }
            return at + 1;
        }
        match std::mem::replace(&mut self.rest, Rest::None) {
            Rest::Tag(scan, indent) => {
                self.named.tag(line, at + 1);
                let after = self.tag(scan, line, indent);
                self.out.push(after);
                return at + 1;
            }
            Rest::Script => {
                if !line.contains(" from ") && !line.trim().is_empty() {
                    self.rest = Rest::Script;
                }
                self.out.push(String::new());
                return at + 1;
            }
            Rest::None => {}
        }
        let trimmed = line.trim_start();
        if let Some(mark) = trimmed.chars().next().filter(|c| matches!(c, '`' | '~')) {
            let length = trimmed.chars().take_while(|&c| c == mark).count();
            if length >= 3 {
                self.fence = Some((mark, length));
                self.out.push(self.dedent(line));
                return at + 1;
            }
        }
        if line.starts_with("import ") || line.starts_with("export ") {
            return self.script(line, at);
        }
        if let Some(directive) = trimmed.strip_prefix(":::") {
            self.out.push(directive_title(directive));
            return at + 1;
        }
        if is_tag(trimmed) {
            return self.tags(lines, at);
        }
        if let Some(level) = heading_level(trimmed) {
            self.level = level;
        }
        self.out.push(self.dedent(line));
        at + 1
    }

    fn script(&mut self, line: &str, at: usize) -> usize {
        let whole = line.contains(" from ")
            || line.trim_end().ends_with(';')
            || line.trim_start_matches("import ").starts_with(['"', '\'']);
        let opens = line.contains('{') && !line.contains('}');
        if whole || opens {
            if opens && !whole {
                self.rest = Rest::Script;
            }
            self.out.push(String::new());
        } else {
            self.out.push(line.to_owned());
        }
        at + 1
    }

    /// A line that begins with a tag.
    fn tags(&mut self, lines: &[&str], at: usize) -> usize {
        let line = lines[at];
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if let Some(name) = TITLED.iter().find(|n| tag_is(trimmed, n)) {
            let close = format!("</{name}>");
            let found = (at..lines.len().min(at + 10)).find(|&i| lines[i].contains(&close));
            if let Some(end) = found {
                let whole = lines[at..=end].join(" ");
                let heading = self.titled(whole.trim_start());
                self.out.push(heading);
                self.out.extend((at..end).map(|_| String::new()));
                return end + 1;
            }
        }
        let mut scan = Scan::default();
        scan.line(trimmed);
        let taken = if scan.done {
            &trimmed[..scan.end]
        } else {
            trimmed
        };
        self.named.tag(taken, at + 1);
        if !scan.done {
            if let Some(heading) = self.attribute_heading(trimmed) {
                self.out.push(heading);
            } else {
                self.out.push(String::new());
            }
            self.rest = Rest::Tag(scan, indent);
            return at + 1;
        }
        let heading = self.attribute_heading(trimmed);
        let rest = self.close(&scan, trimmed, indent);
        self.out.push(heading.unwrap_or(rest));
        at + 1
    }

    /// The next line of a tag whose end has not come yet; returns what stands behind its end.
    fn tag(&mut self, mut scan: Scan, line: &str, indent: usize) -> String {
        scan.line(line);
        if !scan.done {
            // A heading is looked for on the tag's first line only.
            self.rest = Rest::Tag(scan, indent);
            return String::new();
        }
        self.close(&scan, line, indent)
    }

    /// Books a tag that ended; returns the line's text without any tags that begin it.
    fn close(&mut self, scan: &Scan, line: &str, indent: usize) -> String {
        match scan.kind {
            Kind::Open if self.open.len() < MAX_OPEN => {
                self.open.push((scan.name.clone(), indent));
            }
            Kind::Open => {}
            // What was not closed inside of it ends with it; the end of nothing is passed over.
            Kind::Close => {
                if let Some(at) = self.open.iter().rposition(|(name, _)| *name == scan.name) {
                    self.open.truncate(at);
                }
            }
            Kind::Single => {}
        }
        let rest = line.get(scan.end..).unwrap_or("").trim();
        if rest.is_empty() {
            return String::new();
        }
        if is_tag(rest) && scan.depth < 64 {
            let mut next = Scan {
                depth: scan.depth + 1,
                ..Scan::default()
            };
            next.line(rest);
            let taken = if next.done { &rest[..next.end] } else { rest };
            self.named.tag(taken, self.out.len() + 1);
            if next.done {
                return self.close(&next, rest, indent);
            }
            self.rest = Rest::Tag(next, indent);
            return String::new();
        }
        // `<b>text</b>` opens and closes on its line; the parser drops what is left of it.
        if matches!(scan.kind, Kind::Open) && rest.contains("</") {
            self.open.pop();
        }
        rest.to_owned()
    }

    fn titled(&mut self, whole: &str) -> String {
        let level = attribute(whole, "as")
            .and_then(|a| a.strip_prefix('h')?.parse().ok())
            .filter(|l| (1..=6).contains(l))
            .unwrap_or(self.level + 1)
            .min(6);
        self.level = level;
        let mut scan = Scan::default();
        scan.line(whole);
        let content = whole.get(scan.end..).unwrap_or("");
        let content = content.rfind("</").map_or(content, |end| &content[..end]);
        let marks = "#".repeat(level);
        match attribute(whole, "sectionId").or_else(|| attribute(whole, "id")) {
            Some(id) if id.chars().all(|c| !c.is_whitespace() && c != '}') => {
                format!("{marks} {} {{#{id}}}", content.trim())
            }
            _ => format!("{marks} {}", content.trim()),
        }
    }

    fn attribute_heading(&self, tag: &str) -> Option<String> {
        let (_, names) = HEADINGS.iter().find(|(name, _)| tag_is(tag, name))?;
        let heading = names.iter().find_map(|name| attribute(tag, name))?;
        Some(format!("{} {heading}", "#".repeat((self.level + 1).min(6))))
    }

    /// The line moved back by what the tags around it indent.
    fn dedent(&self, line: &str) -> String {
        let Some(&(_, indent)) = self.open.last() else {
            return line.to_owned();
        };
        let white = line.len() - line.trim_start_matches([' ', '\t']).len();
        line[white.min(indent + 2)..].to_owned()
    }
}

/// `tip Title` of `:::tip Title`.
fn directive_title(directive: &str) -> String {
    let title = directive.trim_start_matches(':').trim();
    let words = title.split_once(char::is_whitespace).map_or("", |(_, t)| t);
    words.trim_matches(['[', ']', ' ']).to_owned()
}

fn heading_level(line: &str) -> Option<usize> {
    let level = line.chars().take_while(|&c| c == '#').count();
    ((1..=6).contains(&level) && line[level..].starts_with(' ')).then_some(level)
}

/// Whether the line begins with a tag: `<` before a letter, `/` or `>`, and no address in brackets. `<5 ms` is text.
fn is_tag(line: &str) -> bool {
    let Some(rest) = line.strip_prefix('<') else {
        return false;
    };
    let address = ["http://", "https://", "mailto:"];
    rest.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '>'))
        && !address.iter().any(|scheme| rest.starts_with(scheme))
}

/// Whether the line begins with an opening tag of this name.
fn tag_is(line: &str, name: &str) -> bool {
    line.strip_prefix('<')
        .and_then(|l| l.strip_prefix(name))
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
}

/// The value of `name="…"`, `name='…'` or `name={"…"}` in a tag.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let mut from = 0;
    while let Some(found) = tag[from..].find(name) {
        let at = from + found;
        from = at + name.len();
        let before = tag[..at].chars().next_back();
        if !before.is_some_and(char::is_whitespace) {
            continue;
        }
        let Some(value) = tag[from..].strip_prefix('=') else {
            continue;
        };
        let value = value.strip_prefix('{').unwrap_or(value);
        let quote = value
            .chars()
            .next()
            .filter(|c| matches!(c, '"' | '\'' | '`'))?;
        return value[1..].split(quote).next();
    }
    None
}

#[derive(Default, Clone, Copy)]
enum Kind {
    #[default]
    Open,
    Close,
    Single,
}

/// Where a tag ends: quotes and braces hide `>`.
#[derive(Default)]
struct Scan {
    quote: Option<char>,
    braces: usize,
    previous: char,
    started: bool,
    done: bool,
    kind: Kind,
    name: String,
    /// Byte behind `>` on the last line that was scanned.
    end: usize,
    /// How many tags stood before this one on its line.
    depth: usize,
}

impl Scan {
    fn line(&mut self, line: &str) {
        if !self.started {
            self.started = true;
            if line.starts_with("</") {
                self.kind = Kind::Close;
            }
            self.name = line
                .trim_start_matches(['<', '/'])
                .chars()
                .take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '-'))
                .take(64)
                .collect();
        }
        for (at, c) in line.char_indices() {
            match (self.quote, c) {
                (Some(quote), c) if quote == c => self.quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'' | '`') if self.previous == '=' || self.braces > 0 => {
                    self.quote = Some(c);
                }
                (None, '{') => self.braces += 1,
                (None, '}') => self.braces = self.braces.saturating_sub(1),
                (None, '>') if self.braces == 0 => {
                    self.done = true;
                    self.end = at + 1;
                    if self.previous == '/' || VOID.contains(&self.name.as_str()) {
                        self.kind = Kind::Single;
                    }
                    return;
                }
                _ => {}
            }
            self.previous = c;
        }
    }
}
