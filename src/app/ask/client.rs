//! Asks a running tallyd over HTTP, and limits what it reads of the answers.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Body, RequestBuilder, Timeout};

use super::error::AskError;
use super::live::LiveEvents;
use super::options::{ServerOptions, ServerUrl};
use super::unix::UnixConnector;
use crate::http::{ClientTls, USER_AGENT, tls_problem};
use crate::text::visible::shortened;

/// The longest answer in bytes. 10,000 series with long names take a tenth of it.
const LONGEST_ANSWER: u64 = 64 << 20;
/// The longest text of an error in bytes that is read.
const LONGEST_ERROR: u64 = 4096;
/// How long a live connection may be silent. tallyd sends something every 15 seconds.
const LONGEST_SILENCE: Duration = Duration::from_secs(45);

/// The option that names a file of authorities.
const CA_FILE: &str = "--ca-file";

/// The parameters of a question.
pub(super) type Parameters<'a> = &'a [(&'a str, &'a str)];

/// A client of one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Client {
    agent: Agent,
    url: ServerUrl,
    timeout: Duration,
    /// The header `Authorization`, if there is a user.
    authorization: Option<String>,
}

impl Client {
    /// Creates a client without connecting it.
    ///
    /// # Errors
    ///
    /// Returns an error if the password or the certificates cannot be read.
    pub(super) fn new(server: &ServerOptions) -> Result<Self, AskError> {
        let ServerOptions { url, user, password_file, ca_file, timeout } = server;
        let authorization = user.as_deref().map(|user| authorization(user, password_file.as_deref()));
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            // A proxy in the environment is for other servers. It could not reach a tallyd on this machine.
            .proxy(None)
            .timeout_connect(Some(*timeout))
            .timeout_send_request(Some(*timeout))
            .timeout_recv_response(Some(*timeout));
        if url.has_tls() {
            let tls = ClientTls { ca_file: ca_file.clone(), certificate: None };
            config = config.tls_config(tls.read().map_err(AskError::Options)?);
        }
        let config = config.build();
        let agent = match url.socket() {
            Some(path) => {
                let connector = UnixConnector(path.to_owned());
                Agent::with_parts(config, connector, DefaultResolver::default())
            }
            None => config.into(),
        };
        Ok(Self { agent, url: url.clone(), timeout: *timeout, authorization: authorization.transpose()? })
    }

    /// Returns the URL of the endpoint.
    pub(super) fn url(&self) -> &ServerUrl {
        &self.url
    }

    /// Returns a warning if others can read the password on its way.
    pub(super) fn warning(&self) -> Option<&'static str> {
        let is_at_risk = self.authorization.is_some() && self.url.is_readable_by_others();
        is_at_risk.then_some("the password travels unencrypted; use https:// in --url")
    }

    /// Asks for the answer at a path of the API, such as `series`.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: Parameters<'_>,
    ) -> Result<T, AskError> {
        self.parse(&self.get_text(path, parameters)?)
    }

    /// Asks for an answer of the API as text.
    pub(super) fn get_text(&self, path: &str, parameters: Parameters<'_>) -> Result<String, AskError> {
        self.get_at(&of_api(path), parameters)
    }

    /// Asks for the text at a path of the endpoint, such as `/-/healthy`.
    pub(super) fn get_at(&self, path: &str, parameters: Parameters<'_>) -> Result<String, AskError> {
        let request = self.prepare(self.agent.get(self.url.of(path)), parameters);
        let request = request.config().timeout_global(Some(self.timeout)).build();
        self.read(request.call())
    }

    /// Asks tallyd to change something.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: Parameters<'_>,
    ) -> Result<T, AskError> {
        let request = self.prepare(self.agent.post(self.url.of(&of_api(path))), parameters);
        let request = request.config().timeout_global(Some(self.timeout)).build();
        self.parse(&self.read(request.send_empty())?)
    }

    /// Opens the stream of live events.
    pub(super) fn live(
        &self,
        parameters: Parameters<'_>,
    ) -> Result<LiveEvents<impl BufRead + use<>>, AskError> {
        let request = self.prepare(self.agent.get(self.url.of(&of_api("live"))), parameters);
        let request = request.config().timeout_per_read(Some(LONGEST_SILENCE)).build();
        let response = self.checked(request.call())?;
        let is_stream = response.body().mime_type() == Some("text/event-stream");
        if !is_stream {
            return Err(self.unreadable("it sent no stream of events"));
        }
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(LiveEvents::new(BufReader::new(body)))
    }

    /// Returns the error for a stream of events that broke or ended.
    pub(super) fn broken(&self, error: Option<io::Error>) -> AskError {
        match error {
            Some(error) if error.kind() == io::ErrorKind::InvalidData => self.unreadable(&error.to_string()),
            Some(error) => self.failed(ureq::Error::from(error)),
            None => self.unreachable("it closed the connection"),
        }
    }

    /// Parses JSON of tallyd.
    pub(super) fn parse<T: DeserializeOwned>(&self, text: &str) -> Result<T, AskError> {
        serde_json::from_str(text).map_err(|error| {
            let problem = match error.classify() {
                serde_json::error::Category::Data => format!("its JSON is different ({error})"),
                _ => format!("{:?} is not JSON", shortened(text.trim())),
            };
            self.unreadable(&problem)
        })
    }

    fn prepare<Any>(
        &self,
        mut request: RequestBuilder<Any>,
        parameters: Parameters<'_>,
    ) -> RequestBuilder<Any> {
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        request.query_pairs(parameters.iter().copied())
    }

    /// Returns the response if it is a success.
    fn checked(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, AskError> {
        let mut response = response.map_err(|error| self.failed(error))?;
        let status = response.status().as_u16();
        if status == 200 {
            return Ok(response);
        }
        let location = response.headers().get("location").map(|value| lossy(value.as_bytes()));
        let text = location.filter(|_| (300..400).contains(&status)).unwrap_or_else(|| {
            let body = response.body_mut().with_config().limit(LONGEST_ERROR);
            // An error without a readable text is still an error.
            body.read_to_vec().map_or_else(|_| String::new(), |text| lossy(&text))
        });
        Err(AskError::Refused { url: self.url.to_string(), status, text })
    }

    fn read(&self, response: Result<Response<Body>, ureq::Error>) -> Result<String, AskError> {
        let mut response = self.checked(response)?;
        let body = response.body_mut().with_config().limit(LONGEST_ANSWER);
        body.read_to_vec().map(|text| lossy(&text)).map_err(|error| self.failed(error))
    }

    /// Says in words why a request failed.
    fn failed(&self, error: ureq::Error) -> AskError {
        match error {
            ureq::Error::Timeout(Timeout::PerRead) => {
                let silence = humantime::format_duration(LONGEST_SILENCE);
                self.unreachable(&format!("it was silent for {silence}"))
            }
            ureq::Error::Timeout(_) => {
                let timeout = humantime::format_duration(self.timeout);
                self.unreachable(&format!("it took more than {timeout}; --timeout waits longer"))
            }
            ureq::Error::HostNotFound => self.unreachable("the host is unknown; check --url"),
            ureq::Error::Io(error) => self.failed_io(&error),
            ureq::Error::Rustls(error) => self.unreachable(&tls_problem(&error, CA_FILE)),
            ureq::Error::BodyExceedsLimit(limit) => {
                self.unreadable(&format!("its answer is longer than {} MiB", limit >> 20))
            }
            ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) | ureq::Error::Http(_) => {
                let advice = if self.url.has_tls() { "" } else { " (an endpoint with TLS needs https://)" };
                self.unreadable(&format!("it does not answer in HTTP{advice}"))
            }
            other => self.unreachable(&other.to_string()),
        }
    }

    fn failed_io(&self, error: &io::Error) -> AskError {
        let inner = error.get_ref();
        if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return self.unreachable(&tls_problem(error, CA_FILE));
        }
        self.unreachable(&match error.kind() {
            io::ErrorKind::ConnectionRefused => format!(
                "{error}; is tallyd running there, with exporters.prometheus.start_http_server = true? --url or \
                 TALLYD_URL names another endpoint"
            ),
            io::ErrorKind::NotFound if self.url.socket().is_some() => format!(
                "{error}; is tallyd running there, with this path in exporters.prometheus.socket?"
            ),
            io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
            _ => error.to_string(),
        })
    }

    fn unreachable(&self, problem: &str) -> AskError {
        AskError::Unreachable { url: self.url.to_string(), problem: problem.to_owned() }
    }

    /// Returns the error for an answer that no tallyd gives.
    pub(super) fn unreadable(&self, problem: &str) -> AskError {
        AskError::Unreadable { url: self.url.to_string(), problem: problem.to_owned() }
    }
}

/// Returns the path of a path of the API, such as `series`.
fn of_api(path: &str) -> String {
    format!("/api/v1/{path}")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the header for a user, whose password is in a file or in `TALLYD_PASSWORD`.
fn authorization(user: &str, password_file: Option<&Path>) -> Result<String, AskError> {
    let password = match password_file {
        Some(file) => read(file)?,
        None => env::var("TALLYD_PASSWORD").map_err(|_| {
            AskError::Options("no password: give --password-file, or set TALLYD_PASSWORD".to_owned())
        })?,
    };
    let password = password.trim_end_matches(['\r', '\n']);
    Ok(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
}

fn read(file: &Path) -> Result<String, AskError> {
    let problem = |error| AskError::Options(format!("{}: cannot be read: {error}", file.display()));
    fs::read_to_string(file).map_err(problem)
}
