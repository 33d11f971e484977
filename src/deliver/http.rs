//! Sends requests over HTTP, and reads what the answers mean.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine};
use flate2::Compression;
use flate2::write::GzEncoder;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Response, Uri};
use ureq::{Agent, Body, RequestBuilder, Timeout};

use super::transport::{Failure, Receipt};
use crate::http::{ClientTls, USER_AGENT, tls_problem};
use crate::text::visible::shortened;

/// The most bytes of an answer that tallyd reads.
const LONGEST_ANSWER: u64 = 4096;
/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpOptions {
    pub(crate) url: String,
    /// The longest time of one request.
    pub(crate) timeout: Duration,
    pub(crate) authentication: Authentication,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) tls: ClientTls,
}

/// How tallyd identifies itself. It reads the files again for each request, so a new password takes effect at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Authentication {
    None,
    Basic { user: String, password_file: PathBuf },
    Token { scheme: &'static str, token_file: PathBuf },
}

/// A client of one server.
#[derive(Debug)]
pub(crate) struct HttpClient {
    agent: Agent,
    options: HttpOptions,
    headers: HeaderMap,
}

/// The answer of a server.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The beginning of its body.
    pub(crate) body: Vec<u8>,
}

impl HttpClient {
    /// Creates a client without connecting it.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with the options.
    pub(crate) fn new(options: HttpOptions) -> Result<Self, String> {
        let uri: Uri =
            options.url.parse().map_err(|error| format!("{:?} is no URL: {error}", options.url))?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .timeout_connect(Some(CONNECT_TIMEOUT.min(options.timeout)))
            .timeout_global(Some(options.timeout));
        if uri.scheme_str() == Some("https") {
            config = config.tls_config(options.tls.read()?);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let no_header = |error: &dyn std::fmt::Display| format!("{name:?} is no header: {error}");
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|error| no_header(&error))?;
            headers.insert(parsed, HeaderValue::from_str(value).map_err(|error| no_header(&error))?);
        }
        Ok(Self { agent: config.build().into(), options, headers })
    }

    /// Sends a body, and waits for the answer.
    ///
    /// # Errors
    ///
    /// Fails if there is no answer.
    pub(crate) fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Result<HttpAnswer, Failure> {
        let mut request = self.prepare(self.agent.post(&self.options.url))?;
        for &(name, value) in headers {
            request = request.header(name, value);
        }
        request.send(body).map(HttpAnswer::read).map_err(|error| Failure::new(self.problem(error)))
    }

    /// Asks for the beginning of the text at another URL of the server.
    ///
    /// # Errors
    ///
    /// Fails if there is no answer.
    pub(crate) fn get(&self, url: &str, parameters: &[(&str, &str)]) -> Result<HttpAnswer, Failure> {
        let request = self.prepare(self.agent.get(url))?.query_pairs(parameters.iter().copied());
        request.call().map(HttpAnswer::read).map_err(|error| Failure::new(self.problem(error)))
    }

    /// Adds the headers of the configuration.
    fn prepare<Any>(&self, mut request: RequestBuilder<Any>) -> Result<RequestBuilder<Any>, Failure> {
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(authorization) = self.authorization().map_err(Failure::new)? {
            request = request.header("Authorization", authorization);
        }
        Ok(request)
    }

    fn authorization(&self) -> Result<Option<String>, String> {
        let read = |file: &PathBuf| {
            fs::read_to_string(file)
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|error| format!("{} cannot be read: {error}", file.display()))
        };
        match &self.options.authentication {
            Authentication::None => Ok(None),
            Authentication::Basic { user, password_file } => {
                let secret = BASE64_STANDARD.encode(format!("{user}:{}", read(password_file)?));
                Ok(Some(format!("Basic {secret}")))
            }
            Authentication::Token { scheme, token_file } => {
                Ok(Some(format!("{scheme} {}", read(token_file)?)))
            }
        }
    }

    /// Says in words why there is no answer.
    fn problem(&self, error: ureq::Error) -> String {
        let url = &self.options.url;
        match error {
            ureq::Error::Timeout(Timeout::Connect) => format!("{url}: the connection took too long"),
            ureq::Error::Timeout(_) => {
                let timeout = humantime::format_duration(self.options.timeout);
                format!("{url}: the answer took more than {timeout}; timeout waits longer")
            }
            ureq::Error::HostNotFound => format!("{url}: the host is unknown"),
            ureq::Error::Rustls(error) => format!("{url}: {}", tls_problem(&error, "ca_file")),
            ureq::Error::Io(error) => {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                match inner {
                    Some(error) => format!("{url}: {}", tls_problem(error, "ca_file")),
                    None => format!("{url}: {error}"),
                }
            }
            ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) | ureq::Error::Http(_) => {
                format!("{url}: it does not answer in HTTP: {error}")
            }
            other => format!("{url}: {other}"),
        }
    }
}

impl HttpAnswer {
    fn read(mut response: Response<Body>) -> Self {
        let mut body = Vec::new();
        // A longer answer, or one that breaks off, still has a status. The connection is closed then.
        let reader = response.body_mut().as_reader();
        _ = std::io::Read::read_to_end(&mut std::io::Read::take(reader, LONGEST_ANSWER), &mut body);
        let (parts, _) = response.into_parts();
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// Returns what the answer means for the points of the request. A server that has problems, or too much to do, may take
    /// them later. Any other error is final.
    ///
    /// # Errors
    ///
    /// Fails if the request must be sent again.
    pub(crate) fn outcome(&self, points: u64) -> Result<Receipt, Failure> {
        let Self { status, headers, body } = self;
        let text = shortened(String::from_utf8_lossy(body).trim());
        let said =
            || if text.is_empty() { format!("status {status}") } else { format!("status {status}: {text}") };
        match status {
            200..300 => Ok(Receipt::default()),
            300..400 => {
                let to = headers
                    .get("location")
                    .map_or("another URL".into(), |to| String::from_utf8_lossy(to.as_bytes()));
                let reason =
                    format!("it redirects to {}; write that URL into the configuration", shortened(&to));
                Err(Failure::new(reason))
            }
            408 | 425 | 429 | 500.. => Err(Failure { reason: said(), retry_after: retry_after(headers) }),
            _ => Ok(Receipt { refused: points, reason: said() }),
        }
    }
}

impl Failure {
    /// Creates a failure of a server that did not say when to come back.
    pub(crate) fn new(reason: String) -> Self {
        Self { reason, retry_after: None }
    }
}

/// Returns the bytes compressed by gzip, after `begin`.
pub(crate) fn gzipped(begin: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    const GROWS: &str = "writing to a Vec cannot fail";
    let mut encoder = GzEncoder::new(begin, Compression::fast());
    encoder.write_all(bytes).expect(GROWS);
    encoder.finish().expect(GROWS)
}

/// Reads the header `Retry-After`, which has seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Serves one connection: reads a request, and answers with these bytes. Returns the URL and the request.
    fn server(answer: Vec<u8>) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/write", listener.local_addr().unwrap());
        let serving = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"the body") {
                let mut piece = [0; 1024];
                let length = connection.read(&mut piece).unwrap();
                request.extend_from_slice(&piece[..length]);
            }
            // The client may close the connection before the end of a long answer.
            _ = connection.write_all(&answer);
            String::from_utf8(request).unwrap()
        });
        (url, serving)
    }

    fn options(url: String) -> HttpOptions {
        HttpOptions {
            url,
            timeout: Duration::from_secs(10),
            authentication: Authentication::None,
            headers: vec![("X-Scope-OrgID".to_owned(), "team".to_owned())],
            tls: ClientTls::default(),
        }
    }

    fn outcome(answer: impl Into<Vec<u8>>) -> Result<Receipt, Failure> {
        let (url, serving) = server(answer.into());
        let answer = HttpClient::new(options(url)).unwrap().post(&[("Content-Type", "x/y")], b"the body");
        let request = serving.join().unwrap().to_lowercase();
        assert!(
            request.contains("content-type: x/y\r\n") && request.contains("x-scope-orgid: team\r\n"),
            "{request}"
        );
        answer?.outcome(7)
    }

    #[test]
    fn success_is_acknowledged_and_other_errors_than_overload_are_final() {
        assert_eq!(outcome("HTTP/1.1 204 No Content\r\n\r\n"), Ok(Receipt::default()));
        for (status, text, reason) in [
            (400, "out of order\n\u{1b}[31m", "status 400: out of order\\n\\u{1b}[31m"),
            (401, "", "status 401"),
            (404, "no\r\n", "status 404: no"),
        ] {
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            assert_eq!(outcome(answer), Ok(Receipt { refused: 7, reason: reason.to_owned() }));
        }
    }

    #[test]
    fn a_server_that_is_overloaded_or_broken_gets_the_request_again() {
        let failure = |status: &str, headers: &str| {
            outcome(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{headers}\r\n")).unwrap_err()
        };
        for status in ["408 X", "425 X", "429 X", "500 X", "503 X", "599 X"] {
            assert_eq!(failure(status, "").retry_after, None);
        }
        assert_eq!(failure("429 X", "Retry-After: 17\r\n").retry_after, Some(Duration::from_secs(17)));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_mins(1));
        let asked = failure("503 X", &format!("Retry-After: {date}\r\n")).retry_after.unwrap();
        assert!((50..=60).contains(&asked.as_secs()), "{asked:?}");
        assert_eq!(failure("503 X", "Retry-After: soon\r\n").retry_after, None);
    }

    #[test]
    fn a_redirect_is_not_followed_and_its_target_is_named() {
        let redirect = "HTTP/1.1 301 X\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n";
        let reason = outcome(redirect).unwrap_err().reason;
        assert!(reason.contains("http://elsewhere/") && reason.contains("configuration"), "{reason}");
    }

    #[test]
    fn rubbish_silence_and_endless_answers_cost_little() {
        for rubbish in ["", "rubbish\r\n\r\n", "HTTP/1.1 999999 X\r\n\r\n", "HTTP/1.1 200"] {
            assert!(outcome(rubbish).is_err(), "{rubbish:?}");
        }
        let mut endless = b"HTTP/1.1 400 X\r\n\r\n".to_vec();
        endless.resize(50_000_000, b'x');
        let receipt = outcome(endless).unwrap();
        assert!(receipt.reason.len() < 1000, "{}", receipt.reason.len());
        let unreachable = HttpClient::new(options("http://127.0.0.1:1/".to_owned())).unwrap();
        let reason = unreachable.post(&[], b"").unwrap_err().reason;
        assert!(reason.contains("http://127.0.0.1:1/: ") && reason.contains("refused"), "{reason}");
    }

    #[test]
    fn passwords_and_tokens_are_read_for_each_request() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        fs::write(&file, "one\n").unwrap();
        for (authentication, expected) in [
            (
                Authentication::Token { scheme: "Bearer", token_file: file.clone() },
                ["Bearer one", "Bearer two"],
            ),
            (
                Authentication::Basic { user: "u".to_owned(), password_file: file.clone() },
                ["Basic dTpvbmU=", "Basic dTp0d28="],
            ),
        ] {
            let client =
                HttpClient::new(HttpOptions { authentication, ..options("http://x".to_owned()) }).unwrap();
            for (secret, expected) in ["one\r\n", "two"].into_iter().zip(expected) {
                fs::write(&file, secret).unwrap();
                assert_eq!(client.authorization(), Ok(Some(expected.to_owned())));
            }
        }
        let missing =
            Authentication::Token { scheme: "Bearer", token_file: directory.path().join("missing") };
        let client = HttpClient::new(HttpOptions {
            authentication: missing,
            ..options("http://127.0.0.1:1".to_owned())
        });
        let reason = client.unwrap().post(&[], b"").unwrap_err().reason;
        assert!(reason.contains("missing cannot be read"), "{reason}");
    }
}
