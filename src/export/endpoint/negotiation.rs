//! Which form of the page a scraper wants, by the headers with which it says so (RFC 9110).

use hyper::HeaderMap;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

use super::pages::Encoding;
use crate::export::prometheus::Format;

/// What the page is wanted in. Who wants what there is not gets the text format as it is.
pub(super) fn negotiate(headers: &HeaderMap) -> (Format, Encoding) {
    (format(&joined(headers, &ACCEPT)), encoding(&joined(headers, &ACCEPT_ENCODING)))
}

/// A list may come in several lines.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines: Vec<_> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    lines.join(",")
}

/// OpenMetrics where it is asked for by name, and more than the text format.
fn format(accept: &str) -> Format {
    let openmetrics = Wish::of(accept, ("application", "openmetrics-text"), "1.0.0");
    let text = Wish::of(accept, ("text", "plain"), "0.0.4");
    match openmetrics {
        Some(wish) if wish.precision >= Wish::NAMED && wish.quality > 0.0 && Some(wish) > text => {
            Format::OpenMetrics
        }
        _ => Format::Text,
    }
}

/// gzip where it is asked for, and not less than the page as it is.
fn encoding(accept: &str) -> Encoding {
    let quality = |name: &str| {
        Entry::all(accept).find(|entry| entry.name.eq_ignore_ascii_case(name)).map(|entry| entry.quality)
    };
    match quality("gzip").or_else(|| quality("*")) {
        Some(gzip) if gzip > 0.0 && Some(gzip) >= quality("identity") => Encoding::Gzip,
        _ => Encoding::Identity,
    }
}

/// How much a media type is wanted.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Wish {
    quality: f64,
    /// How precisely the entry names the media type: with its version, by its name, by a part of it, or not at all.
    precision: u8,
}

impl Wish {
    const VERSION: u8 = 3;
    const NAMED: u8 = 2;
    const IN_PART: u8 = 1;
    const ANY: u8 = 0;

    /// The most precise entry decides.
    fn of(accept: &str, (kind, subtype): (&str, &str), version: &str) -> Option<Self> {
        let wishes = Entry::all(accept).filter_map(|entry| {
            let (entry_kind, entry_subtype) = entry.name.split_once('/')?;
            let is_kind = entry_kind.eq_ignore_ascii_case(kind);
            let precision = match (entry_subtype, entry.version) {
                ("*", _) if entry_kind == "*" => Self::ANY,
                ("*", _) if is_kind => Self::IN_PART,
                (other, _) if !is_kind || !other.eq_ignore_ascii_case(subtype) => return None,
                (_, None) => Self::NAMED,
                (_, Some(wanted)) if wanted == version => Self::VERSION,
                _ => return None,
            };
            Some(Self { quality: entry.quality, precision })
        });
        wishes.max_by_key(|wish| wish.precision)
    }
}

/// One entry of a list: `text/plain;version=0.0.4;q=0.5`.
struct Entry<'a> {
    name: &'a str,
    version: Option<&'a str>,
    /// 0 to 1, and 0 where it is none.
    quality: f64,
}

impl<'a> Entry<'a> {
    fn all(list: &'a str) -> impl Iterator<Item = Self> {
        list.split(',').map(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let mut entry = Self { name: parts.next().unwrap_or(""), version: None, quality: 1.0 };
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match &*key.trim_end().to_ascii_lowercase() {
                    "q" => {
                        let quality = value.trim_start().parse().ok();
                        entry.quality =
                            quality.filter(|quality| (0.0..=1.0).contains(quality)).unwrap_or(0.0);
                    }
                    "version" => entry.version = Some(value.trim_start().trim_matches('"')),
                    _ => {}
                }
            }
            entry
        })
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it_by_name_and_rather_than_for_text() {
        let cases = [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("application/*", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("text/plain", Format::Text),
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
                // Prometheus 2.42.
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                // Prometheus 3, set to scrape text.
                "text/plain;version=0.0.4;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.2",
                Format::Text,
            ),
        ];
        for (accept, expected) in cases {
            assert_eq!(format(accept), expected, "{accept}");
        }
    }

    #[test]
    fn gzip_is_for_those_who_ask_for_it() {
        let cases = [
            ("", Encoding::Identity),
            ("gzip", Encoding::Gzip),
            ("deflate, GZip;q=0.5, br", Encoding::Gzip),
            ("*", Encoding::Gzip),
            ("gzip;q=0", Encoding::Identity),
            ("gzip;q=0, *", Encoding::Identity),
            ("gzip;q=0.5, identity", Encoding::Identity),
            ("gzip, identity", Encoding::Gzip),
            ("br, zstd", Encoding::Identity),
        ];
        for (accept, expected) in cases {
            assert_eq!(encoding(accept), expected, "{accept}");
        }
    }

    #[test]
    fn a_list_in_several_lines_is_one() {
        let mut headers = HeaderMap::new();
        assert_eq!(negotiate(&headers), (Format::Text, Encoding::Identity));
        for (name, line) in [
            (ACCEPT, "text/plain;q=0.5"),
            (ACCEPT, "application/openmetrics-text"),
            (ACCEPT_ENCODING, "br"),
            (ACCEPT_ENCODING, "gzip"),
        ] {
            headers.append(name, HeaderValue::from_static(line));
        }
        assert_eq!(negotiate(&headers), (Format::OpenMetrics, Encoding::Gzip));
    }
}
