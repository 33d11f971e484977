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

/// The format that is wanted most, the first of several: text unless another one is asked for by name, and protobuf by the
/// messages and the encoding, too, since it can be written in others.
fn format(accept: &str) -> Format {
    let mut best = (Format::Text, Wish::of(accept, &TEXT));
    let others = [
        (Format::OpenMetrics, &OPENMETRICS, Wish::NAMED),
        (Format::Protobuf, &PROTOBUF, Wish::NAMED_IN_FULL),
    ];
    for (format, media_type, precision) in others {
        let wish = Wish::of(accept, media_type);
        if wish.is_some_and(|wish| wish.precision >= precision && wish.quality > 0.0) && wish > best.1 {
            best = (format, wish);
        }
    }
    best.0
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

/// A media type, and what its parameters are if they are given. Others mean nothing here.
struct MediaType {
    name: (&'static str, &'static str),
    parameters: &'static [(&'static str, &'static str)],
}

const TEXT: MediaType = MediaType { name: ("text", "plain"), parameters: &[("version", "0.0.4")] };

const OPENMETRICS: MediaType =
    MediaType { name: ("application", "openmetrics-text"), parameters: &[("version", "1.0.0")] };

const PROTOBUF: MediaType = MediaType {
    name: ("application", "vnd.google.protobuf"),
    parameters: &[("proto", "io.prometheus.client.MetricFamily"), ("encoding", "delimited")],
};

/// How much a media type is wanted.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Wish {
    quality: f64,
    /// How precisely the entry names the media type: with all parameters, by its name, by a part of it, or not at all.
    precision: u8,
}

impl Wish {
    const NAMED_IN_FULL: u8 = 3;
    const NAMED: u8 = 2;
    const IN_PART: u8 = 1;
    const ANY: u8 = 0;

    /// The most precise entry decides.
    fn of(accept: &str, media_type: &MediaType) -> Option<Self> {
        let (kind, subtype) = media_type.name;
        let wishes = Entry::all(accept).filter_map(|entry| {
            let (entry_kind, entry_subtype) = entry.name.split_once('/')?;
            let is_kind = entry_kind.eq_ignore_ascii_case(kind);
            let precision = match entry_subtype {
                "*" if entry_kind == "*" => Self::ANY,
                "*" if is_kind => Self::IN_PART,
                other if !is_kind || !other.eq_ignore_ascii_case(subtype) => return None,
                _ => {
                    let wanted = |key| entry.parameter(key);
                    let given = || media_type.parameters.iter().map(|&(key, value)| (wanted(key), value));
                    if given().any(|(wanted, value)| wanted.is_some_and(|wanted| wanted != value)) {
                        return None;
                    }
                    if given().all(|(wanted, _)| wanted.is_some()) {
                        Self::NAMED_IN_FULL
                    } else {
                        Self::NAMED
                    }
                }
            };
            Some(Self { quality: entry.quality, precision })
        });
        wishes.max_by_key(|wish| wish.precision)
    }
}

/// One entry of a list: `text/plain;version=0.0.4;q=0.5`.
struct Entry<'a> {
    name: &'a str,
    /// What stands behind the name.
    parameters: &'a str,
    /// 0 to 1, and 0 where it is none.
    quality: f64,
}

impl<'a> Entry<'a> {
    fn all(list: &'a str) -> impl Iterator<Item = Self> {
        list.split(',').map(|entry| {
            let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
            let mut entry = Self { name: name.trim(), parameters, quality: 1.0 };
            if let Some(quality) = entry.parameter("q") {
                let quality = quality.parse().ok().filter(|quality| (0.0..=1.0).contains(quality));
                entry.quality = quality.unwrap_or(0.0);
            }
            entry
        })
    }

    fn parameter(&self, key: &str) -> Option<&'a str> {
        let mut parameters = self.parameters.split(';').filter_map(|parameter| parameter.split_once('='));
        let (_, value) = parameters.rfind(|(other, _)| other.trim().eq_ignore_ascii_case(key))?;
        Some(value.trim().trim_matches('"'))
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_format_is_for_those_who_ask_for_it_by_name_and_rather_than_for_the_others() {
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
            // Datadog's openmetrics check, as it is and with `use_latest_spec`; curl's is the second row.
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
