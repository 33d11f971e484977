//! Builds the identity of the series that the samples of a line belong to.

use std::ops::Range;

use super::RefuseReason;
use super::tags::{add_own, draft, origin_tags, protect};
use crate::mapping::{Draft, Mapping, Shaped, Step, Unshaped};
use crate::model::{Kind, NO_VALUE, RESERVED_PREFIX, SERVICE_CHECK, code, split_name};
use crate::protocol::{Metric, Name, Origin, ServiceCheck, Tag, Tags};

/// Builds identities in reused buffers, so looking up a known series allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct IdentityBuilder {
    /// Whether the container's id becomes a tag if a client sends it.
    container_id_tag: bool,
    /// `key LF value LF` for each tag, in the order of the line.
    tags: String,
    /// The range of each tag within `tags`.
    ranges: Vec<Range<usize>>,
    identity: String,
    /// The identity of the overflow series that was built last.
    overflow: String,
}

impl IdentityBuilder {
    pub(crate) fn new(container_id_tag: bool) -> Self {
        Self { container_id_tag, ..Self::default() }
    }

    /// Builds the identity of the series for the metric's samples of this kind, shaped by rules. Calls `seen` with each
    /// step.
    pub(crate) fn identify<'a>(
        &mut self,
        mapping: &'a Mapping,
        kind: Kind,
        metric: &Metric<'_>,
        seen: impl FnMut(Step<'a>, &Draft),
    ) -> Result<Shaped<'a>, RefuseReason> {
        if mapping.is_empty() {
            self.build(kind, metric);
            return Ok(Shaped { rule: None, scale: 1.0 });
        }
        let own = self.origin_tags(metric.origin());
        let mut draft = draft(metric.name(), metric.tags(), own);
        let shaped = mapping.shape(kind, &mut draft, seen)?;
        protect(&mut draft.tags, own);
        if draft.name.starts_with(RESERVED_PREFIX) {
            return Err(RefuseReason::ReservedName);
        }
        self.build_draft(kind, &draft);
        Ok(shaped)
    }

    /// Builds the identity that the metric's samples of this kind would have without rules.
    pub(crate) fn build(&mut self, kind: Kind, metric: &Metric<'_>) {
        let own = self.origin_tags(metric.origin());
        self.assemble(kind, metric.name(), metric.tags(), own);
    }

    fn build_draft(&mut self, kind: Kind, Draft { name, tags }: &Draft) {
        self.clear();
        for (key, value) in tags {
            self.push_tag("", key.as_bytes(), value.as_deref().map(str::as_bytes));
        }
        self.join(kind, [name, ""]);
    }

    /// Builds the identity of the gauge that represents a service check. The check's name and host become tags.
    pub(crate) fn build_check(&mut self, mapping: &Mapping, check: &ServiceCheck<'_>) {
        let name = Some((&b"check"[..], Some(check.name.as_bytes())));
        let host = check.hostname.map(|hostname| (&b"host"[..], Some(hostname)));
        let origin = self.origin_tags(check.origin);
        if mapping.is_empty() {
            let [container, pod] = origin;
            self.assemble(Kind::Gauge, SERVICE_CHECK.into(), check.tags, [container, pod, name, host]);
        } else {
            let mut draft = draft(SERVICE_CHECK.into(), check.tags, origin);
            mapping.shape_tags(&mut draft.tags);
            protect(&mut draft.tags, origin);
            // Without these, two checks could become one series.
            add_own(&mut draft.tags, [name, host]);
            self.build_draft(Kind::Gauge, &draft);
        }
    }

    fn origin_tags<'a>(&self, origin: Origin<'a>) -> [Option<Tag<'a>>; 2] {
        if self.container_id_tag { origin_tags(origin) } else { [None; 2] }
    }

    /// Assembles the identity from a name, the tags of a line, and tallyd's `own` tags.
    ///
    /// If a tag of the line has the key of an own tag, its key becomes `exported_…`, as Prometheus does with labels.
    /// Otherwise a client could pass one check off as another.
    fn assemble<const N: usize>(
        &mut self,
        kind: Kind,
        name: Name<'_>,
        tags: Tags<'_>,
        own: [Option<Tag<'_>>; N],
    ) {
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
        self.ranges.clear();
    }

    /// Appends a tag. Bytes that are not UTF-8 become U+FFFD.
    fn push_tag(&mut self, prefix: &str, key: &[u8], value: Option<&[u8]>) {
        let start = self.tags.len();
        self.tags.push_str(prefix);
        for part in [key, value.unwrap_or(NO_VALUE.as_bytes())] {
            push_lossy(&mut self.tags, part);
            self.tags.push('\n');
        }
        self.ranges.push(start..self.tags.len());
    }

    /// Joins the pieces of the name and the sorted tags into an identity.
    fn join(&mut self, kind: Kind, name: [&str; 2]) {
        let tags = &self.tags;
        self.ranges.sort_unstable_by(|a, b| tags[a.clone()].cmp(&tags[b.clone()]));
        self.identity.clear();
        self.identity.extend(name);
        self.identity.push('\n');
        self.identity.extend(self.ranges.iter().map(|range| &tags[range.clone()]));
        self.identity.push(code(kind));
    }

    /// Builds the identity of the series that takes the excess samples of the identity that was built last. It has the
    /// same type, its own tag, and the tags that all series get. `name` replaces the name, if given.
    pub(crate) fn build_overflow(&mut self, name: Option<&str>, constant: &[(String, Option<String>)]) {
        let (own, rest) = split_name(&self.identity);
        self.overflow.clear();
        self.overflow.extend([name.unwrap_or(own), "\n"]);
        if constant.is_empty() {
            self.overflow.push_str(OVERFLOW_TAG);
        } else {
            let constant = constant
                .iter()
                .map(|(key, value)| format!("{key}\n{}\n", value.as_deref().unwrap_or(NO_VALUE)));
            let mut tags: Vec<_> = constant.chain([OVERFLOW_TAG.to_owned()]).collect();
            tags.sort_unstable();
            self.overflow.extend(tags);
        }
        self.overflow.extend(rest.chars().next_back());
    }

    /// Returns the identity of the overflow series that was built last.
    pub(crate) fn overflow(&self) -> &str {
        &self.overflow
    }

    /// Returns the identity that was built last.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }
}

/// The tag of overflow series, as a part of an identity.
const OVERFLOW_TAG: &str = "tallyd_overflow\ntrue\n";

fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

impl From<Unshaped> for RefuseReason {
    fn from(reason: Unshaped) -> Self {
        match reason {
            Unshaped::Dropped => Self::MappingDrop,
            Unshaped::EmptyName => Self::MappingEmptyName,
        }
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;
    use crate::model::Series;
    use crate::protocol::{self, Dialects, Line};

    fn series(line: &[u8]) -> Series {
        series_by(IdentityBuilder::default(), line)
    }

    fn series_by(mut builder: IdentityBuilder, line: &[u8]) -> Series {
        match protocol::parse(line, Dialects::ALL).unwrap() {
            Line::Metric(metric) => builder.build(metric.samples().next().unwrap().kind, &metric),
            Line::ServiceCheck(check) => builder.build_check(&Mapping::default(), &check),
            Line::Event(event) => panic!("{event:?}"),
        }
        Series::from_identity(builder.identity())
    }

    #[test]
    fn the_order_of_tags_does_not_change_the_identity() {
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
    fn tags_sort_as_in_series_new_even_with_control_bytes() {
        let expected = Series::new(Kind::Counter, "a", &[("t", "1"), ("t\0", "2"), ("t\tx", "")]);
        assert_eq!(series(b"a:1|c|#t:1,t\0:2,t\tx"), expected);
    }

    #[test]
    fn the_identity_is_name_tags_and_kind() {
        let base = series(b"a:1|c|#x:1");
        for other in
            [&b"b:1|c|#x:1"[..], b"a:1|g|#x:1", b"a:1|c|#x:2", b"a:1|c|#x:1,x:1", b"a:1|c", b"a:1|c|#x1"]
        {
            assert_ne!(base, series(other), "{other:?}");
        }
    }

    #[test]
    fn a_series_returns_its_name_kind_and_tags() {
        for &kind in Kind::VARIANTS {
            let series = Series::new(kind, "n", &[("k", ""), ("a", "b:c")]);
            assert_eq!((series.name(), series.kind()), ("n", kind));
            assert_eq!(series.tags().collect::<Vec<_>>(), [("a", "b:c"), ("k", "")]);
        }
    }

    #[test]
    fn a_service_check_becomes_a_gauge_tagged_with_name_and_host() {
        let expected = [("check", "db.up"), ("env", "prod"), ("host", "web-1")];
        assert_eq!(
            series(b"_sc|db.up|2|h:web-1|#env:prod|m:no answer"),
            Series::new(Kind::Gauge, "service_check", &expected)
        );
    }

    #[test]
    fn a_tag_cannot_pass_one_check_off_as_another() {
        let expected = [("check", "redis"), ("exported_check", "mysql"), ("host", "a")];
        assert_eq!(
            series(b"_sc|redis|2|#check:mysql,host:a"),
            Series::new(Kind::Gauge, SERVICE_CHECK, &expected),
            "a check without a host of its own keeps the tag"
        );
        let expected = [("check", "redis"), ("exported_host", "a"), ("host", "b")];
        assert_eq!(series(b"_sc|redis|2|#host:a|h:b"), Series::new(Kind::Gauge, SERVICE_CHECK, &expected));
    }

    #[test]
    fn the_container_id_is_a_tag_if_configured() {
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
    fn tag_without_value_differs_from_tag_with_empty_value() {
        let values = |line: &[u8]| {
            let series = series(line);
            series
                .tags_as_sent()
                .map(|(key, value)| (key.to_owned(), value.map(str::to_owned)))
                .collect::<Vec<_>>()
        };
        let tag = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        for line in [&b"a:1|c|#k"[..], b"a,k:1|c", b"a#k:1|c", b"a;k:1|c", b"a[k]:1|c"] {
            assert_eq!(values(line), [tag("k", None)], "{}", line.escape_ascii());
        }
        for line in [&b"a:1|c|#k:"[..], b"a,k=:1|c", b"a#k=:1|c", b"a;k=:1|c", b"a[k=]:1|c"] {
            assert_eq!(values(line), [tag("k", Some(""))], "{}", line.escape_ascii());
        }
        assert_eq!(values(b"_sc|up|0|h:"), [tag("check", Some("up")), tag("host", Some(""))]);
        assert_eq!(values(b"a:1|c|#:b,,#:,k:1"), [tag("k", Some("1"))]);
        assert_eq!(format!("{:?}", series(b"a:1|c|#k:,j,i:1")), "a|c|#i:1,j,k:");
    }

    #[test]
    fn series_sort_by_name_first() {
        let mut all = [series(b"a.b:1|c"), series(b"a:1|c|#z:1"), series(b"a b:1|c"), series(b"a:1|c")];
        all.sort();
        assert_eq!(all.each_ref().map(Series::name), ["a", "a", "a b", "a.b"]);
    }

    #[test]
    fn bytes_of_a_tag_that_are_not_utf8_become_the_replacement_character() {
        assert_eq!(series(b"a:1|c|#k:\xff(x").tags().next(), Some(("k", "\u{fffd}(x")));
    }
}
