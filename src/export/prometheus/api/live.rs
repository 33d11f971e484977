//! Sends each interval to the people who watch, as server-sent events.

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::mpsc;

use super::interval::{Report, Results};
use super::series::Search;
use crate::http::response::EventStream;
use crate::model::{Counter, Gauge, Snapshot, Telemetry};
use crate::text::visible::json_escaped;

/// The most viewers at a time. The memory that viewers who do not read can take is this number, times [`QUEUE`], times the
/// size of an event, which is about 200 KB with the most results.
const MOST_VIEWERS: usize = 32;

/// The number of events that wait for a viewer who does not read.
const QUEUE: usize = 2;

/// The people who watch.
#[derive(Debug)]
pub(super) struct Viewers {
    list: Mutex<Vec<Viewer>>,
    count: Gauge,
    events_dropped: Counter,
}

#[derive(Debug)]
struct Viewer {
    events: mpsc::Sender<Bytes>,
    /// The results to send, too.
    search: Option<Search>,
    /// The events that were lost since the latest one that was sent.
    lost: u64,
}

/// The data of an event.
#[derive(Debug, Serialize)]
struct Update<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(flatten)]
    results: Option<Results>,
}

impl Viewers {
    pub(super) fn register(telemetry: &Telemetry) -> Self {
        let count = telemetry.gauge("live_viewers", &[]);
        count.set(0.0);
        Self { list: Mutex::default(), count, events_dropped: telemetry.counter("live_events_dropped", &[]) }
    }

    /// Returns the events for a new viewer, or `None` if there are too many viewers. The first event is the `latest`
    /// interval, without results.
    pub(super) fn join(&self, search: Option<Search>, latest: Option<&Report>) -> Option<EventStream> {
        let (events, stream) = mpsc::channel(QUEUE);
        let mut viewers = self.list.lock();
        viewers.retain(|viewer| !viewer.events.is_closed());
        if viewers.len() == MOST_VIEWERS {
            return None;
        }
        if let Some(report) = latest {
            // The queue is empty.
            _ = events.try_send(interval(&Update { report, results: None }));
        }
        viewers.push(Viewer { events, search, lost: 0 });
        self.count.set(viewers.len() as f64);
        Some(stream)
    }

    /// Sends an interval to all viewers. It never waits for one.
    pub(super) fn show(&self, report: &Report, snapshot: &Snapshot) {
        let mut viewers = self.list.lock();
        // Viewers with the same search share their event.
        let mut made: Vec<(Option<Search>, Bytes)> = Vec::new();
        viewers.retain_mut(|viewer| {
            if viewer.events.is_closed() {
                return false;
            }
            if viewer.events.capacity() > 0 {
                let known = made.iter().find(|(search, _)| *search == viewer.search);
                let event = if let Some((_, event)) = known {
                    event.clone()
                } else {
                    let results = viewer.search.as_ref().map(|search| Results::new(search, snapshot));
                    let event = interval(&Update { report, results });
                    made.push((viewer.search.clone(), event.clone()));
                    event
                };
                viewer.send(event);
            } else {
                viewer.lost += 1;
                self.events_dropped.increment();
            }
            true
        });
        self.count.set(viewers.len() as f64);
    }
}

impl Viewer {
    /// Sends an event. The queue must have room.
    fn send(&mut self, mut event: Bytes) {
        if self.lost > 0 {
            let notice = format!("event: lost\ndata: {{\"events\":{}}}\n\n", self.lost);
            event = [notice.as_bytes(), &event].concat().into();
        }
        // It fails only if the viewer has left.
        if self.events.try_send(event).is_ok() {
            self.lost = 0;
        }
    }
}

/// Returns the event of an interval. JSON contains no line feed.
fn interval(update: &Update<'_>) -> Bytes {
    let text = serde_json::to_string(update).expect("all keys are text, and nothing else can fail");
    format!("event: interval\ndata: {}\n\n", json_escaped(&text)).into()
}
