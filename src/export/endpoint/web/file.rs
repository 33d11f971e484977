//! What a web configuration file says, field by field: that of exporter-toolkit, in YAML.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Problem;
use crate::text::duration::GoDuration;
use crate::text::yaml::{self, YamlError};

/// All of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WebFile {
    pub(super) tls_server_config: Option<Spanned<TlsSection>>,
    pub(super) http_server_config: Option<HttpSection>,
    /// The bcrypt hash of each user's password.
    pub(super) basic_auth_users: Option<BTreeMap<String, Spanned<String>>>,
    pub(super) rate_limit: Option<Spanned<RateSection>>,
}

/// A text with its line. One that is empty says nothing, as there.
pub(super) type Text = Option<Spanned<String>>;

/// What is asked of TLS. There, a file counts where the text of it is given, too.
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
    /// Whether it says anything.
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

/// How the answers are.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HttpSection {
    /// Read and without effect: HTTP/1.1 is all that is offered, and clients of HTTP/2 take that.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    pub(super) headers: Option<BTreeMap<String, Spanned<String>>>,
}

/// How many requests are answered.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RateSection {
    pub(super) interval: GoDuration,
    pub(super) burst: u32,
}

/// The text, if there is one.
pub(super) fn given(text: &Text) -> Option<&Spanned<String>> {
    text.as_ref().filter(|text| !text.value.is_empty())
}

/// An empty file asks for nothing.
pub(super) fn parse(text: &str) -> Result<WebFile, Problem> {
    match yaml::parse(text) {
        Ok(file) => Ok(file.unwrap_or_default()),
        Err(YamlError { line, problem }) => Err(Problem { line, text: problem }),
    }
}
