//! Structs that serde reads, as configuration keys.

use super::items::{Collector, Place};
use super::{attrs, print};
use crate::facts::ConfigKey;
use syn::{Fields, ItemStruct, Type};

impl Collector<'_> {
    /// One key a field, where the struct derives `Deserialize`. Fields need not be public for that.
    pub(super) fn config_keys(&mut self, place: &Place<'_>, item: &ItemStruct) {
        let Fields::Named(fields) = &item.fields else {
            return;
        };
        if !attrs::derives(&item.attrs, "Deserialize") {
            return;
        }
        let container = attrs::serde(&item.attrs);
        let all_default = container.iter().any(|(word, _)| word == "default");
        let rule = container.iter().find(|(word, _)| word == "rename_all");
        let rule = rule.and_then(|(_, value)| value.as_deref());
        for field in &fields.named {
            let words = attrs::serde(&field.attrs);
            let word = |name: &str| words.iter().find(|(word, _)| word == name);
            let skipped = ["skip", "skip_deserializing", "flatten"];
            let Some(ident) = &field.ident else { continue };
            if skipped.into_iter().any(|name| word(name).is_some()) {
                continue;
            }
            let renamed = word("rename").and_then(|(_, value)| value.clone());
            let name = attrs::unraw(ident);
            let default = match word("default") {
                Some((_, Some(function))) => Some(format!("{function}()")),
                Some((_, None)) => Some("Default::default()".to_owned()),
                None if is_option(&field.ty) && word("deserialize_with").is_none() => {
                    Some("None".to_owned())
                }
                None => all_default.then(|| "Default::default()".to_owned()),
            };
            self.facts.config_keys.push(ConfigKey {
                owner: place.paths[0].clone(),
                key: renamed.unwrap_or_else(|| cased(&name, rule)),
                type_: Some(print::of(&field.ty)),
                default,
                min: None,
                max: None,
                help: attrs::doc(&field.attrs),
                span: place.span(field),
            });
        }
    }
}

fn is_option(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path
        .segments
        .last()
        .is_some_and(|s| s.ident == "Option")
}

/// A field's name by a rule of serde's `rename_all`; unknown rules change nothing.
fn cased(name: &str, rule: Option<&str>) -> String {
    let capital = |word: &str| {
        let mut chars = word.chars();
        let first = chars.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(chars).collect::<String>()
    };
    let words = name.split('_').filter(|word| !word.is_empty());
    match rule {
        Some("kebab-case") => name.replace('_', "-"),
        Some("SCREAMING_SNAKE_CASE" | "UPPERCASE") => name.to_ascii_uppercase(),
        Some("SCREAMING-KEBAB-CASE") => name.to_ascii_uppercase().replace('_', "-"),
        Some("PascalCase") => words.map(capital).collect(),
        Some("camelCase") => {
            let pascal: String = words.map(capital).collect();
            let mut chars = pascal.chars();
            let first = chars.next().map(|c| c.to_ascii_lowercase());
            first.into_iter().chain(chars).collect()
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::cased;

    #[test]
    fn names_are_cased_as_serde_cases_fields() {
        let rows = [
            (None, "max_new_tokens"),
            (Some("snake_case"), "max_new_tokens"),
            (Some("camelCase"), "maxNewTokens"),
            (Some("PascalCase"), "MaxNewTokens"),
            (Some("kebab-case"), "max-new-tokens"),
            (Some("SCREAMING_SNAKE_CASE"), "MAX_NEW_TOKENS"),
            (Some("SCREAMING-KEBAB-CASE"), "MAX-NEW-TOKENS"),
        ];
        for (rule, expected) in rows {
            assert_eq!(cased("max_new_tokens", rule), expected);
        }
    }
}
