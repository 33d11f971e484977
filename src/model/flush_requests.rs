//! What people ask of the flush.

use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Series;

/// What the API asks of the flush. It takes effect when an interval ends. Clones share the requests.
#[derive(Debug, Clone, Default)]
pub struct FlushRequests(Arc<Mutex<Requests>>);

#[derive(Debug, Default)]
struct Requests {
    watched: Arc<[Series]>,
    deleted: Vec<Series>,
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

    /// Asks the flush to forget series.
    pub fn delete(&self, series: impl IntoIterator<Item = Series>) {
        self.0.lock().deleted.extend(series);
    }

    /// Takes the series to forget.
    #[must_use]
    pub fn take_deleted(&self) -> Vec<Series> {
        mem::take(&mut self.0.lock().deleted)
    }
}
