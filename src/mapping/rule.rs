//! One rule, ready to be applied.

use regex::Regex;

use super::template::Template;
use super::{Mapped, MetricType, RuleText};
use crate::model::Kind;

/// One rule, checked.
#[derive(Debug)]
pub struct Rule {
    /// Its place among the rules, from 0.
    pub number: usize,
    /// What was written.
    pub text: RuleText,
    /// What values are multiplied by.
    pub scale: f64,
    /// The number of the policy of its series, counted from the first of this mapping.
    pub(super) policy: u32,
    /// If it is a regular expression, and no glob.
    pub(super) expression: Option<Regex>,
    pub(super) name: Template,
    /// Sorted by their names.
    pub(super) labels: Vec<(String, Template)>,
}

/// Whether the same was written, and in the same place.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        (self.number, &self.text) == (other.number, &other.text)
    }
}

impl Rule {
    /// Whether it is for series of this kind.
    pub(super) fn wants(&self, kind: Kind) -> bool {
        let of_kind = match kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Timing | Kind::Histogram | Kind::Distribution => MetricType::Observer,
            Kind::Set => MetricType::Set,
        };
        self.text.match_metric_type.is_none_or(|wanted| wanted == of_kind)
    }

    pub(super) fn fill<'a>(&self, capture: impl Fn(usize) -> &'a str) -> Mapped<'_> {
        Mapped {
            rule: self,
            name: self.name.fill(&capture),
            labels: self.labels.iter().map(|(label, value)| (&**label, value.fill(&capture))).collect(),
        }
    }
}
