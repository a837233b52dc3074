//! Every text of a plan is in a client what it was in the plan, whatever it is.

use std::process::Command;

use mistral_codegen::quote::markdown_code;
use mistral_codegen::{CodegenError, FileSet, Options, Plan, Target, generate};
use proptest::prelude::*;
use serde_json::{Value, json};
use syn::parse::{ParseStream, Parser};

const CLIENTS: &[Target] = &[
    Target::ApiRust,
    Target::ApiPython,
    Target::ApiTypescript,
    Target::ApiCurl,
];

/// Texts that would run, end or change a file if they weren't quoted.
const HOSTILE: &[&str] = &[
    "plain",
    " ",
    "it's",
    "\"",
    "\\",
    "\\\"",
    "\\n \\u{41} \\x41 \\",
    "'; touch hacked; echo '",
    "$(touch hacked) `touch hacked` ${HOME} $$ $",
    "a: b # c - [d] {e} &f *g !h |i >j %k",
    "{{ 7 * 7 }} {% raw %} {# c #}",
    "${7 * 7} #{7 * 7} `${x}`",
    "*/ // /* --> <!-- </script>",
    "\"; import os; os.system('id') #",
    "r#\"\"#",
    "no",
    "true",
    "null",
    "~",
    "1e3",
    "0x10",
    "2026-11-24",
    "=1+1",
    "a|b|c",
    "```` ` ````",
    "é e\u{301} 中 \u{1f980}\u{10ffff}",
    "\u{feff}bom",
    "\u{202e}txet\u{2066}",
    "\u{2028}line\u{2029}paragraph",
];

/// A plan with `text` in every field that takes any: the model's names, files and device, reasons.
fn plan(text: &str, hosted: bool) -> Plan {
    let (runtime, id) = match hosted {
        true => ("mistral-api", "mistral-small-4"),
        false => ("vllm", text),
    };
    let plan = json!({
        "schema": 1,
        "model": {
            "id": id, "hf_repo": text, "revision": text, "file": text, "local_path": text,
        },
        "precision": "fp8",
        "runtime": runtime,
        "placement": {"device": text, "count": 1, "tensor_parallel": 1},
        "limits": {"context_tokens": 32768, "concurrency": 4},
        "serve": {
            "bind": "127.0.0.1", "port": 8000, "api_key_env": "CLIENT_KEY", "served_name": text,
        },
        "reasons": [{"rule": text, "facts": {text: text}, "sources": [text]}],
    });
    serde_json::from_value(plan).expect("a plan")
}

fn text<'f>(files: &'f FileSet, path: &str) -> &'f str {
    &files.get(path).unwrap_or_else(|| panic!("{path}")).contents
}

/// The model's name as the client's own language reads it.
fn model(target: Target, files: &FileSet) -> Option<String> {
    match target {
        Target::ApiRust => {
            let source = text(files, "src/plan.rs");
            let (_, from) = source.split_once("pub const MODEL: &str =")?;
            let literal = |input: ParseStream<'_>| {
                let literal: syn::LitStr = input.parse()?;
                input.parse::<syn::Token![;]>()?;
                // What follows is another constant's.
                input.step(|_| Ok(((), syn::buffer::Cursor::empty())))?;
                Ok(literal.value())
            };
            literal.parse_str(from).ok()
        }
        Target::ApiPython => {
            let read: Value = serde_json::from_str(text(files, "defaults.json")).ok()?;
            read["model"].as_str().map(str::to_owned)
        }
        Target::ApiTypescript => {
            let source = text(files, "src/plan.ts");
            let mut lines = source.lines();
            let line = lines.find_map(|l| l.strip_prefix("export const MODEL: string = "))?;
            typescript(line.strip_suffix(';')?)
        }
        _ => {
            let source = text(files, "plan.sh");
            let (_, from) = source.split_once("\nMODEL=")?;
            let (word, _) = from.split_once("\n# Address of the server")?;
            posix(word)
        }
    }
}

/// A double-quoted literal by ECMAScript's rules (12.9.4): what may stand in it unescaped, and the
/// escapes that are written.
fn typescript(literal: &str) -> Option<String> {
    let inside = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                c @ ('"' | '\\') => out.push(c),
                'u' => {
                    let digits: String = chars.by_ref().take_while(|&c| c != '}').collect();
                    let code = u32::from_str_radix(digits.strip_prefix('{')?, 16).ok()?;
                    out.push(char::from_u32(code)?);
                }
                _ => return None,
            },
            '"' => return None,
            c if c.is_ascii() && !c.is_control() => out.push(c),
            _ => return None,
        }
    }
    Some(out)
}

/// A word by POSIX's rules of quoting (XCU 2.2): bare characters, `\'`, and single quotes, in which
/// nothing is expanded.
fn posix(word: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = word;
    while let Some(c) = rest.chars().next() {
        if let Some(inside) = rest.strip_prefix('\'') {
            let (taken, after) = inside.split_once('\'')?;
            out.push_str(taken);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("\\'") {
            out.push('\'');
            rest = after;
        } else if c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c) {
            out.push(c);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    Some(out)
}

fn survives(name: &str) -> Result<(), TestCaseError> {
    let fits = !name.is_empty() && !name.starts_with('-') && !name.chars().any(char::is_control);
    for (&target, hosted) in CLIENTS.iter().flat_map(|t| [(t, true), (t, false)]) {
        let plan = plan(name, hosted);
        let files = match generate(target, &plan, &Options::default()) {
            Ok(files) => files,
            Err(CodegenError::Unsupported { field, .. }) => {
                prop_assert!(!fits && field == "serve.served_name", "{}", field);
                continue;
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        };
        prop_assert!(fits, "{} takes {:?}", target.name(), name);
        let read = model(target, &files);
        prop_assert_eq!(read.as_deref(), Some(name), "{}", target.name());
        let again: Plan = serde_json::from_str(text(&files, "plan.json"))
            .map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(&again, &plan, "{}", target.name());
        let code = markdown_code(name).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(text(&files, "README.md").contains(&code));
        // Nowhere else.
        let other = generate(target, &self::plan("plain", hosted), &Options::default());
        let other = other.map_err(|e| TestCaseError::fail(e.to_string()))?;
        for file in files.iter() {
            let path = file.path.as_str();
            let holds = [
                "plan.json",
                "README.md",
                "defaults.json",
                "plan.sh",
                "src/plan.rs",
                "src/plan.ts",
            ];
            if !holds.contains(&path) {
                prop_assert_eq!(&file.contents, text(&other, path), "{}", path);
            }
        }
    }
    Ok(())
}

#[test]
fn hostile_texts() {
    for name in HOSTILE {
        survives(name).unwrap_or_else(|e| panic!("{name:?}: {e}"));
    }
    survives(&HOSTILE.concat()).unwrap_or_else(|e| panic!("all together: {e}"));
    for name in ["", "-x", "a\nb", "a\0", "\u{1b}[0m", "\u{85}"] {
        survives(name).unwrap_or_else(|e| panic!("{name:?}: {e}"));
    }
}

/// bash, Python and Node read the constants back.
#[test]
fn interpreters_agree() {
    let bash = r#". ./plan.sh && printf '%s' "$MODEL""#;
    let python = "import json,sys; sys.stdout.buffer.write(json.load(open('defaults.json', encoding='utf-8'))['model'].encode())";
    // The types of the one line are all that isn't JavaScript.
    let node = "const s = require('fs').readFileSync('src/plan.ts', 'utf8'); \
                const js = s.replace(/^export const (\\w+): [a-z| ]+ =/gm, 'exports.$1 ='); \
                const exports = {}; new Function('exports', js)(exports); \
                process.stdout.write(exports.MODEL)";
    let all = HOSTILE.concat();
    for (target, program, arguments) in [
        (Target::ApiCurl, "bash", ["-c", bash]),
        (Target::ApiPython, "python3", ["-c", python]),
        (Target::ApiTypescript, "node", ["-e", node]),
    ] {
        for name in HOSTILE.iter().copied().chain([all.as_str()]) {
            let folder = tempfile::tempdir().expect("a folder");
            let files = generate(target, &plan(name, true), &Options::default()).expect("made");
            files.write(folder.path()).expect("written");
            let ran = Command::new(program)
                .args(arguments)
                .current_dir(folder.path())
                .output();
            let Ok(output) = ran else {
                println!("skipped: no {program}");
                break;
            };
            let said = String::from_utf8_lossy(&output.stdout);
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(said, name, "{}: {told}", target.name());
            assert!(!folder.path().join("hacked").exists());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text(name in any::<String>()) {
        survives(&name)?;
    }

    #[test]
    fn texts_of_special_characters(name in "[\"'\\\\$`{}#:&*!|>%@ a\\-\\[\\],.~?<=/;é\u{2028}\u{1f980}]{0,24}") {
        survives(&name)?;
    }
}
