//! Builds the identity of the series that samples of a line belong to.

use std::ops::Range;

use super::RefuseReason;
use crate::mapping::{Action, Mapped, Mapping};
use crate::model::{CONTAINER_ID, Kind, RESERVED_PREFIX, SERVICE_CHECK, code};
use crate::protocol::{Metric, Name, Origin, ServiceCheck, Tags};
use crate::text::name;

/// Key and value.
type Tag<'a> = (&'a [u8], &'a [u8]);

/// Builds identities in buffers that are used again, so that a known series costs no allocation.
#[derive(Debug, Default)]
pub(crate) struct IdentityBuilder {
    /// Whether the container's id, where it is sent, is a tag.
    container_id_tag: bool,
    /// `key LF value LF` of each tag, in the order of the line.
    tags: String,
    /// Where each of them stands.
    places: Vec<Range<usize>>,
    identity: String,
}

impl IdentityBuilder {
    pub(crate) fn new(container_id_tag: bool) -> Self {
        Self { container_id_tag, ..Self::default() }
    }

    /// The series of a metric's samples of this kind.
    pub(crate) fn build(&mut self, kind: Kind, metric: &Metric<'_>) {
        let own = [self.container_tag(metric.origin()), None, None];
        self.assemble(kind, metric.name(), metric.tags(), own);
    }

    /// Likewise, with the name and the labels that a rule gives it. A label takes the place of tags with its name, or, if
    /// tags are honored, they that of it; one without value is none.
    pub(crate) fn build_mapped(
        &mut self,
        kind: Kind,
        metric: &Metric<'_>,
        Mapped { rule, name, labels }: &Mapped<'_>,
    ) {
        self.clear();
        let mut is_sent = vec![false; labels.len()];
        let tags = metric.tags();
        for (key, value) in tags.iter().chain(self.container_tag(metric.origin())) {
            let own = name::label(&String::from_utf8_lossy(key));
            let label = labels.iter().position(|(label, _)| **label == own);
            if let Some(label) = label {
                is_sent[label] = true;
            }
            if label.is_none() || rule.text.honor_labels {
                self.push_tag("", key, value);
            }
        }
        for ((label, value), is_sent) in labels.iter().zip(is_sent) {
            let gives_way = is_sent && rule.text.honor_labels;
            if !gives_way && !value.is_empty() {
                self.push_tag("", label.as_bytes(), value.as_bytes());
            }
        }
        self.join(kind, [name, ""]);
    }

    /// The gauge that a service check is a value of. The check's name and its host are tags beside those that it has.
    pub(crate) fn build_check(&mut self, check: &ServiceCheck<'_>) {
        let name = Some((&b"check"[..], check.name.as_bytes()));
        let host = check.hostname.map(|hostname| (&b"host"[..], hostname));
        let own = [self.container_tag(check.origin), name, host];
        self.assemble(Kind::Gauge, SERVICE_CHECK.into(), check.tags, own);
    }

    fn container_tag<'a>(&self, origin: Origin<'a>) -> Option<Tag<'a>> {
        let is_tag = self.container_id_tag && !origin.container_id.is_empty();
        is_tag.then_some((CONTAINER_ID, origin.container_id))
    }

    /// A tag with the key of one that tallyd adds itself becomes `exported_…`, as Prometheus has it with labels: otherwise
    /// a sender could pass a check for another one.
    fn assemble(&mut self, kind: Kind, name: Name<'_>, tags: Tags<'_>, own: [Option<Tag<'_>>; 3]) {
        self.clear();
        let own = || own.into_iter().flatten();
        for (key, value) in tags.iter() {
            let is_taken = own().any(|(own, _)| own == key);
            self.push_tag(if is_taken { "exported_" } else { "" }, key, value);
        }
        own().for_each(|(key, value)| self.push_tag("", key, value));
        self.join(kind, name.pieces());
    }

    fn clear(&mut self) {
        self.tags.clear();
        self.places.clear();
    }

    /// Bytes that are not UTF-8 become U+FFFD.
    fn push_tag(&mut self, prefix: &str, key: &[u8], value: &[u8]) {
        let start = self.tags.len();
        self.tags.push_str(prefix);
        for part in [key, value] {
            push_lossy(&mut self.tags, part);
            self.tags.push('\n');
        }
        self.places.push(start..self.tags.len());
    }

    /// Puts the pieces of the name and the tags together, these in sorted order.
    fn join(&mut self, kind: Kind, name: [&str; 2]) {
        let texts = &self.tags;
        self.places.sort_unstable_by(|a, b| texts[a.clone()].cmp(&texts[b.clone()]));
        self.identity.clear();
        self.identity.extend(name);
        self.identity.push('\n');
        self.identity.extend(self.places.iter().map(|place| &texts[place.clone()]));
        self.identity.push(code(kind));
    }

    /// What was built last.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }
}

fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// What the rules make of samples of this kind.
pub(crate) fn map<'a>(mapping: &'a Mapping, kind: Kind, metric: &Metric<'_>) -> Option<Mapped<'a>> {
    if mapping.is_empty() { None } else { mapping.apply(&metric.name().to_string(), kind) }
}

/// Builds the identity of the series of samples of this kind, by the rule for them if there is one. What the rule
/// multiplies values by.
pub(crate) fn identify(
    identities: &mut IdentityBuilder,
    mapped: Option<&Mapped<'_>>,
    kind: Kind,
    metric: &Metric<'_>,
) -> Result<f64, RefuseReason> {
    let Some(mapped) = mapped else {
        identities.build(kind, metric);
        return Ok(1.0);
    };
    if mapped.rule.text.action == Action::Drop {
        return Err(RefuseReason::Dropped);
    }
    if mapped.name.is_empty() {
        return Err(RefuseReason::EmptyName);
    }
    if mapped.name.starts_with(RESERVED_PREFIX) {
        return Err(RefuseReason::ReservedName);
    }
    identities.build_mapped(kind, metric, mapped);
    // A set's members are no numbers.
    Ok(if kind == Kind::Set { 1.0 } else { mapped.rule.scale })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Series;
    use crate::protocol::{self, Dialects, Line};

    fn series(line: &[u8]) -> Series {
        series_by(IdentityBuilder::default(), line)
    }

    fn series_by(mut builder: IdentityBuilder, line: &[u8]) -> Series {
        match protocol::parse(line, Dialects::ALL).unwrap() {
            Line::Metric(metric) => builder.build(metric.samples().next().unwrap().kind, &metric),
            Line::ServiceCheck(check) => builder.build_check(&check),
            Line::Event(event) => panic!("{event:?}"),
        }
        Series::from_identity(builder.identity())
    }

    #[test]
    fn the_order_of_tags_is_no_part_of_the_identity() {
        assert_eq!(series(b"a:1|c|#y:2,x:1"), series(b"a:5|c|#x:1|@0.5|#y:2"));
        assert_eq!(series(b"a:1|c|#y:2,x:1"), Series::new(Kind::Counter, "a", &[("x", "1"), ("y", "2")]));
    }

    #[test]
    fn every_dialect_leads_to_the_same_series() {
        for line in ["a.b,x=1,y=2:1|c", "a.b#y=2,x=1:1|c", "a.b;x=1;y=2:1|c", "a.[y=2,x=1]b:1|c"] {
            assert_eq!(series(line.as_bytes()), series(b"a.b:1|c|#x:1,y:2"), "{line}");
        }
    }

    #[test]
    fn tags_are_in_one_order_even_where_a_key_holds_what_sorts_before_a_line_feed() {
        let expected = Series::new(Kind::Counter, "a", &[("t", "1"), ("t\0", "2"), ("t\tx", "")]);
        assert_eq!(series(b"a:1|c|#t:1,t\0:2,t\tx"), expected);
    }

    #[test]
    fn name_tags_and_kind_are_the_identity() {
        let base = series(b"a:1|c|#x:1");
        for other in
            [&b"b:1|c|#x:1"[..], b"a:1|g|#x:1", b"a:1|c|#x:2", b"a:1|c|#x:1,x:1", b"a:1|c", b"a:1|c|#x1"]
        {
            assert_ne!(base, series(other), "{other:?}");
        }
    }

    #[test]
    fn the_parts_are_read_back_as_they_were_put_in() {
        for kind in Kind::ALL {
            let series = Series::new(kind, "n", &[("k", ""), ("a", "b:c")]);
            assert_eq!((series.name(), series.kind()), ("n", kind));
            assert_eq!(series.tags().collect::<Vec<_>>(), [("a", "b:c"), ("k", "")]);
        }
    }

    #[test]
    fn a_service_check_is_a_gauge_by_its_name_and_host() {
        let expected = [("check", "db.up"), ("env", "prod"), ("host", "web-1")];
        assert_eq!(
            series(b"_sc|db.up|2|h:web-1|#env:prod|m:no answer"),
            Series::new(Kind::Gauge, "service_check", &expected)
        );
    }

    #[test]
    fn a_sender_cannot_pass_a_check_for_another_one_by_a_tag() {
        let expected = [("check", "redis"), ("exported_check", "mysql"), ("host", "a")];
        assert_eq!(
            series(b"_sc|redis|2|#check:mysql,host:a"),
            Series::new(Kind::Gauge, SERVICE_CHECK, &expected),
            "the host is a tag like any other where the check has none of its own"
        );
        let expected = [("check", "redis"), ("exported_host", "a"), ("host", "b")];
        assert_eq!(series(b"_sc|redis|2|#host:a|h:b"), Series::new(Kind::Gauge, SERVICE_CHECK, &expected));
    }

    #[test]
    fn the_container_id_is_a_tag_if_it_is_asked_for() {
        for (line, name, tags) in [
            (&b"a:1|c|c:box"[..], "a", &[("container_id", "box")][..]),
            (b"a:1|c|c:", "a", &[]),
            (b"_sc|up|0|c:box", SERVICE_CHECK, &[("check", "up"), ("container_id", "box")]),
        ] {
            let series = series_by(IdentityBuilder::new(true), line);
            assert_eq!((series.name(), series.tags().collect::<Vec<_>>()), (name, tags.to_vec()));
        }
        assert_eq!(series(b"a:1|c|c:box"), series(b"a:1|c"));
    }

    #[test]
    fn series_sort_by_name_first() {
        let mut all = [series(b"a.b:1|c"), series(b"a:1|c|#z:1"), series(b"a b:1|c"), series(b"a:1|c")];
        all.sort();
        assert_eq!(all.each_ref().map(Series::name), ["a", "a", "a b", "a.b"]);
    }

    #[test]
    fn bytes_of_a_tag_that_are_not_utf8_show_as_the_replacement_character() {
        assert_eq!(series(b"a:1|c|#k:\xff(x").tags().next(), Some(("k", "\u{fffd}(x")));
    }
}
