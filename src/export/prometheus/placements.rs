//! Remembers where each series is on the page, or why it is quarantined.

use super::families::{Renumbering, merge_sorted};
use crate::export::outcome::{MergeReason, QuarantineReason};
use crate::model::Series;

/// The place of a series on the page.
#[derive(Debug, Clone, Copy)]
pub(super) enum Placement {
    /// The series is added to this member. `by_labels` and `by_series` say which [`MergeReason`]s apply to it.
    Member { number: u32, by_labels: bool, by_series: bool },
    /// The series is kept off the page.
    Quarantined(QuarantineReason),
}

impl Placement {
    pub(super) fn member(self) -> Option<u32> {
        match self {
            Placement::Member { number, .. } => Some(number),
            Placement::Quarantined(_) => None,
        }
    }
}

/// A series and its placement.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) series: Series,
    pub(super) placement: Placement,
}

/// The placements of all series, sorted by series.
#[derive(Debug, Default)]
pub(super) struct Placements(Vec<Placed>);

impl Placements {
    /// Starts a walk that finds series in sorted order.
    pub(super) fn walk(&self) -> Walk<'_> {
        Walk { left: &self.0, gone: Gone::default() }
    }

    /// Returns the series that have a placement, with it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Series, Placement)> {
        self.0.iter().map(|placed| (&placed.series, placed.placement))
    }

    /// Returns the series with a name.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &Series> {
        let begin = self.0.partition_point(|placed| placed.series.name() < name);
        self.0[begin..].iter().map(|placed| &placed.series).take_while(move |series| series.name() == name)
    }

    /// Forgets the series that are not in a sorted list.
    pub(super) fn retain_in<'a>(&mut self, live: impl Iterator<Item = &'a Series>) {
        let mut live = live.peekable();
        self.0.retain(|placed| {
            while live.next_if(|series| **series < placed.series).is_some() {}
            live.peek().is_some_and(|series| **series == placed.series)
        });
    }

    /// Adds the placements of new series, which are sorted.
    pub(super) fn add(&mut self, new: Vec<Placed>) {
        merge_sorted(&mut self.0, new, |known, new| known.series < new.series);
    }

    /// Forgets the quarantined series and those whose members are gone, and renumbers the others.
    pub(super) fn renumber(&mut self, members: &Renumbering) {
        self.0.retain_mut(|placed| match &mut placed.placement {
            Placement::Member { number, .. } => members.renumber(number),
            Placement::Quarantined(_) => false,
        });
        self.0.shrink_to(2 * self.0.len());
    }

    /// Returns each series that is kept off the page, in sorted order, with the reason.
    pub(super) fn quarantined(&self) -> impl Iterator<Item = (&Series, QuarantineReason)> {
        self.0.iter().filter_map(|placed| match placed.placement {
            Placement::Member { .. } => None,
            Placement::Quarantined(reason) => Some((&placed.series, reason)),
        })
    }

    /// Returns each series that shares a line of the page with another one, with each reason.
    pub(super) fn merged(&self) -> impl Iterator<Item = (&Series, MergeReason)> {
        self.0.iter().flat_map(|placed| {
            let (by_labels, by_series) = match placed.placement {
                Placement::Member { by_labels, by_series, .. } => (by_labels, by_series),
                Placement::Quarantined(_) => (false, false),
            };
            let reasons =
                [by_labels.then_some(MergeReason::Labels), by_series.then_some(MergeReason::Series)];
            reasons.into_iter().flatten().map(|reason| (&placed.series, reason))
        })
    }
}

/// A walk over the placements along all live series.
pub(super) struct Walk<'a> {
    /// The placements that the walk has not passed yet.
    left: &'a [Placed],
    gone: Gone,
}

/// The series that a walk skipped: they are not alive any more.
#[derive(Debug, Default)]
pub(super) struct Gone {
    pub(super) series: usize,
    /// The members that they were added to.
    pub(super) members: Vec<u32>,
}

impl Gone {
    fn add(&mut self, placed: &Placed) {
        self.series += 1;
        self.members.extend(placed.placement.member());
    }
}

impl Walk<'_> {
    /// Finds the placement of a series and passes it.
    pub(super) fn find(&mut self, series: &Series) -> Option<Placement> {
        while let [first, rest @ ..] = self.left {
            if first.series == *series {
                self.left = rest;
                return Some(first.placement);
            }
            if first.series > *series {
                break;
            }
            self.left = rest;
            self.gone.add(first);
        }
        None
    }

    /// Ends the walk. Returns the series that it did not find.
    pub(super) fn end(mut self) -> Gone {
        self.left.iter().for_each(|placed| self.gone.add(placed));
        self.gone
    }
}
