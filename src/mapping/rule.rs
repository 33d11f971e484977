//! One rule, ready to be applied.

use regex::Regex;

use super::template::Template;
use super::{Action, Mapped, MetricType};
use crate::protocol::Kind;

/// One rule, checked.
#[derive(Debug)]
pub struct Rule {
    /// Its place among the rules, from 0.
    pub number: usize,
    /// What it matches, as it was written.
    pub pattern: String,
    /// What becomes of the series that it matches.
    pub action: Action,
    /// Whether a tag that was sent has precedence over a label of the rule.
    pub honor_labels: bool,
    /// What values are multiplied by.
    pub scale: f64,
    /// If it is one, and no glob.
    pub(super) expression: Option<Regex>,
    pub(super) metric_type: Option<MetricType>,
    pub(super) name: Template,
    /// Sorted by their names.
    pub(super) labels: Vec<(String, Template)>,
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
        self.metric_type.is_none_or(|wanted| wanted == of_kind)
    }

    pub(super) fn fill<'a>(&self, capture: impl Fn(usize) -> &'a str) -> Mapped<'_> {
        Mapped {
            rule: self,
            name: self.name.fill(&capture),
            labels: self.labels.iter().map(|(label, value)| (&**label, value.fill(&capture))).collect(),
        }
    }
}
