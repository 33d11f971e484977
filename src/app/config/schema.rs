//! Writes the JSON schema of the configuration: the types of the sections, with the defaults and explanations of `config.toml`.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use super::sections::{Config, DEFAULTS};
use super::setting::join;

/// Returns the schema as text. It is of draft 7, which editors understand.
pub(in crate::app) fn schema() -> String {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    make_optional(&mut schema);
    let defaults: toml::Table = toml::from_str(DEFAULTS).unwrap_or_default();
    let defaults = serde_json::to_value(defaults).unwrap_or_default();
    for (key, comment) in comments() {
        let Some(Json::Object(node)) = schema.pointer_mut(&place_of(&key)) else { continue };
        // A switch `enabled` needs no words.
        if !comment.is_empty() {
            node.insert("description".to_owned(), comment.into());
        }
        if let Some(default) = defaults.pointer(&format!("/{}", key.replace('.', "/"))) {
            node.insert("default".to_owned(), default.clone());
        }
    }
    // A schema has only text keys, so this cannot fail.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// Returns the place of a key or a section in the schema, as a JSON pointer.
fn place_of(key: &str) -> String {
    format!("/properties/{}", key.replace('.', "/properties/"))
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

/// Returns the keys of `config.toml` with the comment above each. A comment applies to all keys below it, up to the next comment,
/// section or empty line. An example of an entry of a list is left out.
pub(super) fn comments() -> BTreeMap<String, String> {
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
        } else if let Some((key, _)) = line.split_once(" = ") {
            let key = join(&section, key);
            let words = comment.iter().take_while(|words| !words.starts_with("[["));
            keys.insert(key, words.copied().collect::<Vec<_>>().join(" "));
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
        let keys = comments();
        assert!(keys.len() > 100, "{keys:?}");
        for key in keys.keys() {
            let node = &schema.pointer(&place_of(key)).unwrap();
            let is_explained = node["description"].as_str().is_some_and(|words| words.len() > 10);
            assert!(is_explained || key.ends_with(".enabled"), "{key}: {node}");
            assert!(node.get("default").is_some(), "{key}: {node}");
            let typed = ["type", "enum", "oneOf", "anyOf"].iter().any(|word| node.get(word).is_some());
            assert!(typed, "{key}: {node}");
            let section = key.rsplit_once('.').map_or(String::new(), |(section, _)| place_of(section));
            assert_eq!(schema.pointer(&section).unwrap()["additionalProperties"], false, "{key}");
        }
    }

    #[test]
    fn an_example_is_no_part_of_an_explanation() {
        let relay = &comments()["relay"];
        assert!(relay.ends_with("looks like this:"), "{relay:?}");
    }
}
