//! Holds one source of settings, and finds the lines of its keys.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::error::SettingSource;
use super::setting::join;

/// One source of settings.
pub(super) struct Layer {
    pub(super) source: SettingSource,
    pub(super) table: Table,
    /// The text of a file, to find the line of a key.
    pub(super) text: Option<String>,
}

impl Layer {
    /// Returns the source, with the line of a key if it is a file.
    pub(super) fn source_of(&self, key: &str) -> SettingSource {
        match (&self.source, &self.text) {
            (SettingSource::File { path, .. }, Some(text)) => {
                SettingSource::File { path: path.clone(), line: key_line(text, key) }
            }
            (source, _) => source.clone(),
        }
    }
}

/// Returns the last source of each key that a layer sets.
pub(super) fn sources(layers: &[Layer]) -> BTreeMap<String, SettingSource> {
    let mut sources = BTreeMap::new();
    for layer in layers {
        let mut keys = Vec::new();
        push_keys("", &layer.table, &mut keys);
        sources.extend(keys.into_iter().map(|key| {
            let source = layer.source_of(&key);
            (key, source)
        }));
    }
    sources
}

/// Returns a table with only this dotted key.
pub(super) fn nest(key: &str, value: Value) -> Table {
    match key.split_once('.') {
        Some((section, rest)) => Table::from_iter([(section.to_owned(), Value::Table(nest(rest, value)))]),
        None => Table::from_iter([(key.to_owned(), value)]),
    }
}

/// Appends the dotted keys of all values in a table.
pub(super) fn push_keys(section: &str, table: &Table, keys: &mut Vec<String>) {
    for (key, value) in table {
        let key = join(section, key);
        match value {
            Value::Table(table) => push_keys(&key, table, keys),
            _ => keys.push(key),
        }
    }
}

/// Returns the line of a key or, if the file lacks it, of the innermost section or item around it.
fn key_line(text: &str, path: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut line = None;
    let mut value = &DeValue::Table(table.into_inner());
    for segment in path.split(['.', '[', ']']).filter(|segment| !segment.is_empty()) {
        let (offset, inner) = match value {
            DeValue::Table(table) => {
                let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == segment) else {
                    break;
                };
                (key.span().start, value.get_ref())
            }
            DeValue::Array(items) => {
                let Some(item) = segment.parse().ok().and_then(|index: usize| items.get(index)) else {
                    break;
                };
                (item.span().start, item.get_ref())
            }
            _ => break,
        };
        line = Some(line_of(text, offset));
        value = inner;
    }
    line
}

/// Returns the line of an offset, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset.min(text.len())].matches('\n').count() + 1
}
