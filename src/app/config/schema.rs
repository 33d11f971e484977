//! Writes the JSON schema of the configuration: the types of the sections, with the defaults and explanations of `config.toml`.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use super::sections::{Config, DEFAULTS};

/// A key of `config.toml`.
#[derive(Debug, PartialEq)]
pub(super) struct Explained {
    /// The comment above it.
    pub(super) comment: String,
    /// The default, as TOML.
    default: String,
}

/// Returns the schema as text. It is of draft 7, which editors understand.
pub(in crate::app) fn schema() -> String {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    make_optional(&mut schema);
    for (key, Explained { comment, default }) in explained() {
        let pointer = format!("/properties/{}", key.replace('.', "/properties/"));
        let Some(Json::Object(node)) = schema.pointer_mut(&pointer) else { continue };
        node.insert("description".to_owned(), comment.into());
        if let Some(default) = parsed(&default) {
            node.insert("default".to_owned(), default);
        }
    }
    // A schema has only text keys, so this cannot fail.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// A file may leave out every key.
fn make_optional(schema: &mut Json) {
    match schema {
        Json::Object(node) => {
            node.retain(|key, value| key != "required" || !value.is_array());
            node.values_mut().for_each(make_optional);
        }
        Json::Array(items) => items.iter_mut().for_each(make_optional),
        _ => {}
    }
}

fn parsed(toml: &str) -> Option<Json> {
    let table: toml::Table = toml::from_str(&format!("value = {toml}")).ok()?;
    serde_json::to_value(table.get("value")?).ok()
}

/// Returns the keys of `config.toml`. A comment applies to all keys below it, up to the next comment, section or empty line. Lines
/// that are no sentence but an example follow the sentence "looks like this:", and are left out.
pub(super) fn explained() -> BTreeMap<String, Explained> {
    let (mut section, mut comment, mut has_ended) = (String::new(), Vec::new(), true);
    let mut keys = BTreeMap::new();
    for line in DEFAULTS.lines() {
        if let Some(words) = line.strip_prefix('#') {
            if has_ended {
                comment.clear();
            }
            has_ended = false;
            comment.push(words.trim());
        } else if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
            comment.clear();
        } else if let Some((key, default)) = line.split_once(" = ") {
            let key = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            let words = comment.iter().take_while(|words| !words.starts_with("[["));
            let comment = words.copied().collect::<Vec<_>>().join(" ");
            keys.insert(key, Explained { comment, default: default.to_owned() });
            has_ended = true;
        } else {
            comment.clear();
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_type_a_default_and_an_explanation() {
        let schema: Json = serde_json::from_str(&schema()).unwrap();
        let mut sections = vec![&schema["properties"]];
        let mut keys = 0;
        while let Some(section) = sections.pop() {
            for (key, node) in section.as_object().unwrap() {
                if node.get("properties").is_some() && node.get("default").is_none() {
                    sections.push(&node["properties"]);
                    assert_eq!(node["additionalProperties"], false, "{key}");
                    continue;
                }
                keys += 1;
                assert!(node["description"].as_str().is_some_and(|words| words.len() > 10), "{key}: {node}");
                assert!(node.get("default").is_some(), "{key}: {node}");
                let typed =
                    ["type", "enum", "oneOf", "anyOf", "const"].iter().any(|word| node.get(word).is_some());
                assert!(typed, "{key}: {node}");
            }
        }
        assert_eq!(keys, explained().len());
    }

    #[test]
    fn an_example_is_no_part_of_an_explanation() {
        let keys = explained();
        let relay = &keys["relay"];
        assert!(relay.comment.ends_with("looks like this:"), "{relay:?}");
        assert_eq!(keys["flush.interval"].default, "\"10s\"");
    }
}
