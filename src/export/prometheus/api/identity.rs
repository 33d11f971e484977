//! Shows which series an answer is about.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::{Named, Series};

/// The identity of a series.
#[derive(Debug, Serialize)]
pub(super) struct Identity {
    /// The series as a line would name it. Requests name it in the same way.
    series: String,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// Several values of a key are a list.
    tags: Map<String, Value>,
}

impl From<&Series> for Identity {
    fn from(series: &Series) -> Self {
        let mut tags = Map::new();
        for (key, value) in series.tags() {
            match tags.get_mut(key) {
                None => _ = tags.insert(key.to_owned(), value.into()),
                Some(Value::Array(values)) => values.push(value.into()),
                Some(one) => *one = json!([one.take(), value]),
            }
        }
        let (name, kind) = (series.name().to_owned(), series.kind().name());
        Self { series: format!("{series:?}"), name, kind, tags }
    }
}
