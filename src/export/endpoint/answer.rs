//! What is answered to a request.

use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::task::spawn_blocking;

use super::Requests;
use super::negotiation::negotiate;
use super::pages::{Encoding, Page, Pages};

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

/// Answers, and counts that. The request's body, if it has one, is not looked at.
pub(super) async fn answer<B>(
    request: &Request<B>,
    pages: &Arc<Pages>,
    requests: &Requests,
) -> Response<Page> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let response = match request.uri().path() {
        "/" | "/metrics" | "/-/healthy" | "/-/ready" if !reads => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD are allowed\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
        "/" => text(StatusCode::OK, HTML, LANDING),
        "/metrics" => scrape(request.headers(), pages, requests).await,
        "/-/healthy" => text(StatusCode::OK, PLAIN, "healthy\n"),
        "/-/ready" if pages.is_ready() => text(StatusCode::OK, PLAIN, "ready\n"),
        "/-/ready" => {
            let why = "not ready: the first interval has not ended yet\n";
            text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, why)
        }
        _ => text(StatusCode::NOT_FOUND, PLAIN, "not found: there are /metrics, /-/healthy and /-/ready\n"),
    };
    requests.answer(response.status());
    response
}

async fn scrape(headers: &HeaderMap, pages: &Arc<Pages>, requests: &Requests) -> Response<Page> {
    let (format, encoding) = negotiate(headers);
    requests.scrape(format);
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

fn text(code: StatusCode, content_type: &'static str, text: &'static str) -> Response<Page> {
    let mut response = Response::new(Page::from([Bytes::from_static(text.as_bytes())]));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
