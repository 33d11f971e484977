//! What people ask of the flush.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Kind, Pattern, RESERVED_PREFIX, Series};

/// What the API asks of the flush. It takes effect when an interval ends. Clones share the requests.
#[derive(Debug, Clone, Default)]
pub struct FlushRequests(Arc<Mutex<Requests>>);

#[derive(Debug, Default)]
struct Requests {
    watched: Arc<[Series]>,
    /// A series that is deleted again and again is here once, so they take no more memory than all series.
    deleted: BTreeSet<Series>,
}

/// All requests are alike, so that options which contain them can be compared.
impl PartialEq for FlushRequests {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl FlushRequests {
    /// Asks for the distributions of these series, and no others, in each snapshot.
    pub fn watch(&self, series: impl IntoIterator<Item = Series>) {
        self.0.lock().watched = series.into_iter().collect();
    }

    /// Returns the series whose distributions the snapshots contain.
    #[must_use]
    pub fn watched(&self) -> Arc<[Series]> {
        Arc::clone(&self.0.lock().watched)
    }

    /// Asks the flush to forget the series of clients that have one of these kinds, and whose names match. Returns them. All series of a
    /// name must follow each other.
    pub(crate) fn delete(&self, series: &[Series], pattern: &Pattern, kinds: &[Kind]) -> Vec<Series> {
        let matching = pattern.filter(series.iter().map(|series| (series, ()))).map(|(series, ())| series);
        let is_deleted =
            |series: &&Series| kinds.contains(&series.kind()) && !series.name().starts_with(RESERVED_PREFIX);
        let deleted: Vec<_> = matching.filter(is_deleted).cloned().collect();
        self.0.lock().deleted.extend(deleted.iter().cloned());
        deleted
    }

    /// Takes the series to forget.
    #[must_use]
    pub fn take_deleted(&self) -> BTreeSet<Series> {
        mem::take(&mut self.0.lock().deleted)
    }
}
