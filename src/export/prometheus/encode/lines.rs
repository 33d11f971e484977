//! Writes the lines that both text formats share.

use std::borrow::Cow;

use crate::export::exporter::PIECE;
use crate::export::prometheus::families::{Distribution, Families, Family, Member, Members, Total};
use crate::export::prometheus::family_type::{FamilyType, LineKind};
use crate::export::prometheus::totals::Totals;
use crate::model::{Kind, Policies, Statistics};
use crate::text::number::push_number;

/// The quantiles and bounds of all distributions, as values of labels, by policy.
pub(in crate::export::prometheus) struct LabelValues(Vec<PolicyLabels>);

/// The quantiles and bounds of the distributions with one policy, as values of labels.
pub(in crate::export::prometheus) struct PolicyLabels {
    /// The values of `quantile`.
    quantiles: Vec<String>,
    /// The values of `le`. The last one is `+Inf`.
    bounds: Vec<String>,
}

/// A label that only one line of a member has.
type LineLabel<'a> = Option<(&'static str, &'a str)>;

impl PolicyLabels {
    /// Turns quantiles and bounds into text with `format`.
    pub(in crate::export::prometheus) fn of(statistics: &Statistics, format: impl Fn(f64) -> String) -> Self {
        let bounds =
            statistics.bounds.iter().map(|&bound| format(bound)).chain(["+Inf".to_owned()]).collect();
        Self { quantiles: statistics.percentiles.iter().map(|&p| format(p.quantile())).collect(), bounds }
    }

    /// Calls `each` with each line that a member of this type can have, and its label.
    pub(in crate::export::prometheus) fn for_each(
        &self,
        family_type: FamilyType,
        mut each: impl FnMut(LineKind, LineLabel<'_>),
    ) {
        for &line in family_type.lines() {
            match line {
                LineKind::Value if family_type.is_distribution() => {
                    self.quantiles.iter().for_each(|quantile| each(line, Some(("quantile", quantile))));
                }
                LineKind::Buckets => self.bounds.iter().for_each(|bound| each(line, Some(("le", bound)))),
                _ => each(line, None),
            }
        }
    }
}

impl LabelValues {
    /// Turns quantiles and bounds into text with `format`.
    pub(in crate::export::prometheus) fn of(totals: &Totals, format: impl Fn(f64) -> String + Copy) -> Self {
        Self(totals.policies.iter().map(|policy| PolicyLabels::of(&policy.statistics, format)).collect())
    }

    /// Returns the quantiles of a member.
    pub(in crate::export::prometheus) fn quantiles(&self, member: &Member) -> &[String] {
        &self.0[member.policy.id().index()].quantiles
    }

    /// Calls `each` with the lines of a member that have one of these kinds: the kind, the label that only this line has, and
    /// the value.
    pub(in crate::export::prometheus) fn for_each_line(
        &self,
        lines: &[LineKind],
        member: &Member,
        mut each: impl FnMut(LineKind, LineLabel<'_>, f64),
    ) {
        let total = match &member.total {
            Total::Counter(value) | Total::Gauge(value) => return each(LineKind::Value, None, *value),
            Total::Distribution(total) => total,
        };
        let PolicyLabels { quantiles, bounds } = &self.0[member.policy.id().index()];
        let Distribution { count, sum, quantiles: values, buckets, .. } = &**total;
        for &line in lines {
            match line {
                LineKind::Value => {
                    for (quantile, value) in quantiles.iter().zip(values) {
                        each(line, Some(("quantile", quantile)), *value);
                    }
                }
                LineKind::Buckets => {
                    for (bound, value) in bounds.iter().zip(buckets.iter().chain([count])) {
                        each(line, Some(("le", bound)), *value);
                    }
                }
                LineKind::Sum => each(line, None, *sum),
                LineKind::Count => each(line, None, *count),
            }
        }
    }
}

/// The names that a page shows.
#[derive(Clone, Copy)]
pub(super) enum Names<'a> {
    /// The page shows names that every version of Prometheus allows.
    Legal,
    /// The page shows the names that clients sent, which these families know.
    Utf8(&'a Families),
}

/// The name of a family, as the text formats write it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FamilyName<'a> {
    pub(super) text: &'a str,
    /// True if the name is not legal, so that it needs quotes.
    pub(super) is_quoted: bool,
}

impl<'a> Names<'a> {
    /// Returns the name of a family with these members.
    pub(super) fn of_family(self, family: &'a Family, mut members: Members<'a>) -> FamilyName<'a> {
        let utf8 = match self {
            Names::Legal => None,
            Names::Utf8(families) => members.next().and_then(|member| families.utf8_name(member.family)),
        };
        FamilyName { text: utf8.unwrap_or(&family.name), is_quoted: utf8.is_some() }
    }

    /// Returns the labels of a member if some of their names are in quotes.
    pub(super) fn utf8_labels(self, member: &Member) -> Option<&'a str> {
        match self {
            Names::Legal => None,
            Names::Utf8(families) => families.utf8_labels(member),
        }
    }

    /// Returns the labels of a member.
    fn labels(self, member: &'a Member) -> &'a str {
        self.utf8_labels(member).unwrap_or(&member.labels)
    }
}

/// Writes the lines of families.
pub(super) struct LineWriter<'a> {
    /// The text written so far.
    pub(super) text: String,
    /// The name of the current family.
    pub(super) name: FamilyName<'a>,
    names: Names<'a>,
    label_values: LabelValues,
}

impl<'a> LineWriter<'a> {
    /// Creates a writer. `format` turns quantiles and bounds into text.
    pub(super) fn new(totals: &Totals, names: Names<'a>, format: impl Fn(f64) -> String + Copy) -> Self {
        Self {
            text: String::with_capacity(2 * PIECE),
            name: FamilyName::default(),
            names,
            label_values: LabelValues::of(totals, format),
        }
    }

    /// Prepares for the lines of a family with these members.
    pub(super) fn begin_family(&mut self, family: &'a Family, members: Members<'a>) {
        self.name = self.names.of_family(family, members);
    }

    /// Writes a line about a family: `# TYPE name text`. `suffix` is the end of the name.
    pub(super) fn push_about(&mut self, keyword: &str, name: FamilyName<'_>, suffix: &str, about: &str) {
        let quote = if name.is_quoted { "\"" } else { "" };
        self.text.extend(["# ", keyword, " ", quote, name.text, suffix, quote, " ", about, "\n"]);
    }

    /// Writes the lines of a member of the current family that have one of these kinds.
    pub(super) fn push_member(&mut self, lines: &[LineKind], member: &'a Member) {
        let Self { text, name, names, label_values } = self;
        let labels = names.labels(member);
        label_values.for_each_line(lines, member, |line, label, value| {
            push_line(text, (*name, line.suffix()), labels, label, value);
        });
    }

    /// Writes a line of a member with the name of a family and a suffix.
    pub(super) fn push_value(&mut self, name: (FamilyName<'_>, &str), member: &'a Member, value: f64) {
        push_line(&mut self.text, name, self.names.labels(member), None, value);
    }
}

/// Writes one line. `name` consists of the name of the family and a suffix. `label` is an additional label.
pub(super) fn push_line(
    text: &mut String,
    (name, suffix): (FamilyName<'_>, &str),
    labels: &str,
    label: Option<(&str, &str)>,
    value: f64,
) {
    if name.is_quoted {
        push_quoted(text, [name.text, suffix], labels, label);
    } else {
        text.extend([name.text, suffix]);
        if !labels.is_empty() || label.is_some() {
            text.push('{');
            text.push_str(labels);
            if let Some((name, value)) = label {
                text.push_str(if labels.is_empty() { "" } else { "," });
                text.extend([name, "=\"", value, "\""]);
            }
            text.push('}');
        }
    }
    text.push(' ');
    push_number(text, value);
    text.push('\n');
}

/// Writes a name that needs quotes, and therefore comes within the braces, and the labels.
#[cold]
#[inline(never)]
fn push_quoted(text: &mut String, [name, suffix]: [&str; 2], labels: &str, label: Option<(&str, &str)>) {
    text.extend(["{\"", name, suffix, "\""]);
    if !labels.is_empty() {
        text.extend([",", labels]);
    }
    if let Some((label, value)) = label {
        text.extend([",", label, "=\"", value, "\""]);
    }
    text.push('}');
}

/// Returns the HELP text of a family, with a backslash before each character of `escaped`. Every page has the same
/// text, because node_exporter refuses two pages that differ.
pub(in crate::export::prometheus) fn help<'a>(
    policies: &'a Policies,
    family: &Family,
    escaped: &[char],
) -> Cow<'a, str> {
    let own = &*policies.get(family.policy.id()).help;
    if own.is_empty() {
        return Cow::Borrowed(help_of_kind(family.kind));
    }
    if !own.contains(escaped) {
        return Cow::Borrowed(own);
    }
    let mut text = String::with_capacity(own.len() + 8);
    for character in own.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            _ if escaped.contains(&character) => text.extend(['\\', character]),
            _ => text.push(character),
        }
    }
    Cow::Owned(text)
}

fn help_of_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "StatsD counter.",
        Kind::Gauge => "StatsD gauge.",
        Kind::Set => "Distinct members of a StatsD set in the latest interval.",
        Kind::Timing => "StatsD timing in seconds.",
        Kind::Histogram => "StatsD histogram.",
        Kind::Distribution => "StatsD distribution.",
    }
}
