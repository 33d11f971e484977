//! Names a series in the tag of an interval: `timing:request.time;zone:b`.

use std::fmt::Write;

use strum::VariantArray;

use crate::model::{Kind, Named, Series};

/// Returns the tag of a series: its type, its name, and its tags behind semicolons.
///
/// HdrHistogram allows no comma, space and line end in a tag. These, and what separates the parts, are written like in a
/// URL: `%2C`.
pub(super) fn tag_of(series: &Series) -> String {
    let mut tag = format!("{}:", series.kind().name());
    push_escaped(&mut tag, series.name());
    for (key, value) in series.tags_as_sent() {
        tag.push(';');
        push_escaped(&mut tag, key);
        if let Some(value) = value {
            tag.push(':');
            push_escaped(&mut tag, value);
        }
    }
    tag
}

/// Returns the series that a tag names, or `None` if tallyd has not written the tag.
pub(crate) fn series_of(tag: &str) -> Option<Series> {
    let (kind, rest) = tag.split_once(':')?;
    let kind = Kind::VARIANTS.iter().copied().find(|known| known.name() == kind)?;
    let mut parts = rest.split(';');
    let name = unescaped(parts.next()?)?;
    let mut tags = Vec::new();
    for part in parts {
        let (key, value) = part.split_once(':').map_or((part, None), |(key, value)| (key, Some(value)));
        tags.push((unescaped(key)?, value.map(unescaped).map_or(Some(None), |value| value.map(Some))?));
    }
    let tags: Vec<_> = tags.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
    Some(Series::with_tags(kind, &name, &tags))
}

fn push_escaped(tag: &mut String, text: &str) {
    for character in text.chars() {
        if matches!(character, ',' | ';' | ':' | '%' | '"')
            || character.is_whitespace()
            || character.is_control()
        {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a string cannot fail.
                _ = write!(tag, "%{byte:02X}");
            }
        } else {
            tag.push(character);
        }
    }
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    // Such a text would not be the part of an identity.
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\n'))
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::Tag;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tag_reads_like_the_series_and_has_no_character_that_the_log_forbids() {
        for (series, expected) in [
            (Series::new(Kind::Timing, "request.time", &[]), "timing:request.time"),
            (
                Series::new(Kind::Histogram, "size", &[("zone", "b"), ("path", "/a, b")]),
                "histogram:size;path:/a%2C%20b;zone:b",
            ),
            (Series::new(Kind::Distribution, "a;b", &[("bare", "")]), "distribution:a%3Bb;bare"),
            (
                Series::new(Kind::Timing, "größe", &[("url", "http://x:80/?q=100%")]),
                "timing:größe;url:http%3A//x%3A80/?q=100%25",
            ),
        ] {
            let tag = tag_of(&series);
            assert_eq!(tag, expected);
            assert!(Tag::new(&tag).is_some());
            assert_eq!(series_of(&tag), Some(series));
        }
    }

    #[test]
    fn tags_of_other_programs_name_no_series() {
        for tag in ["", "A", "other:name", "timing:a%2", "timing:a%zz", "timing:a%0Ab", "timing:%ff"] {
            assert_eq!(series_of(tag), None, "{tag}");
        }
    }

    proptest! {
        #[test]
        fn every_series_is_found_in_its_tag(name in "[^\n]{1,9}", tags in proptest::collection::vec(("[^\n:]{1,5}", proptest::option::of("[^\n]{0,5}")), 0..4)) {
            let tags: Vec<_> = tags.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
            let series = Series::with_tags(Kind::Timing, &name, &tags);
            let tag = tag_of(&series);
            prop_assert!(Tag::new(&tag).is_some());
            prop_assert_eq!(series_of(&tag), Some(series));
        }
    }
}
