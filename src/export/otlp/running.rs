//! Adds up intervals for servers that want totals since a start.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::point::Values;
use crate::model::{Policies, Policy, PolicyId, Row, Series, Snapshot, Value, absorbs};

/// The totals of all live series, in sorted order.
#[derive(Debug, Default)]
pub(super) struct Running {
    series: Vec<(Series, PolicyId, Total)>,
    /// The policies of the latest snapshot.
    policies: Arc<Policies>,
}

/// The total of a series.
#[derive(Debug, Clone)]
pub(super) struct Total {
    /// When it began, in nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) sum: Sum,
}

#[derive(Debug, Clone)]
pub(super) enum Sum {
    Counter(f64),
    Gauge(f64),
    Distribution(Box<Values>),
}

impl Running {
    /// Adds an interval. The totals of series that tallyd has dropped are dropped, too. New rules begin all
    /// distributions again, because they can have other buckets. Returns the number of rows that changed no total, because it is
    /// too large.
    pub(super) fn add(&mut self, snapshot: &Snapshot) -> u64 {
        let start = snapshot.time.checked_sub(snapshot.interval).unwrap_or(UNIX_EPOCH);
        let start = start.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let mut absorbed = 0;
        let has_new_rules = !Arc::ptr_eq(&self.policies, &snapshot.policies);
        self.policies = Arc::clone(&snapshot.policies);
        let mut known = std::mem::take(&mut self.series).into_iter().peekable();
        for ((series, row), &policy) in snapshot.rows.live().zip(&**snapshot.rows.policies()) {
            while known.next_if(|(other, ..)| other < series).is_some() {}
            let total = known.next_if(|(other, ..)| other == series).map(|(.., total)| total);
            let total = total.filter(|total| !has_new_rules || !matches!(total.sum, Sum::Distribution(_)));
            let Some(row) = row else {
                self.series.extend(total.map(|total| (series.clone(), policy, total)));
                continue;
            };
            let mut total = total.unwrap_or_else(|| Total { start, sum: Sum::of(&row) });
            absorbed += u64::from(total.sum.add(&row));
            self.series.push((series.clone(), policy, total));
        }
        absorbed
    }

    /// Returns the series with their policies and totals, in sorted order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Series, &Policy, &Total)> {
        self.series.iter().map(|(series, policy, total)| (series, self.policies.get(*policy), total))
    }
}

impl Sum {
    /// Returns the sum of a series without samples.
    fn of(row: &Row<'_>) -> Self {
        match row.value {
            Value::Counter(_) => Sum::Counter(0.0),
            Value::Gauge(value) | Value::Set(value) => Sum::Gauge(*value),
            Value::Summary(_) => Sum::Distribution(Box::default()),
        }
    }

    /// Adds the result of an interval. Returns true if that changed nothing, because the sum is too large.
    fn add(&mut self, row: &Row<'_>) -> bool {
        match (self, row.value) {
            (Sum::Counter(total), Value::Counter(increase)) => return absorbs(total, *increase),
            (Sum::Gauge(present), Value::Gauge(value) | Value::Set(value)) => *present = *value,
            (Sum::Distribution(total), Value::Summary(summary)) => {
                return total.add(Values::new(row.series.kind(), summary));
            }
            _ => {}
        }
        false
    }
}

impl Values {
    /// Adds the values of another interval. Both have the same policy. Returns true if the count or the sum is too large to change.
    fn add(&mut self, new: Values) -> bool {
        if self.count == 0.0 {
            *self = new;
            return false;
        }
        let is_absorbed = absorbs(&mut self.count, new.count) | absorbs(&mut self.sum, new.sum);
        self.min = self.min.min(new.min);
        self.max = self.max.max(new.max);
        self.percentiles = new.percentiles;
        self.buckets.iter_mut().zip(new.buckets).for_each(|(total, new)| _ = absorbs(total, new));
        if let (Some(total), Some(new)) = (&mut self.native, &new.native) {
            total.add(new);
        }
        is_absorbed
    }

    /// Lowers the resolution of the native histogram until it has no more buckets than the policy allows.
    pub(super) fn limited(mut self, policy: &Policy) -> Self {
        if let (Some(native), Some(settings)) = (&mut self.native, policy.statistics.native) {
            native.limit(settings.max_buckets);
        }
        self
    }
}
