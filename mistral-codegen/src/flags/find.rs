//! Commands of engines in a text of any kind: scripts, pages, manifests.

use super::words::is_flag;

/// A command or list of arguments in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The line that it begins on, from 1.
    pub(super) line: usize,
    /// The engine whose arguments they are.
    pub(super) engine: &'static str,
    /// What follows the program.
    pub(super) words: Vec<String>,
}

/// What starts an engine: the words before its arguments, and the engine.
const STARTS: &[(&str, &str)] = &[
    ("vllm serve", "vllm"),
    ("vllm.entrypoints.openai.api_server", "vllm"),
    ("vllm/vllm-openai", "vllm"),
    ("sglang serve", "sglang"),
    ("sglang.launch_server", "sglang"),
    ("trtllm-serve", "tensorrt-llm"),
    ("llama-server", "llama-server"),
    ("llama.cpp:server", "llama-server"),
    ("guidellm run", "guidellm"),
];

/// Lines that one command or list may have: longer ones are cut there.
const MOST_LINES: usize = 400;

/// The words of a command line as a shell would part them, up to the first `|`, `;`, `&`, `>` or
/// comment; lines that a backslash continues are one.
///
/// ```
/// let words = mistral_codegen::flags::command_words("vllm serve 'a b' --port 8000 | tee log");
/// assert_eq!(words, ["vllm", "serve", "a b", "--port", "8000"]);
/// ```
#[must_use]
pub fn command_words(line: &str) -> Vec<String> {
    split(line, false)
}

/// Every command in `text`, in the order of its lines.
pub(super) fn commands(text: &str) -> Vec<Found> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (joined, next) = join(&lines, at);
        in_line(&joined, at + 1, &mut found);
        at = next;
    }
    let named = only_engine(text);
    lists(&lines, named, &mut found);
    found
}

/// A line with those that a backslash continues it by; blank or commented lines in between end it.
fn join(lines: &[&str], from: usize) -> (String, usize) {
    let mut joined = String::new();
    for (i, line) in lines.iter().enumerate().skip(from).take(MOST_LINES) {
        match line.trim_end().strip_suffix('\\') {
            Some(part) => {
                joined.push_str(part);
                joined.push(' ');
            }
            None => {
                joined.push_str(line);
                return (joined, i + 1);
            }
        }
    }
    (joined, (from + MOST_LINES).min(lines.len()))
}

/// The commands of one logical line.
fn in_line(line: &str, number: usize, found: &mut Vec<Found>) {
    for (start, engine) in STARTS {
        let mut from = 0;
        while let Some(at) = line[from..].find(start).map(|at| at + from) {
            let end = at + start.len();
            from = end;
            let before = line[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || "-_.".contains(c)) {
                continue;
            }
            let mut rest = &line[end..];
            if start.contains('/') || start.contains(':') {
                // The rest of an image's name; a page about the image has none of its arguments.
                let name = rest.find(|c: char| c.is_whitespace() || c == '`' || c == '"');
                rest = name.map_or("", |name| &rest[name..]);
                if !line[..at].contains("run ") {
                    continue;
                }
            } else if rest.starts_with(|c: char| !c.is_whitespace()) {
                continue;
            }
            let words = split(rest, line[..at].contains('`'));
            if words.iter().any(|word| is_flag(word)) {
                found.push(Found {
                    line: number,
                    engine,
                    words,
                });
            }
        }
    }
}

/// The words of a command as a shell would part them, up to what ends it. Inside a page's code the
/// closing backtick ends it, too.
fn split(text: &str, in_code: bool) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '`' if in_code => break,
            '|' | ';' | '&' | '>' => break,
            '#' if word.is_none() => break,
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(inner) if inner == c => break,
                        Some('\\') if c == '"' => word.extend(chars.next()),
                        Some(inner) => word.push(inner),
                        None => {
                            // It goes on in lines that aren't read: nothing can be said of it.
                            word.push('…');
                            break;
                        }
                    }
                }
            }
            '\\' => match chars.next() {
                Some(next) if !next.is_whitespace() => {
                    word.get_or_insert_default().push(next);
                }
                _ => words.extend(word.take()),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The engine that a text names, when it names one only.
fn only_engine(text: &str) -> Option<&'static str> {
    let names = [
        ("vllm", "vllm"),
        ("sglang", "sglang"),
        ("llama-server", "llama-server"),
        ("trtllm", "tensorrt-llm"),
    ];
    let lower = text.to_ascii_lowercase();
    let mut named = names.iter().filter(|(name, _)| lower.contains(name));
    match (named.next(), named.next()) {
        (Some((_, engine)), None) => Some(engine),
        _ => None,
    }
}

/// Lists of arguments in YAML and JSON: under a key that ends in `args` or `command`, or beginning
/// with the engine's own program.
fn lists(lines: &[&str], named: Option<&'static str>, found: &mut Vec<Found>) {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let key = line.trim_start().trim_start_matches("- ");
        let Some((key, rest)) = key.split_once(':') else {
            at += 1;
            continue;
        };
        let key = key.trim_matches(['"', '\'']);
        if !(key.ends_with("args") || key == "command" || key == "cmd") {
            at += 1;
            continue;
        }
        let (items, next) = if rest.trim_start().starts_with('[') {
            flow(lines, at)
        } else if rest.trim().is_empty() {
            block(lines, at)
        } else {
            (Vec::new(), at + 1)
        };
        let words: Vec<String> = items.iter().flat_map(|item| apart(item)).collect();
        // A program's own words tell the engine; else the page does.
        let joined = words.join(" ");
        let own = STARTS.iter().find(|(start, _)| joined.contains(start));
        let begins = words.first().is_some_and(|word| is_flag(word));
        let engine = own.map(|(_, engine)| *engine).or(named.filter(|_| begins));
        // A shell's script in a list is a line of its own and has been read as one.
        let script = words
            .iter()
            .any(|word| word.contains("vllm serve") || word.contains('\n'));
        if let (Some(engine), false) = (engine, script)
            && words.iter().any(|word| is_flag(word))
        {
            found.push(Found {
                line: at + 1,
                engine,
                words,
            });
        }
        at = next.max(at + 1);
    }
}

/// A flag and its value that stand in one item, as whoever joins items by spaces writes them.
fn apart(item: &str) -> Vec<String> {
    match item.split_once(' ') {
        Some((flag, value)) if is_flag(flag) && !flag.contains('=') => {
            vec![flag.to_owned(), value.trim().to_owned()]
        }
        _ => vec![item.to_owned()],
    }
}

/// Items `- word` below a key.
fn block(lines: &[&str], key: usize) -> (Vec<String>, usize) {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let base = indent(lines[key]);
    let mut words = Vec::new();
    let mut at = key + 1;
    while let Some(line) = lines.get(at).filter(|_| at < key + MOST_LINES) {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            at += 1;
            continue;
        }
        let Some(item) = text.strip_prefix("- ").filter(|_| indent(line) >= base) else {
            break;
        };
        words.extend(scalar(item));
        at += 1;
    }
    (words, at)
}

/// Items of `[…]`, over lines.
fn flow(lines: &[&str], key: usize) -> (Vec<String>, usize) {
    let mut text = String::new();
    let mut at = key;
    while let Some(line) = lines.get(at).filter(|_| at < key + MOST_LINES) {
        text.push_str(line);
        text.push(' ');
        at += 1;
        if line.trim_end().trim_end_matches(',').ends_with(']') {
            break;
        }
    }
    let Some(inside) = text.split_once('[').map(|(_, inside)| inside) else {
        return (Vec::new(), at);
    };
    let mut words = Vec::new();
    let mut chars = inside.chars().peekable();
    let mut plain = String::new();
    while let Some(c) = chars.next() {
        match c {
            ']' => break,
            ',' => {
                if !plain.trim().is_empty() {
                    words.push(plain.trim().to_owned());
                }
                plain.clear();
            }
            '"' | '\'' => {
                let mut word = String::new();
                while let Some(inner) = chars.next() {
                    match inner {
                        inner if inner == c => break,
                        '\\' if c == '"' => word.extend(chars.next()),
                        inner => word.push(inner),
                    }
                }
                words.push(word);
                plain.clear();
            }
            c => plain.push(c),
        }
    }
    if !plain.trim().is_empty() {
        words.push(plain.trim().to_owned());
    }
    (words, at)
}

/// A scalar of a block list; a plain one without its comment.
fn scalar(item: &str) -> Option<String> {
    let item = item.trim();
    for quote in ['"', '\''] {
        if let Some(inside) = item.strip_prefix(quote) {
            let end = inside.rfind(quote)?;
            let inside = &inside[..end];
            return Some(if quote == '"' {
                inside.replace("\\\"", "\"").replace("\\\\", "\\")
            } else {
                inside.replace("''", "'")
            });
        }
    }
    let plain = item
        .split_once(" #")
        .map_or(item, |(plain, _)| plain)
        .trim();
    (!plain.is_empty()).then(|| plain.to_owned())
}
