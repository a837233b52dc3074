//! What a row's values mean: who says what.

use super::node::Node;
use super::profile::{RowProblem, Shape, Speaker};

/// One message, prompt, answer or text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Turn<'a> {
    /// `None` outside of conversations.
    pub(crate) speaker: Option<Speaker>,
    pub(crate) texts: Vec<&'a str>,
}

/// A row that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading<'a> {
    pub(crate) shape: Shape,
    pub(crate) turns: Vec<Turn<'a>>,
    /// In a preference, the turn that begins the worse answer.
    pub(crate) rejected_from: Option<usize>,
}

/// Fields that hold a conversation.
const CHATS: &[&str] = &["messages", "conversations", "conversation"];
/// Fields of a prompt, and of its answer.
const PAIRS: &[(&[&str], &str)] = &[
    (&["instruction", "input", "context"], "output"),
    (&["instruction", "input", "context"], "response"),
    (&["prompt"], "completion"),
    (&["prompt"], "response"),
    (&["prompt"], "answer"),
    (&["question", "context"], "answer"),
    (&["query"], "response"),
    (&["query"], "answer"),
    (&["input"], "output"),
];
/// Fields that are the row's text when they stand alone or beside identifiers.
const TEXTS: &[&str] = &["text", "content"];

impl<'a> Reading<'a> {
    fn new(shape: Shape, turns: Vec<Turn<'a>>) -> Self {
        Self {
            shape,
            turns,
            rejected_from: None,
        }
    }

    /// Tells what a row is.
    pub(crate) fn of(row: &'a Node<'_>) -> Result<Self, RowProblem> {
        match row {
            Node::Text(text) => Ok(Self::new(Shape::Text, vec![Turn::of(None, text)])),
            Node::Object(_) => Ok(Self::of_object(row)),
            Node::List(list) => conversation(list)
                .map(|turns| Self::new(Shape::Chat, turns))
                .ok_or_else(|| not_a_row(row)),
            _ => Err(not_a_row(row)),
        }
    }

    fn of_object(row: &'a Node<'_>) -> Self {
        if let Some(preference) = Self::preference(row) {
            return preference;
        }
        for name in CHATS {
            if let Some(Node::List(list)) = row.get(name)
                && let Some(turns) = conversation(list)
            {
                return Self::new(Shape::Chat, turns);
            }
        }
        if let Some(turns) = PAIRS.iter().find_map(|pair| instruction(row, *pair)) {
            return Self::new(Shape::Instruction, turns);
        }
        for name in TEXTS {
            if let Some(text) = row.get(name).and_then(Node::text) {
                return Self::new(Shape::Text, vec![Turn::of(None, text)]);
            }
        }
        let mut texts = Vec::new();
        all_texts(row, &mut texts);
        let turn = Turn {
            speaker: None,
            texts,
        };
        Self::new(Shape::Table, vec![turn])
    }

    fn preference(row: &'a Node<'_>) -> Option<Self> {
        let (chosen, rejected) = (row.get("chosen")?, row.get("rejected")?);
        let mut turns = match CHATS
            .iter()
            .chain(&["prompt", "question"])
            .find_map(|n| row.get(n))
        {
            Some(prompt) => said(prompt, Speaker::User).unwrap_or_default(),
            None => Vec::new(),
        };
        let before = turns.len();
        let chosen = said(chosen, Speaker::Assistant)?;
        let mut rejected = said(rejected, Speaker::Assistant)?;
        // Whole conversations begin with the same turns: what they share is the prompt.
        let common = chosen
            .iter()
            .zip(&rejected)
            .take_while(|(a, b)| a == b)
            .count();
        let common = common.min(chosen.len().saturating_sub(1));
        if before > 0 && chosen[..common] == turns[..] {
            turns.clear();
        }
        turns.extend(chosen);
        let rejected_from = turns.len();
        turns.extend(rejected.drain(common.min(rejected.len())..));
        Some(Self {
            shape: Shape::Preference,
            turns,
            rejected_from: Some(rejected_from),
        })
    }

    /// Whether there is nothing in a row.
    pub(crate) fn is_empty(&self, row: &Node<'_>) -> bool {
        let no_text = self
            .turns
            .iter()
            .all(|t| t.texts.iter().all(|x| x.trim().is_empty()));
        no_text && (self.shape != Shape::Table || !has_scalar(row))
    }
}

impl<'a> Turn<'a> {
    fn of(speaker: Option<Speaker>, text: &'a str) -> Self {
        Self {
            speaker,
            texts: vec![text],
        }
    }
}

fn not_a_row(row: &Node<'_>) -> RowProblem {
    RowProblem::NotARow {
        found: row.kind_name().to_owned(),
    }
}

/// A prompt of one or more fields and its answer.
fn instruction<'a>(row: &'a Node<'_>, (prompt, answer): (&[&str], &str)) -> Option<Vec<Turn<'a>>> {
    row.get(prompt[0])?;
    let mut answers = said(row.get(answer)?, Speaker::Assistant)?;
    let mut turns = Vec::new();
    if let Some(system) = row.get("system").and_then(Node::text) {
        turns.push(Turn::of(Some(Speaker::System), system));
    }
    for name in prompt {
        match row.get(name) {
            Some(value) => turns.extend(said(value, Speaker::User).unwrap_or_default()),
            None => continue,
        }
    }
    turns.append(&mut answers);
    Some(turns)
}

/// A text by a speaker, or messages; nothing for a null.
fn said<'a>(value: &'a Node<'_>, speaker: Speaker) -> Option<Vec<Turn<'a>>> {
    match value {
        Node::Text(text) => Some(vec![Turn::of(Some(speaker), text)]),
        Node::Null => Some(Vec::new()),
        Node::List(list) => conversation(list),
        Node::Object(_) => Some(vec![message(value)?]),
        Node::Bool(_) | Node::Number(_) => None,
    }
}

fn conversation<'a>(list: &'a [Node<'_>]) -> Option<Vec<Turn<'a>>> {
    list.iter().map(message).collect()
}

/// `{"role", "content"}` or `{"from", "value"}`; contents may be pieces, answers may be calls.
fn message<'a>(node: &'a Node<'_>) -> Option<Turn<'a>> {
    let role = node.get("role").or_else(|| node.get("from"))?.text()?;
    let mut texts = Vec::new();
    match node.get("content").or_else(|| node.get("value")) {
        Some(Node::List(pieces)) => {
            texts.extend(pieces.iter().filter_map(|p| p.get("text")?.text()));
        }
        Some(value) => texts.extend(value.text()),
        None => {}
    }
    if let Some(Node::List(calls)) = node.get("tool_calls") {
        for call in calls.iter().filter_map(|c| c.get("function")) {
            let of = |name| call.get(name).and_then(Node::text);
            texts.extend(of("name").into_iter().chain(of("arguments")));
        }
    }
    Some(Turn {
        speaker: Some(speaker(role)),
        texts,
    })
}

fn speaker(role: &str) -> Speaker {
    let is = |names: &[&str]| names.iter().any(|n| role.eq_ignore_ascii_case(n));
    if is(&["user", "human", "prompter"]) {
        Speaker::User
    } else if is(&["assistant", "gpt", "model", "bot", "chatgpt"]) {
        Speaker::Assistant
    } else if is(&["system", "developer"]) {
        Speaker::System
    } else if is(&["tool", "function", "observation", "function_response"]) {
        Speaker::Tool
    } else {
        Speaker::Other
    }
}

fn all_texts<'a>(node: &'a Node<'_>, texts: &mut Vec<&'a str>) {
    match node {
        Node::Text(text) => texts.push(text),
        Node::List(list) => list.iter().for_each(|n| all_texts(n, texts)),
        Node::Object(fields) => fields.iter().for_each(|(_, n)| all_texts(n, texts)),
        Node::Null | Node::Bool(_) | Node::Number(_) => {}
    }
}

fn has_scalar(node: &Node<'_>) -> bool {
    match node {
        Node::Bool(_) | Node::Number(_) => true,
        Node::Null | Node::Text(_) => false,
        Node::List(list) => list.iter().any(has_scalar),
        Node::Object(fields) => fields.iter().any(|(_, n)| has_scalar(n)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::node;
    use super::*;

    /// Speakers' first letters and texts, in order.
    fn spelled(reading: &Reading<'_>) -> String {
        let turn = |t: &Turn<'_>| {
            let who = t.speaker.map_or('-', |s| match s {
                Speaker::System => 's',
                Speaker::User => 'u',
                Speaker::Assistant => 'a',
                Speaker::Tool => 't',
                Speaker::Other => 'o',
            });
            format!("{who}:{}", t.texts.join("+"))
        };
        reading.turns.iter().map(turn).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rows_are_told_apart() {
        use Shape::{Chat, Instruction, Preference, Table, Text};
        let mut wrong = Vec::new();
        for (row, shape, expected) in [
            (
                r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"r"}]}"#,
                Chat,
                "u:q a:r",
            ),
            (
                r#"{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"r"}],"id":1}"#,
                Chat,
                "u:q a:r",
            ),
            (
                r#"[{"role":"system","content":"x"},{"role":"narrator","content":"y"}]"#,
                Chat,
                "s:x o:y",
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url"}]}]}"#,
                Chat,
                "u:a",
            ),
            (
                r#"{"messages":[{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"5"}]}"#,
                Chat,
                "a:f+{} t:5",
            ),
            (r#"{"messages":[]}"#, Chat, ""),
            (
                r#"{"instruction":"do","input":"this","output":"done"}"#,
                Instruction,
                "u:do u:this a:done",
            ),
            (
                r#"{"instruction":"do","input":null,"output":"done","system":"s"}"#,
                Instruction,
                "s:s u:do a:done",
            ),
            (r#"{"prompt":"p","completion":"c"}"#, Instruction, "u:p a:c"),
            (
                r#"{"prompt":[{"role":"user","content":"p"}],"completion":[{"role":"assistant","content":"c"}]}"#,
                Instruction,
                "u:p a:c",
            ),
            (r#"{"question":"p","answer":"c"}"#, Instruction, "u:p a:c"),
            (
                r#"{"prompt":"p","chosen":"c","rejected":"r"}"#,
                Preference,
                "u:p a:c a:r",
            ),
            (
                r#"{"chosen":[{"role":"user","content":"p"},{"role":"assistant","content":"c"}],"rejected":[{"role":"user","content":"p"},{"role":"assistant","content":"r"}]}"#,
                Preference,
                "u:p a:c a:r",
            ),
            (
                r#"{"prompt":"p","chosen":[{"role":"user","content":"p"},{"role":"assistant","content":"c"}],"rejected":[{"role":"user","content":"p"},{"role":"assistant","content":"r"}]}"#,
                Preference,
                "u:p a:c a:r",
            ),
            (r#"{"text":"t","id":7}"#, Text, "-:t"),
            (r#""t""#, Text, "-:t"),
            (r#"{"name":"n","tags":["a","b"],"age":3}"#, Table, "-:n+a+b"),
            (r#"{"messages":"not a list"}"#, Table, "-:not a list"),
            (r#"{"chosen":1,"rejected":2}"#, Table, "-:"),
        ] {
            let node = node::parse(row, 100).expect(row);
            let reading = Reading::of(&node).expect(row);
            let found = (reading.shape, spelled(&reading));
            if found != (shape, expected.to_owned()) {
                wrong.push(format!("{row}: {found:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn other_values_are_no_rows() {
        for row in ["1", "null", "true", "[1]", r#"["a"]"#] {
            let node = node::parse(row, 100).expect(row);
            assert!(Reading::of(&node).is_err(), "{row}");
        }
    }

    #[test]
    fn emptiness_is_about_content() {
        for (row, empty) in [
            ("{}", true),
            (r#"{"text":"  "}"#, true),
            (r#"{"messages":[]}"#, true),
            (r#"{"text":"","id":1}"#, true),
            (r#"{"a":null,"b":""}"#, true),
            (r#"{"a":0}"#, false),
            (r#"{"text":"x"}"#, false),
        ] {
            let node = node::parse(row, 100).expect(row);
            let reading = Reading::of(&node).expect(row);
            assert_eq!(reading.is_empty(&node), empty, "{row}");
        }
    }
}
