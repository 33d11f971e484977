//! The headers that a web configuration file may add to all answers.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde_saphyr::Spanned;

use super::Problem;

/// With the values that they may have, if only some make sense. No others can be configured there either.
const ALLOWED: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// One that is blank is not set.
pub(super) fn read(headers: &BTreeMap<String, Spanned<String>>) -> Result<HeaderMap, Problem> {
    let mut read = HeaderMap::new();
    for (name, value) in headers {
        let Some((known, values)) = ALLOWED.iter().find(|(known, _)| known == name) else {
            let known = ALLOWED.map(|(known, _)| known).join(", ");
            return Err(Problem::at(
                value,
                format!("headers: {name:?} cannot be set; those that can: {known}"),
            ));
        };
        let text = &*value.value;
        if text.is_empty() {
            continue;
        }
        if !values.is_empty() && !values.contains(&text) {
            let problem = format!("headers: {name}: {text:?} is not one of {}", values.join(", "));
            return Err(Problem::at(value, problem));
        }
        let text = HeaderValue::from_str(text)
            .map_err(|_| Problem::at(value, format!("headers: {name}: a header cannot hold {text:?}")))?;
        read.insert(
            HeaderName::from_bytes(known.as_bytes()).expect("it is constant, and a test sets each"),
            text,
        );
    }
    Ok(read)
}
