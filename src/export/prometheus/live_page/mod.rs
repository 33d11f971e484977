//! Serves the live page: one document, assembled from the files in this directory, that loads nothing from elsewhere.
//!
//! ```text
//!  page.html <-- uplot/uPlot.min.css, page.css, uplot/uPlot.iife.min.js, script/*.js
//! ```
//!
//! Its content security policy names the hashes of these parts. A browser runs nothing else, even if a name from a client
//! could reach the document as HTML.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use ring::digest::{SHA256, digest};

use crate::http::negotiation::Encoding;
use crate::http::response::{Body, Complete, Response};

/// The document, with a place for each part.
const PAGE: &str = include_str!("page.html");
const PLOT_STYLE: &str = include_str!("uplot/uPlot.min.css");
const STYLE: &str = include_str!("page.css");
const PLOT_SCRIPT: &str = include_str!("uplot/uPlot.iife.min.js");
/// One module. A file uses what the files above it define.
const SCRIPT: &str = concat!(
    include_str!("script/text.js"),
    include_str!("script/dom.js"),
    include_str!("script/api.js"),
    include_str!("script/chart.js"),
    include_str!("script/overview.js"),
    include_str!("script/status.js"),
    include_str!("script/talkers.js"),
    include_str!("script/rejected.js"),
    include_str!("script/search.js"),
    include_str!("script/spectrum.js"),
    include_str!("script/heat_map.js"),
    include_str!("script/opened.js"),
    include_str!("script/main.js"),
);

/// The places of the parts in [`PAGE`], in their order.
const PARTS: [(&str, &str); 4] =
    [("{plot_style}", PLOT_STYLE), ("{style}", STYLE), ("{plot_script}", PLOT_SCRIPT), ("{script}", SCRIPT)];

/// The headers that do not depend on the parts. A new version of tallyd has another page at the same path, so a browser
/// must not keep it.
const HEADERS: [(HeaderName, &str); 5] = [
    (CONTENT_TYPE, "text/html; charset=utf-8"),
    (CACHE_CONTROL, "no-store"),
    (REFERRER_POLICY, "no-referrer"),
    (VARY, "Accept-Encoding"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// The page in both encodings. It is the same for all requests.
static LIVE_PAGE: LazyLock<LivePage> = LazyLock::new(LivePage::assemble);

#[derive(Debug)]
struct LivePage {
    identity: Complete,
    gzip: Complete,
    policy: HeaderValue,
}

impl LivePage {
    fn assemble() -> Self {
        let document = document();
        let policy = HeaderValue::try_from(policy()).expect("the policy is ASCII");
        Self {
            gzip: Complete::from([compressed(&document)]),
            identity: Complete::from([document.into()]),
            policy,
        }
    }
}

/// Returns the live page.
pub(super) fn respond(encoding: Encoding) -> Response {
    let page = &*LIVE_PAGE;
    let body = match encoding {
        Encoding::Identity => &page.identity,
        Encoding::Gzip => &page.gzip,
    };
    let mut response = Response::new(Body::Complete(body.clone()));
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_SECURITY_POLICY, page.policy.clone());
    if encoding == Encoding::Gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Returns the document with its parts.
fn document() -> String {
    let mut document = String::new();
    let mut rest = PAGE;
    for (place, part) in PARTS {
        let (before, after) =
            rest.split_once(place).expect("the page has a place for each part, in this order");
        document.extend([before, part]);
        rest = after;
    }
    document + rest
}

/// Returns a policy that permits only the page's own parts, the API of the same origin, and the icon in the page. Browsers
/// that know trusted types then refuse to parse any text as HTML.
fn policy() -> String {
    format!(
        "default-src 'none'; script-src {} {}; style-src {} {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        source(PLOT_SCRIPT),
        source(SCRIPT),
        source(PLOT_STYLE),
        source(STYLE)
    )
}

/// Returns the expression that permits this text in a policy.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

fn compressed(text: &str) -> Bytes {
    use std::io::Write;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    written.expect("writing to memory cannot fail").into()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn the_policy_names_each_part_and_permits_nothing_inline() {
        let policy = policy();
        for (place, part) in PARTS {
            assert!(policy.contains(&source(part)), "{place}");
            // The element would end within the part, and its hash would be another one.
            assert!(!part.contains("</script") && !part.contains("</style"), "{place}");
            // A browser hashes the text after it has read CR LF as LF.
            assert!(!part.contains('\r'), "{place}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn the_document_has_no_styles_handlers_or_addresses_of_its_own() {
        let without_icon = PAGE.lines().filter(|line| !line.contains("rel=\"icon\"")).collect::<String>();
        for refused in [" style=", " on", "src=", "http:", "https:", "href=\"/"] {
            let found = without_icon
                .split('<')
                .find(|tag| tag.split('>').next().is_some_and(|inside| inside.contains(refused)));
            assert_eq!(found, None, "{refused}");
        }
        for parser in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("]
        {
            assert!(!SCRIPT.contains(parser), "{parser}");
        }
    }

    #[test]
    fn both_encodings_have_the_same_document() {
        let mut document = String::new();
        let gzip = LIVE_PAGE.gzip.concat();
        GzDecoder::new(&gzip[..]).read_to_string(&mut document).unwrap();
        assert_eq!(document.as_bytes(), LIVE_PAGE.identity.concat());
        assert!(PARTS.iter().all(|(place, _)| !document.contains(&format!(">{place}<"))));
        assert!(gzip.len() < 50_000, "{}", gzip.len());
    }
}
