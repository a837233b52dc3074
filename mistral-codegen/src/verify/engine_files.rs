//! Files that only an engine reads, by parsers written after the engine's own: those are parts of
//! servers and can't be run alone.

use crate::flags::OLLAMA;

/// What a Modelfile says: each command in lower case (`model` for FROM, a parameter's name for
/// PARAMETER) with its argument, as `ParseFile` of Ollama's `parser/parser.go` at fb30760 reads it.
///
/// # Errors
/// What that parser refuses, and parameters that its options don't have or don't take so.
pub(super) fn modelfile(text: &str) -> Result<Vec<(String, String)>, String> {
    let commands = parsed(text)?;
    if !commands.iter().any(|(name, _)| name == "model") {
        return Err("no FROM line".to_owned());
    }
    for (name, value) in &commands {
        if !COMMANDS.contains(&name.as_str()) && name != "model" {
            let parameter = format!("PARAMETER {name}");
            let checked = OLLAMA.check(&parameter, Some(value));
            checked.map_err(|e| e.to_string())?;
        }
    }
    Ok(commands)
}

/// Commands, FROM and PARAMETER aside.
const COMMANDS: &[&str] = &[
    "license", "template", "system", "adapter", "draft", "renderer", "parser", "message",
    "requires",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Nil,
    Name,
    Value,
    Parameter,
    Message,
    Comment,
}

fn parsed(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut commands = Vec::new();
    let (mut state, mut line) = (State::Nil, 1);
    let (mut name, mut role) = (String::new(), String::new());
    let mut buffer = String::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for c in text.chars() {
        if is_newline(c) {
            line += 1;
        }
        let (mut next, kept) = step(state, c).map_err(|e| format!("line {line}: {e}"))?;
        if next != state {
            match state {
                State::Name => {
                    let word = buffer.to_ascii_lowercase();
                    match word.as_str() {
                        "from" => name = "model".to_owned(),
                        "parameter" => next = State::Parameter,
                        "message" => {
                            next = State::Message;
                            name = word;
                        }
                        known if COMMANDS.contains(&known) => name = word,
                        _ => return Err(format!("line {line}: no command {word:?}")),
                    }
                }
                State::Parameter => name.clone_from(&buffer),
                State::Message => {
                    if !matches!(buffer.as_str(), "system" | "user" | "assistant") {
                        return Err(format!("line {line}: no role {buffer:?}"));
                    }
                    role.clone_from(&buffer);
                }
                State::Value => match unquoted(buffer.trim()) {
                    // Quotes that are still open, and blanks, go on.
                    Some(value) if c != ' ' && c != '\t' => {
                        commands.push((name.clone(), with_role(&mut role, value)));
                    }
                    _ => {
                        buffer.push(c);
                        continue;
                    }
                },
                State::Comment | State::Nil => {}
            }
            buffer.clear();
            state = next;
        }
        // What isn't printable is dropped, as there.
        buffer.extend(kept.filter(|c| !c.is_control()));
    }
    match state {
        State::Comment | State::Nil => {}
        State::Value => match unquoted(buffer.trim()) {
            Some(value) => commands.push((name, with_role(&mut role, value))),
            None => return Err("the last text isn't closed".to_owned()),
        },
        _ => return Err("the last line isn't whole".to_owned()),
    }
    Ok(commands)
}

/// The next state, and the character if it is kept.
fn step(state: State, c: char) -> Result<(State, Option<char>), String> {
    let blank = c == ' ' || c == '\t';
    let unexpected = || Err(format!("unexpected {c:?}"));
    Ok(match state {
        State::Nil if c == '#' => (State::Comment, None),
        State::Nil if blank || is_newline(c) => (State::Nil, None),
        State::Nil => (State::Name, Some(c)),
        State::Name | State::Message if c.is_ascii_alphabetic() => (state, Some(c)),
        State::Parameter if c.is_ascii_alphanumeric() || c == '_' => (state, Some(c)),
        State::Name | State::Message | State::Parameter if blank => (State::Value, None),
        State::Name | State::Message | State::Parameter => return unexpected(),
        State::Value if is_newline(c) || blank => (State::Nil, Some(c)),
        State::Value => (State::Value, Some(c)),
        State::Comment if is_newline(c) => (State::Nil, None),
        State::Comment => (State::Comment, None),
    })
}

fn is_newline(c: char) -> bool {
    c == '\n' || c == '\r'
}

fn with_role(role: &mut String, value: &str) -> String {
    match std::mem::take(role) {
        role if role.is_empty() => value.to_owned(),
        role => format!("{role}: {value}"),
    }
}

/// A text without its quotes; `None` while they are open.
fn unquoted(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix("\"\"\"") {
        return rest.strip_suffix("\"\"\"");
    }
    match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(text),
    }
}

/// Whether an option takes a value.
type Fits = fn(&str) -> bool;

/// Options of TensorRT-LLM that are generated, by section, from the reference of its LLM API
/// (`KvCacheConfig` and `DecodeCudaGraphConfig` of 1.3.0rc27, 2026-11-23).
const OPTIONS: &[(&str, &str, Fits)] = &[
    ("kv_cache_config", "free_gpu_memory_fraction", |v| {
        v.parse::<f64>().is_ok_and(|x| (0.0..=1.0).contains(&x))
    }),
    ("kv_cache_config", "dtype", |v| {
        matches!(v, "\"auto\"" | "\"fp8\"" | "\"nvfp4\"")
    }),
    ("kv_cache_config", "enable_block_reuse", is_boolean),
    ("kv_cache_config", "max_tokens", is_count),
    ("kv_cache_config", "tokens_per_block", is_count),
    ("cuda_graph_config", "max_batch_size", is_count),
    ("cuda_graph_config", "enable_padding", is_boolean),
];

fn is_boolean(value: &str) -> bool {
    matches!(value, "true" | "false")
}

fn is_count(value: &str) -> bool {
    value.parse::<u32>().is_ok_and(|n| n > 0)
}

/// Checks a file of options: sections of scalars, each known.
pub(super) fn options(text: &str) -> Result<(), String> {
    let mut section = "";
    for (i, line) in text.lines().enumerate() {
        let at = i + 1;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line
            .split_once(':')
            .ok_or_else(|| format!("line {at}: expected a name and a value, found {line:?}"))?;
        match (key.strip_prefix("  "), value.trim()) {
            (None, "") if OPTIONS.iter().any(|(name, ..)| *name == key) => section = key,
            (None, _) => return Err(format!("line {at}: no section {key:?}")),
            (Some(key), value) => {
                let known = OPTIONS
                    .iter()
                    .find(|(of, name, _)| *of == section && *name == key)
                    .ok_or_else(|| format!("line {at}: {section} has no option {key:?}"))?;
                if !known.2(value) {
                    return Err(format!("line {at}: {key} doesn't take {value:?}"));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::quote;

    #[test]
    fn modelfiles() {
        let good = "# c\nFROM hf.co/a/b:Q4_K_M\nparameter num_ctx 4096\nSYSTEM \"\"\"a\n\"b\" c\"\"\"\n\
                    MESSAGE user hello there\nPARAMETER stop \"[/INST]\"";
        let found = modelfile(good).expect("good");
        let expected = [
            ("model", "hf.co/a/b:Q4_K_M"),
            ("num_ctx", "4096"),
            ("system", "a\n\"b\" c"),
            ("message", "user: hello there"),
            ("stop", "[/INST]"),
        ];
        let found: Vec<(&str, &str)> = found.iter().map(|(a, b)| (&**a, &**b)).collect();
        assert_eq!(found, expected);
        let bad = [
            ("PARAMETER num_ctx 1\n", "no FROM"),
            ("FROM a\nPARAMETER num_ctx many\n", "a whole number"),
            (
                "FROM a\nPARAMETER mirostat 1\n",
                "no flag PARAMETER mirostat",
            ),
            ("FROM a\nRUN b\n", "no command \"run\""),
            ("FROM a\nMESSAGE tool b\n", "no role"),
            ("FROM a\nSYSTEM \"\"\"b\n", "isn't closed"),
            ("FROM", "isn't whole"),
            ("FROM a\nPARAMETER temperature hot\n", "finite number"),
        ];
        for (text, part) in bad {
            let error = modelfile(text).expect_err(text);
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn options_files() {
        let good =
            "# c\nkv_cache_config:\n  dtype: \"auto\"\ncuda_graph_config:\n  max_batch_size: 4\n";
        options(good).expect("good");
        for (from, to, part) in [
            ("dtype", "data_type", "no option"),
            ("max_batch_size: 4", "max_batch_size: no", "doesn't take"),
            ("cuda_graph_config", "cuda_graphs", "no section"),
        ] {
            let error = options(&good.replace(from, to)).expect_err(to);
            assert!(error.contains(part), "{error}");
        }
    }

    proptest! {
        /// What the quoting wrote, the parser reads back.
        #[test]
        fn arguments_survive(text in "[\"'\\\\$`{}#:a \\n\\u{e9}\\u{1f980}\\u{202e}.\\-]{0,16}") {
            if let Ok(quoted) = quote::modelfile(&text) {
                let file = format!("FROM a\nSYSTEM {quoted}\nPARAMETER num_ctx 1\n");
                let read = modelfile(&file).map_err(TestCaseError::fail)?;
                prop_assert_eq!(read.len(), 3);
                // The parser trims a text without quotes only.
                prop_assert_eq!(&read[1].1, &text);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = modelfile(&text);
            let _ = options(&text);
        }
    }
}
