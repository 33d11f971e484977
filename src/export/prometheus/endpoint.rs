//! Serves the page to Prometheus over HTTP.
//!
//! ```text
//!  snapshot --> totals --+
//!                        +--> render cache: rendered on request, kept until the next snapshot
//!  request --> service --+
//! ```
//!
//! The exporter's thread adds snapshots to the totals. The HTTP server has one thread for all connections, and another
//! one for rendering.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use enum_map::EnumMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use hyper::{HeaderMap, Method, StatusCode, Uri};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::api::{Api, ApiOptions, is_of_another_site};
use super::encode::Format;
use super::live_page;
use super::render_cache::{NoRoom, RenderCache};
use super::scrape_interval::ScrapeInterval;
use super::totals::Totals;
use crate::export::{ExportError, ExportOutcome, Exporter};
use crate::http::negotiation::{self, Encoding, Offer, Precision};
use crate::http::response::{Body, Response, method_not_allowed, text};
use crate::http::{
    self, Protection, Request, Server, ServerKeys, ServerOptions, Service, WebError, WebReport,
};
use crate::model::{Counter, Memory, Snapshot, Telemetry};
use crate::net::{BindKeys, ClientKeys, Stopped, Threads};

const KEYS: ServerKeys = ServerKeys {
    bind: BindKeys {
        socket: "http",
        address: "exporters.prometheus.address",
        port: "exporters.prometheus.port",
        share_port: None,
    },
    clients: ClientKeys {
        max_connections: "exporters.prometheus.max_connections",
        permitted_networks: "exporters.prometheus.permitted_networks",
    },
    web_config_file: "exporters.prometheus.web_config_file",
};

const TEXT: Offer<Format> = Offer {
    value: Format::Text,
    name: ("text", "plain"),
    parameters: &[("version", "0.0.4")],
    precision: Precision::Any,
};

const OPENMETRICS: Offer<Format> = Offer {
    value: Format::OpenMetrics,
    name: ("application", "openmetrics-text"),
    parameters: &[("version", "1.0.0")],
    precision: Precision::Subtype,
};

const PROTOBUF: Offer<Format> = Offer {
    value: Format::Protobuf,
    name: ("application", "vnd.google.protobuf"),
    parameters: &[("proto", "io.prometheus.client.MetricFamily"), ("encoding", "delimited")],
    precision: Precision::Parameters,
};

/// The formats that scrapers may request. Text is the default. A scraper gets protobuf only if it names the messages
/// and the encoding, because protobuf has others, too.
const OFFERS: [Offer<Format>; 3] = [TEXT, OPENMETRICS, PROTOBUF];

/// The formats that scrapers may request if UTF-8 names are on. A scraper gets UTF-8 names only if the item of its format
/// states the escaping. Prometheus names the same quality for both, so the one with UTF-8 names comes first.
const OFFERS_WITH_UTF8_NAMES: [Offer<Format>; 6] = [
    TEXT,
    Offer {
        value: Format::TextUtf8,
        parameters: &[("version", "1.0.0"), ("escaping", "allow-utf-8")],
        precision: Precision::Parameters,
        ..TEXT
    },
    Offer {
        value: Format::OpenMetricsUtf8,
        parameters: &[("version", "1.0.0"), ("escaping", "allow-utf-8")],
        precision: Precision::Parameters,
        ..OPENMETRICS
    },
    OPENMETRICS,
    Offer {
        value: Format::ProtobufUtf8,
        parameters: &[
            ("proto", "io.prometheus.client.MetricFamily"),
            ("encoding", "delimited"),
            ("escaping", "allow-utf-8"),
        ],
        ..PROTOBUF
    },
    PROTOBUF,
];

/// The beginning of the paths of the API.
const API: &str = "/api/v1/";

/// Says whether tallyd works.
pub(crate) trait Health: fmt::Debug + Send + Sync + 'static {
    /// Returns the reason if tallyd does not work.
    fn check(&self) -> Result<(), String>;
}

/// A request to read the configuration again. The client that sent it gets the outcome.
pub(crate) type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// Checks the web configuration file of the endpoint, and the files that it names.
///
/// # Errors
///
/// Fails at the first problem.
pub(crate) fn check_web(path: &Path) -> Result<WebReport, WebError> {
    http::check_web(path, KEYS.web_config_file)
}

/// The pages that the endpoint serves.
pub(crate) struct Pages {
    /// The path of the page that Prometheus scrapes.
    pub(crate) path: Arc<str>,
    pub(crate) api: ApiOptions,
    /// With it, clients may request a reload of the configuration.
    pub(crate) reload_requests: Option<mpsc::Sender<ReloadRequest>>,
}

/// The exporter that Prometheus scrapes.
#[derive(Debug)]
pub(crate) struct Endpoint {
    address: SocketAddr,
    protection: Option<Protection>,
    cache: Arc<RenderCache>,
    api: Arc<Api>,
    scrape_interval: Arc<ScrapeInterval>,
    /// The HTTP server. `None` once the exporter has finished.
    server: Option<Server>,
}

impl Endpoint {
    /// Starts to serve `totals`, to which every exported snapshot is added, on the socket that the service manager `held`
    /// or on its own.
    ///
    /// # Errors
    ///
    /// Fails if the web configuration file is invalid, the address cannot be used, or the system provides no thread.
    pub(crate) fn start(
        (options, held): (&ServerOptions, Option<TcpListener>),
        totals: Totals,
        health: Arc<dyn Health>,
        Pages { path, api, reload_requests }: Pages,
        (memory, telemetry, threads): (&Memory, &Telemetry, &Threads),
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let has_utf8_names = totals.has_utf8_names;
        let cache = Arc::new(RenderCache::new(totals, memory.clone()));
        let api = Arc::new(Api::new(api, memory, telemetry));
        let scrapes = telemetry.counters("scrapes", &[], "format");
        let scrape_interval = Arc::new(ScrapeInterval::register(telemetry));
        let service = ScrapeService {
            cache: Arc::clone(&cache),
            api: Arc::clone(&api),
            health,
            scrapes,
            scrapes_refused: telemetry.counter("scrapes_refused", &[]),
            scrape_interval: Arc::clone(&scrape_interval),
            path,
            has_utf8_names,
            reload_requests,
        };
        let server = Server::start(options, held, &KEYS, service, (telemetry, threads))?;
        Ok(Self {
            address: server.address(),
            protection: server.protection(),
            cache,
            api,
            scrape_interval,
            server: Some(server),
        })
    }

    /// Returns the address on which the endpoint serves.
    #[must_use]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the protection that was in force at the start, or `None` without a web configuration file.
    #[must_use]
    pub(crate) fn protection(&self) -> Option<Protection> {
        self.protection
    }
}

impl Exporter for Endpoint {
    const KEEPS_TOTALS: bool = true;

    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn export(&mut self, snapshot: &Arc<Snapshot>) -> Result<ExportOutcome, ExportError> {
        let outcome = self.cache.add(snapshot);
        self.api.add(snapshot);
        self.scrape_interval.note_window(self.cache.shortest_window(), snapshot.interval);
        if self.server.as_ref().is_some_and(Server::is_running) { Ok(outcome) } else { Err(panicked()) }
    }

    fn state(&self) -> Option<Vec<u8>> {
        Some(self.cache.encode())
    }

    fn finish(&mut self, patience: Duration) -> Result<(), ExportError> {
        // The thread needs the rest of the time to end.
        let patience = patience * 9 / 10;
        match self.server.take().map(|server| server.stop(patience)) {
            Some(Stopped::Panicked) => Err(panicked()),
            Some(Stopped::TimedOut) => {
                tracing::warn!(?patience, "scrapers did not take their answers before the stop");
                Ok(())
            }
            Some(Stopped::Drained) | None => Ok(()),
        }
    }
}

fn panicked() -> ExportError {
    ExportError::new("the endpoint panicked", io::Error::other("restart tallyd; see the log above"))
}

/// The answer to a scrape for which there is no memory.
const NO_ROOM: &str = "no memory for the page: it is larger than its share of memory.max, or slow clients still \
                       receive earlier pages; accept gzip, or raise memory.max\n";

/// Answers the requests of scrapers and people.
#[derive(Debug, Clone)]
struct ScrapeService {
    cache: Arc<RenderCache>,
    api: Arc<Api>,
    health: Arc<dyn Health>,
    scrapes: EnumMap<Format, Counter>,
    /// Counts scrapes for which there was no memory.
    scrapes_refused: Counter,
    scrape_interval: Arc<ScrapeInterval>,
    /// The path of the page that Prometheus scrapes.
    path: Arc<str>,
    /// Whether scrapers may request UTF-8 names.
    has_utf8_names: bool,
    /// `None` if clients may not request a reload.
    reload_requests: Option<mpsc::Sender<ReloadRequest>>,
}

impl Service for ScrapeService {
    async fn respond(&self, request: &Request, client: IpAddr) -> Response {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let writes = matches!(*request.method(), Method::POST | Method::PUT);
        match request.uri().path() {
            "/" | "/-/healthy" | "/-/ready" if !reads => method_not_allowed("GET, HEAD"),
            path if *path == *self.path && !reads => method_not_allowed("GET, HEAD"),
            _ if writes && is_of_another_site(request.headers()) => {
                text(StatusCode::FORBIDDEN, "a web page of another site sent this request\n")
            }
            path if path.starts_with(API) => match self.api.refusal(client, request.headers()) {
                Some(refusal) => refusal,
                None if reads => self.ask(request.uri()).await,
                None if writes => self.api.change(&path[API.len()..], request.uri().query()),
                None => method_not_allowed("GET, HEAD"),
            },
            "/-/reload" if !writes => method_not_allowed("POST, PUT"),
            "/-/reload" => self.reload().await,
            "/" => live_page::respond(negotiation::encoding(request.headers())),
            path if *path == *self.path => self.scrape(request.headers()).await,
            "/-/healthy" => self.report("healthy"),
            "/-/ready" if self.cache.is_ready() => self.report("ready"),
            "/-/ready" => {
                let why = "not ready: the first interval has not ended yet\n";
                text(StatusCode::SERVICE_UNAVAILABLE, why)
            }
            _ => text(
                StatusCode::NOT_FOUND,
                format!("not found: there are {}, /-/healthy, /-/ready and /api/v1/\n", self.path),
            ),
        }
    }
}

impl ScrapeService {
    /// Answers with `state`, or with the reason why tallyd does not work.
    fn report(&self, state: &str) -> Response {
        match self.health.check() {
            Ok(()) => text(StatusCode::OK, format!("{state}\n")),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not {state}: {reason}\n")),
        }
    }

    async fn scrape(&self, headers: &HeaderMap) -> Response {
        let format = if self.has_utf8_names {
            negotiation::content_type(headers, &OFFERS_WITH_UTF8_NAMES)
        } else {
            negotiation::content_type(headers, &OFFERS)
        };
        let encoding = negotiation::encoding(headers);
        self.scrapes[format].increment();
        if let Some(slow) = self.scrape_interval.note_scrape(Instant::now()) {
            slow.warn();
        }
        let body = if let Some(body) = self.cache.find(format, encoding) {
            body
        } else {
            let cache = Arc::clone(&self.cache);
            match spawn_blocking(move || cache.find_or_render(format, encoding)).await {
                Ok(Ok(body)) => body,
                Ok(Err(NoRoom)) => {
                    self.scrapes_refused.increment();
                    return text(StatusCode::SERVICE_UNAVAILABLE, NO_ROOM);
                }
                Err(error) => {
                    tracing::error!(%error, "the metrics could not be rendered");
                    return text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be rendered\n");
                }
            }
        };
        let mut response = Response::new(Body::Complete(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if encoding == Encoding::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    /// Answers a question to the API.
    async fn ask(&self, uri: &Uri) -> Response {
        let (api, cache) = (Arc::clone(&self.api), Arc::clone(&self.cache));
        let (path, query) = (uri.path()[API.len()..].to_owned(), uri.query().map(str::to_owned));
        let answer =
            spawn_blocking(move || cache.read(|totals| api.respond(&path, query.as_deref(), totals)));
        answer.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a question to the API could not be answered");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the question could not be answered\n")
        })
    }

    /// Requests a reload of the configuration, and returns its outcome.
    async fn reload(&self) -> Response {
        let Some(requests) = &self.reload_requests else {
            let why = "turned off: set exporters.prometheus.enable_reload\n";
            return text(StatusCode::FORBIDDEN, why);
        };
        let (request, outcome) = oneshot::channel();
        // Both fail only while tallyd is stopping.
        let stopping = || Err("tallyd is stopping".to_owned());
        let outcome = match requests.send(request).await {
            Ok(()) => outcome.await.unwrap_or_else(|_| stopping()),
            Err(_) => stopping(),
        };
        match outcome {
            Ok(()) => text(StatusCode::OK, "reloaded\n"),
            Err(error) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("refused, the previous configuration stays in force: {error}\n"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};

    use hyper::header::ACCEPT;

    use super::*;
    use crate::export::prometheus::Naming;
    use crate::model::Rows;

    #[derive(Debug)]
    struct Unhealthy;

    impl Health for Unhealthy {
        fn check(&self) -> Result<(), String> {
            Err("the reason".to_owned())
        }
    }

    #[test]
    fn health_checks_fail_with_the_reason_while_tallyd_does_not_work() {
        let options = ServerOptions {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            permitted: crate::net::PermittedNetworks::default(),
            max_connections: 10,
            timeout: Duration::from_mins(1),
            web_config_file: None,
            socket_file: None,
        };
        let (telemetry, threads) = (Telemetry::default(), Threads::new().0);
        let totals = Totals::new(Naming::Prometheus);
        let endpoint = {
            let shared = (&Memory::default(), &telemetry, &threads);
            let pages = Pages { path: "/metrics".into(), api: ApiOptions::off(), reload_requests: None };
            Endpoint::start((&options, None), totals, Arc::new(Unhealthy), pages, shared).unwrap()
        };
        endpoint.cache.add(&Rows::default().into());
        for path in ["healthy", "ready"] {
            let mut client = TcpStream::connect(endpoint.address()).unwrap();
            write!(client, "GET /-/{path} HTTP/1.0\r\n\r\n").unwrap();
            let mut response = String::new();
            client.read_to_string(&mut response).unwrap();
            assert!(response.starts_with("HTTP/1.0 503"), "{response}");
            assert!(response.ends_with(&format!("not {path}: the reason\n")), "{response}");
        }
    }

    #[test]
    fn a_scraper_gets_the_format_that_it_names_and_prefers() {
        let cases = [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("application/*", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=1.0.0", Format::OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"; charset=utf-8", Format::OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Format::Text),
            ("application/openmetrics-text;q=0, */*", Format::Text),
            ("application/openmetrics-text;q=nonsense", Format::Text),
            ("application/openmetrics-text;q=NaN", Format::Text),
            ("application/openmetrics-text,*/*", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.3,text/plain;q=0.4", Format::Text),
            ("application/openmetrics-text;q=0.4,text/plain;q=0.3", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.5,*/*;q=0.9,text/plain;q=0.1", Format::OpenMetrics),
            ("application/openmetrics-text,text/plain", Format::Text),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
                Format::Protobuf,
            ),
            (
                "Application/Vnd.Google.Protobuf ; Proto=\"io.prometheus.client.MetricFamily\" ; Encoding = delimited",
                Format::Protobuf,
            ),
            ("application/vnd.google.protobuf", Format::Text),
            ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily", Format::Text),
            ("application/vnd.google.protobuf;encoding=delimited", Format::Text),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=compact-text",
                Format::Text,
            ),
            ("application/vnd.google.protobuf;proto=other.Message;encoding=delimited", Format::Text),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0,*/*",
                Format::Text,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                 text/plain;version=0.0.4",
                Format::Text,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                 application/openmetrics-text;version=1.0.0",
                Format::OpenMetrics,
            ),
            (
                // Prometheus 2.42.
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                // Prometheus 2.42 with native histograms.
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                 application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::Protobuf,
            ),
            (
                // Prometheus 3.9.
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            (
                // Prometheus 3.0, and 3.9, with native histograms.
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;\
                 escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;escaping=allow-utf-8;q=0.2,*/*;q=0.1",
                Format::Protobuf,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                 application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                Format::Protobuf,
            ),
            (
                // Prometheus 3, set to scrape text.
                "text/plain;version=0.0.4;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.2",
                Format::Text,
            ),
            // VictoriaMetrics.
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Format::Text),
            // Datadog's openmetrics check, by default and with `use_latest_spec`. curl sends the second row.
            ("text/plain", Format::Text),
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1",
                Format::OpenMetrics,
            ),
            (
                // Telegraf.
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
                Format::Protobuf,
            ),
        ];
        for (accept, expected) in cases {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(negotiation::content_type(&headers, &OFFERS), expected, "{accept}");
        }
    }

    #[test]
    fn a_scraper_gets_utf8_names_only_if_it_asks_for_them_in_the_item_of_its_format() {
        let cases = [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain", Format::Text),
            ("text/plain;version=0.0.4;escaping=allow-utf-8", Format::Text),
            ("text/plain;escaping=allow-utf-8", Format::Text),
            ("text/plain;version=1.0.0;escaping=underscores", Format::Text),
            ("text/plain;version=1.0.0;escaping=allow-utf-8", Format::TextUtf8),
            ("Text/Plain; Version=1.0.0; Escaping=\"allow-utf-8\"; charset=utf-8", Format::TextUtf8),
            (
                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3",
                Format::TextUtf8,
            ),
            ("application/openmetrics-text;version=1.0.0", Format::OpenMetrics),
            ("application/openmetrics-text;escaping=allow-utf-8", Format::OpenMetrics),
            ("application/openmetrics-text;version=1.0.0;escaping=dots", Format::OpenMetrics),
            ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0,*/*", Format::Text),
            (
                // Prometheus 2.42.
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                // Prometheus 3.9.
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetricsUtf8,
            ),
            (
                // Prometheus 3.9, with `metric_name_escaping_scheme: underscores`.
                "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=underscores;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            (
                // Prometheus 3.0 to 3.3, with native histograms.
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;\
                 escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,*/*;q=0.1",
                Format::ProtobufUtf8,
            ),
            (
                // Prometheus 3.9, with native histograms.
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                 application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,*/*;q=0.1",
                Format::Protobuf,
            ),
        ];
        for (accept, expected) in cases {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            let format = negotiation::content_type(&headers, &OFFERS_WITH_UTF8_NAMES);
            assert_eq!(format, expected, "{accept}");
        }
    }
}
