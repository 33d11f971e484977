//! Chooses the content type and the encoding of a response by the headers `Accept` and `Accept-Encoding` (RFC 9110).

use hyper::HeaderMap;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

/// The encoding in which a body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, enum_map::Enum)]
pub(crate) enum Encoding {
    /// The body is sent unchanged.
    Identity,
    /// The body is compressed.
    Gzip,
}

/// A content type that a server offers for a resource.
#[derive(Debug)]
pub(crate) struct Offer<T> {
    /// The caller's value for the content type.
    pub(crate) value: T,
    /// The type and subtype, for example `("text", "plain")`.
    pub(crate) name: (&'static str, &'static str),
    /// The values of parameters. If a client names one of these parameters, its value must be equal. Other parameters
    /// are ignored.
    pub(crate) parameters: &'static [(&'static str, &'static str)],
    /// The least precision with which a client must name the content type to get it.
    pub(crate) precision: Precision,
}

/// The precision with which an item of `Accept` names a content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Precision {
    /// The item is `*/*`.
    Any,
    /// The item names the type alone, such as `text/*`.
    Type,
    /// The item names the type and subtype.
    Subtype,
    /// The item names the type, subtype and all parameters.
    Parameters,
}

/// Returns the value of the offer that the client prefers. The first of several equal offers wins. If the client
/// accepts none of them, the first offer is the default.
pub(crate) fn content_type<T: Copy, const N: usize>(headers: &HeaderMap, offers: &[Offer<T>; N]) -> T {
    let accept = joined(headers, &ACCEPT);
    let mut best = (offers[0].value, Preference::of(&accept, &offers[0]));
    for offer in &offers[1..] {
        let preference = Preference::of(&accept, offer);
        let is_wanted =
            |preference: Preference| preference.quality > 0.0 && preference.precision >= offer.precision;
        if preference.is_some_and(is_wanted) && preference > best.1 {
            best = (offer.value, preference);
        }
    }
    best.0
}

/// Returns gzip if the client accepts it and does not prefer the unchanged body.
pub(crate) fn encoding(headers: &HeaderMap) -> Encoding {
    let accept = joined(headers, &ACCEPT_ENCODING);
    let quality = |name: &str| {
        Item::all(&accept).find(|item| item.name.eq_ignore_ascii_case(name)).map(|item| item.quality)
    };
    match quality("gzip").or_else(|| quality("*")) {
        Some(gzip) if gzip > 0.0 && Some(gzip) >= quality("identity") => Encoding::Gzip,
        _ => Encoding::Identity,
    }
}

/// Returns the value of a header, which several lines may share.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines: Vec<_> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    lines.join(",")
}

/// The preference of a client for a content type. Its quality is compared first.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Preference {
    quality: f64,
    precision: Precision,
}

impl Preference {
    /// Returns the preference of the most precise item that names the content type.
    fn of<T>(accept: &str, offer: &Offer<T>) -> Option<Self> {
        let (kind, subtype) = offer.name;
        let preferences = Item::all(accept).filter_map(|item| {
            let (item_kind, item_subtype) = item.name.split_once('/')?;
            let is_kind = item_kind.eq_ignore_ascii_case(kind);
            let precision = match item_subtype {
                "*" if item_kind == "*" => Precision::Any,
                "*" if is_kind => Precision::Type,
                other if !is_kind || !other.eq_ignore_ascii_case(subtype) => return None,
                _ => {
                    let given = || offer.parameters.iter().map(|&(key, value)| (item.parameter(key), value));
                    if given().any(|(given, value)| given.is_some_and(|given| given != value)) {
                        return None;
                    }
                    let has_all = given().all(|(given, _)| given.is_some());
                    if has_all { Precision::Parameters } else { Precision::Subtype }
                }
            };
            Some(Self { quality: item.quality, precision })
        });
        preferences.max_by_key(|preference| preference.precision)
    }
}

/// An item of a list, for example `text/plain;version=0.0.4;q=0.5`.
struct Item<'a> {
    name: &'a str,
    /// The text after the name.
    parameters: &'a str,
    /// The quality, from 0 to 1. An invalid quality is 0.
    quality: f64,
}

impl<'a> Item<'a> {
    fn all(list: &'a str) -> impl Iterator<Item = Self> {
        list.split(',').map(|item| {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            let mut item = Self { name: name.trim(), parameters, quality: 1.0 };
            if let Some(quality) = item.parameter("q") {
                let quality = quality.parse().ok().filter(|quality| (0.0..=1.0).contains(quality));
                item.quality = quality.unwrap_or(0.0);
            }
            item
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

    const OFFERS: [Offer<&str>; 2] = [
        Offer { value: "text", name: ("text", "plain"), parameters: &[], precision: Precision::Any },
        Offer {
            value: "json",
            name: ("application", "json"),
            parameters: &[("version", "2")],
            precision: Precision::Subtype,
        },
    ];

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(name, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn the_preferred_offer_is_chosen_if_it_is_named_precisely_enough() {
        let cases = [
            ("", "text"),
            ("image/png", "text"),
            ("*/*", "text"),
            ("application/*", "text"),
            ("application/json", "json"),
            ("Application/JSON;Version=\"2\"", "json"),
            ("application/json;version=1", "text"),
            ("application/json;q=0", "text"),
            ("application/json;q=NaN", "text"),
            ("application/json;q=2", "text"),
            ("application/json,*/*", "json"),
            ("application/json,text/plain", "text"),
            ("application/json;version=2,text/*", "json"),
            ("application/json;q=0.3,text/plain;q=0.4", "text"),
            ("application/json;q=0.5,*/*;q=0.9,text/plain;q=0.1", "json"),
        ];
        for (accept, expected) in cases {
            assert_eq!(content_type(&headers(&[(ACCEPT, accept)]), &OFFERS), expected, "{accept}");
        }
    }

    #[test]
    fn gzip_is_chosen_for_clients_that_accept_it() {
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
            assert_eq!(encoding(&headers(&[(ACCEPT_ENCODING, accept)])), expected, "{accept}");
        }
    }

    #[test]
    fn a_list_may_span_several_header_lines() {
        let none = headers(&[]);
        assert_eq!((content_type(&none, &OFFERS), encoding(&none)), ("text", Encoding::Identity));
        let several = headers(&[
            (ACCEPT, "text/plain;q=0.5"),
            (ACCEPT, "application/json"),
            (ACCEPT_ENCODING, "br"),
            (ACCEPT_ENCODING, "gzip"),
        ]);
        assert_eq!((content_type(&several, &OFFERS), encoding(&several)), ("json", Encoding::Gzip));
    }
}
