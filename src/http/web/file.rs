//! Reads a web configuration file in the format of exporter-toolkit, and checks its headers.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::text::duration::GoDuration;
use crate::text::yaml::{self, YamlError};

/// The headers that exporter-toolkit lets a file set, each with its valid values. An empty list allows any value.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// An error in a web configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebError {
    /// The web configuration file.
    pub path: PathBuf,
    /// The line of the error, counted from 1, if it is known.
    pub line: Option<u64>,
    /// The problem, and what would be right.
    pub problem: String,
}

impl fmt::Display for WebError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.problem)
    }
}

impl std::error::Error for WebError {}

/// A problem in the file that is being read.
#[derive(Debug)]
pub(super) struct WebProblem {
    pub(super) line: Option<u64>,
    pub(super) text: String,
}

impl WebProblem {
    /// Returns a problem of the file as a whole.
    pub(super) fn of_file(text: impl Into<String>) -> Self {
        Self { line: None, text: text.into() }
    }

    /// Returns a problem in the line of `value`.
    pub(super) fn at<T>(value: &Spanned<T>, text: impl Into<String>) -> Self {
        Self { line: Some(value.referenced.line()), text: text.into() }
    }

    /// Returns the problem with the path of the web configuration file.
    pub(super) fn in_file(self, path: &Path) -> WebError {
        WebError { path: path.to_owned(), line: self.line, problem: self.text }
    }
}

/// The contents of a web configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WebFile {
    pub(super) tls_server_config: Option<Spanned<TlsSection>>,
    pub(super) http_server_config: Option<HttpSection>,
    /// The bcrypt hash of each user's password.
    pub(super) basic_auth_users: Option<BTreeMap<String, Spanned<String>>>,
    pub(super) rate_limit: Option<Spanned<RateSection>>,
}

/// A text with its line. As in exporter-toolkit, an empty text counts as missing.
pub(super) type Text = Option<Spanned<String>>;

/// The section about TLS. As in exporter-toolkit, a file takes precedence over a text in the section.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TlsSection {
    pub(super) cert: Text,
    pub(super) cert_file: Text,
    pub(super) key: Text,
    pub(super) key_file: Text,
    pub(super) client_auth_type: Text,
    pub(super) client_ca: Text,
    pub(super) client_ca_file: Text,
    pub(super) client_allowed_sans: Option<Vec<Spanned<String>>>,
    pub(super) min_version: Text,
    pub(super) max_version: Text,
    pub(super) cipher_suites: Option<Vec<Spanned<String>>>,
    pub(super) prefer_server_cipher_suites: Option<bool>,
    pub(super) curve_preferences: Option<Vec<Spanned<String>>>,
}

impl TlsSection {
    /// Returns true if the section sets nothing.
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            cert,
            cert_file,
            key,
            key_file,
            client_auth_type,
            client_ca,
            client_ca_file,
            client_allowed_sans,
            min_version,
            max_version,
            cipher_suites,
            prefer_server_cipher_suites,
            curve_preferences,
        } = self;
        let texts = [
            cert,
            cert_file,
            key,
            key_file,
            client_auth_type,
            client_ca,
            client_ca_file,
            min_version,
            max_version,
        ];
        texts.into_iter().all(|text| given(text).is_none())
            && client_allowed_sans.is_none()
            && cipher_suites.is_none()
            && prefer_server_cipher_suites.is_none()
            && curve_preferences.is_none()
    }
}

/// The section about responses.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HttpSection {
    /// This key has no effect. tallyd offers only HTTP/1.1, which HTTP/2 clients accept.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    pub(super) headers: Option<BTreeMap<String, Spanned<String>>>,
}

/// The section about the rate of requests.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RateSection {
    pub(super) interval: GoDuration,
    pub(super) burst: u32,
}

/// Returns the text, unless it is missing or empty.
pub(super) fn given(text: &Text) -> Option<&Spanned<String>> {
    text.as_ref().filter(|text| !text.value.is_empty())
}

/// Reads a file. An empty file sets nothing.
pub(super) fn parse(text: &str) -> Result<WebFile, WebProblem> {
    match yaml::parse(text) {
        Ok(file) => Ok(file.unwrap_or_default()),
        Err(YamlError { line, problem }) => Err(WebProblem { line, text: problem }),
    }
}

/// Checks the headers of all responses. An empty value sets no header.
pub(super) fn headers(section: Option<HttpSection>) -> Result<HeaderMap, WebProblem> {
    let mut checked = HeaderMap::new();
    for (name, value) in section.and_then(|section| section.headers).unwrap_or_default() {
        let Some((known, values)) = HEADERS.iter().find(|(known, _)| *known == name) else {
            let known = HEADERS.map(|(known, _)| known).join(", ");
            let problem = format!("headers: {name:?} cannot be set; allowed are {known}");
            return Err(WebProblem::at(&value, problem));
        };
        let text = &*value.value;
        if text.is_empty() {
            continue;
        }
        if !values.is_empty() && !values.contains(&text) {
            let problem = format!("headers: {name}: {text:?} is not one of {}", values.join(", "));
            return Err(WebProblem::at(&value, problem));
        }
        let header =
            HeaderName::from_bytes(known.as_bytes()).expect("the name is constant, and a test sets each one");
        let text = HeaderValue::from_str(text)
            .map_err(|_| WebProblem::at(&value, format!("headers: {name}: a header cannot hold {text:?}")))?;
        checked.insert(header, text);
    }
    Ok(checked)
}
