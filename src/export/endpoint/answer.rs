//! What is answered to a request.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::connection::Clerk;
use super::negotiation::negotiate;
use super::pages::{Encoding, Page};

/// Its links lead on through a proxy that has put a path before them, too.
const LANDING: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"><title>tallyd</title></head>
<body>
<h1>tallyd</h1>
<ul>
<li><a href=\"metrics\">/metrics</a>: what Prometheus scrapes</li>
<li><a href=\"-/healthy\">/-/healthy</a>: tallyd runs</li>
<li><a href=\"-/ready\">/-/ready</a>: whether there is something to scrape yet</li>
</ul>
</body>
</html>
";

const HTML: &str = "text/html; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers who comes from this address, and counts that. The request's body, if it has one, is not looked at.
pub(super) async fn answer<B>(request: &Request<B>, clerk: &Clerk, address: IpAddr) -> Response<Page> {
    let response = match &clerk.gate {
        None => answer_admitted(request, clerk).await,
        Some(gate) => {
            let (admitted, headers) = gate.admit(request.headers(), address).await;
            let mut response = match admitted {
                Ok(()) => answer_admitted(request, clerk).await,
                Err(code) => not_admitted(code),
            };
            response.headers_mut().extend(headers);
            response
        }
    };
    clerk.requests.answer(response.status());
    response
}

fn not_admitted(code: StatusCode) -> Response<Page> {
    if code != StatusCode::UNAUTHORIZED {
        return text(code, PLAIN, "too many requests\n");
    }
    let mut response = text(code, PLAIN, "a user and a password are asked for\n");
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    response
}

async fn answer_admitted<B>(request: &Request<B>, clerk: &Clerk) -> Response<Page> {
    let pages = &clerk.pages;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let writes = matches!(*request.method(), Method::POST | Method::PUT);
    match request.uri().path() {
        "/" | "/metrics" | "/-/healthy" | "/-/ready" if !reads => not_allowed("GET, HEAD"),
        "/-/reload" if !writes => not_allowed("POST, PUT"),
        "/-/reload" => reload(clerk).await,
        "/" => text(StatusCode::OK, HTML, LANDING),
        "/metrics" => scrape(request.headers(), clerk).await,
        "/-/healthy" => text(StatusCode::OK, PLAIN, "healthy\n"),
        "/-/ready" if pages.is_ready() => text(StatusCode::OK, PLAIN, "ready\n"),
        "/-/ready" => {
            let why = "not ready: the first interval has not ended yet\n";
            text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, why)
        }
        _ => text(StatusCode::NOT_FOUND, PLAIN, "not found: there are /metrics, /-/healthy and /-/ready\n"),
    }
}

fn not_allowed(allowed: &'static str) -> Response<Page> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, format!("only {allowed} are allowed\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Says how reading the configuration again went.
async fn reload(clerk: &Clerk) -> Response<Page> {
    let Some(reloads) = &clerk.reloads else {
        let why = "turned off: set exporters.prometheus.enable_reload\n";
        return text(StatusCode::FORBIDDEN, PLAIN, why);
    };
    let (tell, told) = oneshot::channel();
    // Fails only where tallyd is stopping.
    let stopping = || Err("tallyd is stopping".to_owned());
    let outcome = match reloads.send(tell).await {
        Ok(()) => told.await.unwrap_or_else(|_| stopping()),
        Err(_) => stopping(),
    };
    match outcome {
        Ok(()) => text(StatusCode::OK, PLAIN, "reloaded\n"),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            PLAIN,
            format!("refused, what was in force stays: {error}\n"),
        ),
    }
}

async fn scrape(headers: &HeaderMap, clerk: &Clerk) -> Response<Page> {
    let pages = &clerk.pages;
    let (format, encoding) = negotiate(headers);
    clerk.requests.scrape(format);
    let made = if let Some(page) = pages.find(format, encoding) {
        Ok(page)
    } else {
        let pages = Arc::clone(pages);
        spawn_blocking(move || pages.make(format, encoding)).await
    };
    let page = match made {
        Ok(page) => page,
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            return text(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "the page could not be made\n");
        }
    };
    let mut response = Response::new(page);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if encoding == Encoding::Gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn text(code: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response<Page> {
    let mut response = Response::new(Page::from([text.into()]));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
