//! Reads pages in the text format of Prometheus.

use std::collections::BTreeMap;

/// The name and the labels of a series.
pub type Name = (String, BTreeMap<String, String>);

/// The values of a page in the text format.
#[derive(Debug)]
pub struct Page(pub BTreeMap<Name, f64>);

impl Page {
    /// Parses a page, and fails if it has a series twice.
    pub fn parse(text: &str) -> Self {
        let mut page = BTreeMap::new();
        for line in text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let twin = page.insert(parse_name(name), value.parse().unwrap());
            assert_eq!(twin, None, "twice: {line}");
        }
        Self(page)
    }

    /// Returns the value of a series.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
        self.0.get(&(name.to_owned(), labels.collect())).copied()
    }

    /// Asserts that the page has these series with these values.
    pub fn assert_shows(&self, values: &[(&str, &[(&str, &str)], f64)]) {
        for &(name, labels, value) in values {
            assert_eq!(self.value(name, labels), Some(value), "{name} {labels:?} in {self:#?}");
        }
    }

    /// Asserts that the page has all series of another page, with the same values.
    pub fn assert_contains(&self, other: &Self) {
        for (name, value) in &other.0 {
            assert_eq!(self.0.get(name), Some(value), "{name:?}");
        }
    }
}

/// Reads `name{label="value",label="value"}`.
fn parse_name(text: &str) -> Name {
    let mut labels = BTreeMap::new();
    let (name, mut rest) = text.split_once('{').unwrap_or((text, "}"));
    while rest != "}" {
        let (label, quoted) = rest.trim_start_matches(',').split_once("=\"").unwrap();
        let mut value = String::new();
        let mut characters = quoted.chars();
        loop {
            match characters.next().unwrap() {
                '"' => break,
                '\\' => value.push(match characters.next().unwrap() {
                    'n' => '\n',
                    other => other,
                }),
                other => value.push(other),
            }
        }
        // To Prometheus, an empty label is no label. node_exporter writes one for each label that only other series of
        // the family have.
        if !value.is_empty() {
            let twin = labels.insert(label.to_owned(), value);
            assert_eq!(twin, None, "twice: {label} in {text}");
        }
        rest = characters.as_str();
    }
    (name.to_owned(), labels)
}
