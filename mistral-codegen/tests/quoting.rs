//! What a reader of each format gets back is what went in.

use mistral_codegen::quote;
use proptest::prelude::*;

/// Texts that have broken other generators.
const HOSTILE: &[&str] = &[
    "",
    " ",
    "a b",
    "it's",
    "\"",
    "\\",
    "\\\"",
    "'; rm -rf / #",
    "$(id)",
    "`id`",
    "${HOME}",
    "$HOME $$ $",
    "a\nb",
    "a\r\nb\rc",
    "\t",
    "- a: b",
    "a: b # c",
    "&anchor *alias !tag %directive @at",
    "{{ config }}{% raw %}",
    "{\"a\": [1]}",
    "no",
    "1e3",
    "0x10",
    "~",
    "2026-11-23",
    "<<EOF",
    "\u{feff}bom",
    "\u{2028}line\u{2029}paragraph\u{85}next",
    "\u{202e}right to left\u{2066}",
    "e\u{301}\u{1f980}\u{10ffff}",
    "\u{7f}\u{1b}[31m\u{1}",
    "\\x00 \\u0000 \\n",
    "```\n# x\n```",
    "` `` ```",
    "`",
    "'''\"\"\"",
    "]] > \"]",
    "FROM scratch\nRUN id",
];

/// `text` as one field of each format, written and read again.
fn round_trips(text: &str) -> Result<(), TestCaseError> {
    let json: String = serde_json::from_str(&quote::json(text)).expect("json");
    prop_assert_eq!(&json, text, "json");

    let yaml: Vec<String> =
        serde_yaml_ng::from_str(&format!("- {}\n- \"next\"\n", quote::yaml(text))).expect("yaml");
    prop_assert_eq!(&yaml, &[text, "next"], "yaml");

    let toml: toml::Table =
        toml::from_str(&format!("a = {}\nb = 1\n", quote::toml_str(text))).expect("toml");
    prop_assert_eq!(toml["a"].as_str(), Some(text), "toml");
    prop_assert_eq!(toml.len(), 2);

    let rust: syn::LitStr = syn::parse_str(&quote::rust_str(text)).expect("rust");
    prop_assert_eq!(&rust.value(), text, "rust");
    prop_assert!(quote::rust_str(text).is_ascii());

    let python = quote::python_str(text);
    prop_assert!(python.is_ascii() && !python.contains('\n'), "{}", python);
    prop_assert_eq!(read_python(&python), Some(text.to_owned()), "{}", python);

    let typescript = quote::typescript_str(text);
    prop_assert!(typescript.is_ascii() && !typescript.contains('\n'));
    prop_assert_eq!(
        read_typescript(&typescript),
        Some(text.to_owned()),
        "{}",
        typescript
    );

    let nul = text.contains('\0');
    match quote::shell(text) {
        Ok(word) => {
            let line = format!("a {word} b");
            let words = quote::shell_words(&line);
            let expected = ["a", text, "b"].map(str::to_owned).to_vec();
            prop_assert_eq!(words, Some(expected), "shell");
        }
        Err(_) => prop_assert!(nul),
    }
    match quote::compose(text) {
        Ok(scalar) => {
            let read: String = serde_yaml_ng::from_str(&scalar).expect("compose");
            // What is left of `$` after interpolation: every pair is one, none stands alone.
            let interpolated = read.replace("$$", "\0");
            prop_assert!(!interpolated.contains('$'), "compose");
            prop_assert_eq!(interpolated.replace('\0', "$"), text, "compose");
        }
        Err(_) => prop_assert!(nul),
    }
    match quote::dockerfile_exec(["x", text]) {
        Ok(array) => {
            prop_assert!(!array.contains('\n'), "an instruction is one line");
            let read: Vec<String> = serde_json::from_str(&array).expect("dockerfile");
            prop_assert_eq!(&read, &["x", text], "dockerfile");
        }
        Err(_) => prop_assert!(nul),
    }
    match quote::dockerfile_value(text) {
        Ok(value) => prop_assert_eq!(read_dockerfile_value(&value), Some(text.to_owned())),
        Err(_) => prop_assert!(text.chars().any(char::is_control)),
    }
    match quote::markdown_code(text) {
        Ok(code) => prop_assert_eq!(read_code(&code), Some(text.to_owned()), "{}", code),
        Err(_) => prop_assert!(text.is_empty() || text.chars().any(char::is_control)),
    }
    Ok(())
}

/// The builder's rules for a double-quoted value: `\` takes the next character as it is.
fn read_dockerfile_value(value: &str) -> Option<String> {
    let inside = value.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next()?),
            '"' | '$' | '\n' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

/// A literal on one line by Python's rules (language reference, section 2.4.1): a backslash before
/// anything that is no escape would stay, so nothing but escapes may follow one.
fn read_python(literal: &str) -> Option<String> {
    let quote = literal.chars().next().filter(|q| matches!(q, '"' | '\''))?;
    let inside = literal.strip_prefix(quote)?.strip_suffix(quote)?;
    escaped(inside, quote, |escape, chars| {
        let digits = match escape {
            '\\' | '"' | '\'' => return Some(escape),
            'n' => return Some('\n'),
            'r' => return Some('\r'),
            't' => return Some('\t'),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return None,
        };
        let digits: String = chars.by_ref().take(digits).collect();
        char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
    })
}

/// A double-quoted literal by ECMAScript's rules (section 12.9.4).
fn read_typescript(literal: &str) -> Option<String> {
    let inside = literal.strip_prefix('"')?.strip_suffix('"')?;
    escaped(inside, '"', |escape, chars| match escape {
        '\\' | '"' => Some(escape),
        'u' => {
            let digits: String = chars.by_ref().take_while(|&c| c != '}').collect();
            char::from_u32(u32::from_str_radix(digits.strip_prefix('{')?, 16).ok()?)
        }
        _ => None,
    })
}

/// A literal's inside, where `read` knows what follows a backslash and the quote ends it.
fn escaped(
    inside: &str,
    quote: char,
    read: impl Fn(char, &mut std::str::Chars<'_>) -> Option<char>,
) -> Option<String> {
    let mut out = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let escape = chars.next()?;
                out.push(read(escape, &mut chars)?);
            }
            c if c == quote || c.is_control() => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

/// CommonMark 0.31, section 6.1.
fn read_code(code: &str) -> Option<String> {
    let fence = code.len() - code.trim_start_matches('`').len();
    let inside = code.get(fence..code.len() - fence)?;
    let closes = code.ends_with(&"`".repeat(fence));
    let runs = inside.split(|c| c != '`').any(|run| run.len() == fence);
    if fence == 0 || !closes || runs {
        return None;
    }
    let blank = inside.bytes().all(|b| b == b' ');
    let stripped = inside.strip_prefix(' ').and_then(|s| s.strip_suffix(' '));
    Some(stripped.filter(|_| !blank).unwrap_or(inside).to_owned())
}

#[test]
fn hostile_texts() {
    for text in HOSTILE {
        round_trips(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
    }
    let all = HOSTILE.concat();
    round_trips(&all).unwrap_or_else(|e| panic!("all together: {e}"));
}

#[test]
fn texts_with_nul_are_refused_by_name() {
    let errors = [
        quote::shell("a\0").expect_err("shell").to_string(),
        quote::compose("a\0").expect_err("compose").to_string(),
        quote::dockerfile_exec(["a\0"])
            .expect_err("exec")
            .to_string(),
        quote::dockerfile_value("a\0")
            .expect_err("value")
            .to_string(),
    ];
    for error in errors {
        assert!(error.contains("U+0000 at byte 1"), "{error}");
    }
}

/// The real interpreters of Python and JavaScript read back what was written.
#[test]
fn python_and_node_agree() {
    use std::process::Command;
    let python: Vec<String> = HOSTILE.iter().map(|t| quote::python_str(t)).collect();
    let typescript: Vec<String> = HOSTILE.iter().map(|t| quote::typescript_str(t)).collect();
    let print = "sys.stdout.buffer.write('\\0'.join(texts).encode())";
    let python = format!("import sys\ntexts = [{}]\n{print}\n", python.join(", "));
    let node = format!(
        "process.stdout.write([{}].join('\\0'))",
        typescript.join(", ")
    );
    for (program, option, script) in [("python3", "-c", python), ("node", "-e", node)] {
        let Ok(output) = Command::new(program).args([option, &script]).output() else {
            println!("skipped: no {program}");
            continue;
        };
        let told = String::from_utf8_lossy(&output.stderr);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, HOSTILE.join("\0"), "{program}: {told}");
    }
}

/// The real shell reads back what was written.
#[test]
fn bash_agrees() {
    use std::process::Command;
    let mut script = String::from("printf '%s\\0'");
    let texts: Vec<&str> = HOSTILE.to_vec();
    for text in &texts {
        script.push(' ');
        script.push_str(&quote::shell(text).expect("no NUL"));
    }
    let Ok(output) = Command::new("bash").args(["-c", &script]).output() else {
        println!("skipped: no bash");
        return;
    };
    let expected: String = texts.iter().flat_map(|t| [t, "\0"]).collect();
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

proptest! {
    #[test]
    fn any_text(text in any::<String>()) {
        round_trips(&text)?;
    }

    #[test]
    fn texts_of_special_characters(text in "[\"'\\\\$`{}#:&*!|>%@ \\n\\r\\ta\\-\\[\\],.~?<=é\u{85}\u{2028}]{0,24}") {
        round_trips(&text)?;
    }
}
