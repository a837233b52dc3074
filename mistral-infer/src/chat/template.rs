//! Which version a chat template was written for, told by the markers in it.
//!
//! A template is never run: chats are encoded by version. Its text only tells which one, together
//! with the control tokens that the vocabulary has, since a marker that isn't a token can't be
//! what the template means.

use super::settings::{EffortBuilder, ModelSettingsBuilder, ReasoningEffort};
use crate::tokenizer::{TokenizerKind, TokenizerVersion};

/// Markers of other families, whose templates may have `[INST]` too.
const FOREIGN: [&str; 4] = ["<|im_start|>", "<<SYS>>", "<|start_header_id|>", "<|user|>"];

/// The version of a template for a kind of vocabulary that `has` control tokens; `None` when
/// markers and tokens contradict each other or are not Mistral's.
pub(crate) fn version_of(
    template: &str,
    kind: TokenizerKind,
    has: &dyn Fn(&str) -> bool,
) -> Option<TokenizerVersion> {
    let says = |marker: &str| template.contains(marker);
    if !says("[INST]") || FOREIGN.iter().any(|marker| says(marker)) {
        return None;
    }
    let spaced = kind == TokenizerKind::SentencePiece;
    if !has("[INST]") {
        // In the first version the markers are text, and there are no tools.
        let plain = !says("[TOOL_CALLS]") && !says("[AVAILABLE_TOOLS]") && !says("[SYSTEM_PROMPT]");
        return (spaced && plain).then_some(TokenizerVersion::V1);
    }
    let (version, needs): (_, &[&str]) = if says("[MODEL_SETTINGS]") {
        (TokenizerVersion::V15, &["[MODEL_SETTINGS]", "[ARGS]"])
    } else if says("[ARGS]") && says("[CALL_ID]") {
        (TokenizerVersion::V11, &["[ARGS]", "[CALL_ID]"])
    } else if says("[ARGS]") {
        (TokenizerVersion::V13, &["[ARGS]", "[SYSTEM_PROMPT]"])
    } else if says("[THINK]") {
        (TokenizerVersion::V13, &["[THINK]", "[SYSTEM_PROMPT]"])
    } else if says("[SYSTEM_PROMPT]") {
        (TokenizerVersion::V7, &["[SYSTEM_PROMPT]"])
    } else if !spaced {
        (TokenizerVersion::V3, &[])
    } else if says("[TOOL_CALLS]") || says("[AVAILABLE_TOOLS]") {
        // Calls got ids of nine characters with the third version.
        match says("call_id") || says("length 9") || says("!= 9") {
            true => (TokenizerVersion::V3, &["[TOOL_CALLS]"]),
            false => (TokenizerVersion::V2, &["[TOOL_CALLS]"]),
        }
    } else if has("[SYSTEM_PROMPT]") {
        // A vocabulary of the seventh version, whose template would have the marker.
        return None;
    } else if has("[PREFIX]") {
        (TokenizerVersion::V3, &[])
    } else {
        (TokenizerVersion::V2, &[])
    };
    // SentencePiece ended with the seventh.
    let exists = !spaced || version <= TokenizerVersion::V7;
    (exists && needs.iter().all(|name| has(name))).then_some(version)
}

/// The settings that a template of the fifteenth version allows: its list of reasoning efforts and
/// the one it falls back on.
pub(crate) fn settings_of(template: &str) -> Option<ModelSettingsBuilder> {
    let after = |marker: &str| Some(template.split_once(marker)?.1);
    let (list, _) = after("reasoning_effort not in [")?.split_once(']')?;
    let values: Option<Vec<ReasoningEffort>> = list.split(',').map(effort).collect();
    let (default, _) = after("set reasoning_effort = ")?.split_once("%}")?;
    let (values, default) = (values?, effort(default)?);
    values.contains(&default).then(|| ModelSettingsBuilder {
        reasoning_effort: Some(EffortBuilder {
            kind: "enum".to_owned(),
            values,
            accepts_none: true,
            default,
        }),
        json_schema: None,
    })
}

/// A quoted name of an effort.
fn effort(quoted: &str) -> Option<ReasoningEffort> {
    let name = quoted
        .trim()
        .trim_matches(|c| c == '\'' || c == '"' || c == '-')
        .trim();
    serde_json::from_value(serde_json::Value::from(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_by_markers_and_tokens() {
        use TokenizerKind::{SentencePiece, Tekken};
        use TokenizerVersion as V;
        let early = "[INST]";
        let tools = "[INST] [TOOL_CALLS]";
        let v7 = "[INST] [SYSTEM_PROMPT]";
        let v11 = "[INST] [SYSTEM_PROMPT] [ARGS] [CALL_ID]";
        let v13 = "[INST] [SYSTEM_PROMPT] [ARGS] [THINK]";
        let v15 = "[INST] [SYSTEM_PROMPT] [ARGS] [THINK] [MODEL_SETTINGS]";
        let prefix = "[INST] [TOOL_CALLS] [PREFIX]";
        let nine = "{{ '[INST]' }} {{ '[TOOL_CALLS]' }} 'call_id'";
        // Kind, template, control tokens, version.
        let rows = [
            (SentencePiece, early, "", Some(V::V1)),
            (SentencePiece, tools, "", None),
            (SentencePiece, early, tools, Some(V::V2)),
            (SentencePiece, early, prefix, Some(V::V3)),
            (SentencePiece, tools, prefix, Some(V::V2)),
            (SentencePiece, nine, prefix, Some(V::V3)),
            (SentencePiece, v7, v7, Some(V::V7)),
            (SentencePiece, early, v7, None),
            (SentencePiece, v11, v11, None),
            (Tekken, early, "", None),
            (Tekken, early, v7, Some(V::V3)),
            (Tekken, v7, v7, Some(V::V7)),
            (Tekken, v11, v11, Some(V::V11)),
            (Tekken, v11, v7, None),
            (Tekken, v13, v13, Some(V::V13)),
            (Tekken, v15, v15, Some(V::V15)),
            (Tekken, v15, v13, None),
            (Tekken, "<|im_start|>[INST]", v7, None),
            (Tekken, "{{ messages }}", v7, None),
        ];
        for (kind, template, tokens, expected) in rows {
            let has = |name: &str| tokens.split(' ').any(|token| token == name);
            let found = version_of(template, kind, &has);
            assert_eq!(found, expected, "{kind:?} {template:?} with {tokens:?}");
        }
    }

    #[test]
    fn efforts_are_read_from_their_list() {
        let template = "{%- set reasoning_effort = 'none' %}\n\
            {%- if reasoning_effort not in ['none', \"high\"] %}";
        let settings = settings_of(template).expect("a list and a default");
        let effort = settings.reasoning_effort.expect("efforts");
        assert_eq!(
            effort.values,
            [ReasoningEffort::None, ReasoningEffort::High]
        );
        assert_eq!(effort.default, ReasoningEffort::None);
        assert!(settings_of("reasoning_effort not in ['none', 'loud']").is_none());
    }
}
