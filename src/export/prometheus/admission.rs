//! Which series may be on the page: a family has one type, no series stands twice, and names of others are theirs.

use super::QuarantineReason;
use super::names::labels;
use super::page::{Distribution, Family, Member, Shape, Total};
use super::totals::{Stand, Totals};
use crate::model::{Kind, Named, PolicyId, Series};

impl Totals {
    /// Gives a new series a place, or none.
    pub(super) fn admit(&mut self, series: &Series, policy: PolicyId) -> Stand {
        let name = self.naming.family(series);
        let (labels, labels_merge) = labels(series);
        match self.member(series, policy, &name, labels) {
            Ok((member, series_merge)) => Stand::At { member, merges: [labels_merge, series_merge] },
            Err(reason) => {
                if self.news.is_new((series, reason)) {
                    let reason = reason.name();
                    tracing::warn!(?series, family = name, reason, "a series is kept off the page");
                }
                Stand::Nowhere(reason)
            }
        }
    }

    /// The member that a new series is added to, and whether another series is added to it, too.
    fn member(
        &mut self,
        series: &Series,
        policy: PolicyId,
        name: &str,
        labels: String,
    ) -> Result<(u32, bool), QuarantineReason> {
        let kind = series.kind();
        if self.reserved.forbids(name, series) {
            return Err(QuarantineReason::ReservedName);
        }
        let wanted = self.policies.get(policy);
        let shape = Shape::of(kind, wanted.exposition);
        let total = match shape {
            Shape::Counter => Total::Counter(0.0),
            Shape::Gauge => Total::Gauge(0.0),
            Shape::Summary | Shape::Histogram => Total::Distribution(Box::new(Distribution::new(wanted))),
        };
        let known = self.page.find(name).filter(|number| !self.page.family(*number).gave_way);
        let family = match known {
            Some(number) if self.takes_in(number, kind, policy) => number,
            Some(_) => return Err(QuarantineReason::TypeConflict),
            None => {
                self.claim(name, shape)?;
                let name = name.into();
                self.page.open(Family { name, shape, kind, policy, gave_way: false, is_outdated: false })
            }
        };
        let member = Member {
            labels: labels.into(),
            family,
            kind,
            policy,
            total,
            seen: self.clock,
            began: self.interval_began,
        };
        match self.page.join(member) {
            Ok(member) => {
                self.tell(family, policy);
                Ok((member, false))
            }
            // Only counters can be added up: percentiles of two series do not make one.
            Err(twin) if kind == Kind::Counter => Ok((twin, true)),
            Err(_) => Err(QuarantineReason::DuplicateSeries),
        }
    }

    /// Takes the names of a family that is to be. A distribution's `x_count` and the like are its own: a client's
    /// counter or gauge of that name gives way.
    fn claim(&mut self, name: &str, shape: Shape) -> Result<(), QuarantineReason> {
        let lines: Vec<_> = shape.suffixes().iter().map(|suffix| format!("{name}{suffix}")).collect();
        let is_distribution = |number| self.page.family(number).shape.is_distribution();
        let is_taken = self.is_line_of_distribution(name)
            || lines.iter().any(|line| {
                self.is_line_of_distribution(line) || self.page.find(line).is_some_and(is_distribution)
            });
        if is_taken {
            return Err(QuarantineReason::NameTaken);
        }
        for line in lines {
            if let Some(number) = self.page.find(&line) {
                if self.news.is_new((&line, name)) {
                    tracing::warn!(
                        family = line,
                        of = name,
                        "a family gives way to a line of a distribution"
                    );
                }
                self.page.family_mut(number).gave_way = true;
                self.gave_way = true;
            }
        }
        Ok(())
    }

    /// Whether a distribution has a line of this name beside its own.
    pub(super) fn is_line_of_distribution(&self, name: &str) -> bool {
        Shape::Histogram.suffixes().iter().any(|suffix| {
            let family = name.strip_suffix(suffix).and_then(|name| self.page.find(name));
            family.is_some_and(|number| self.page.family(number).shape.suffixes().contains(suffix))
        })
    }
}
