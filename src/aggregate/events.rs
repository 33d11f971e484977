//! Keeps the events of an interval.

use crate::model::Event;

/// Events that take at most a given number of bytes.
#[derive(Debug)]
pub(crate) struct Events {
    kept: Vec<Event>,
    /// The approximate number of bytes that the events take: their lines, and the fixed part of each.
    bytes: usize,
    /// The largest number of bytes that all events may take.
    limit: usize,
}

impl Events {
    pub(super) fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), bytes: 0, limit }
    }

    /// Keeps the event of a line of `line_bytes` bytes. Returns false if there is no room for it.
    pub(super) fn push(&mut self, line_bytes: usize, event: impl FnOnce() -> Event) -> bool {
        let bytes = self.bytes + line_bytes + size_of::<Event>();
        let fits = bytes <= self.limit;
        if fits {
            self.bytes = bytes;
            self.kept.push(event());
        }
        fits
    }

    /// Removes and returns all events.
    pub(crate) fn take(&mut self) -> Vec<Event> {
        self.bytes = 0;
        std::mem::take(&mut self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AlertType, Priority};

    fn event(title: &str) -> Event {
        Event {
            timestamp: None,
            title: title.to_owned(),
            text: String::new(),
            alert_type: AlertType::default(),
            priority: Priority::default(),
            hostname: None,
            aggregation_key: None,
            source_type: None,
            tags: Vec::new(),
        }
    }

    #[test]
    fn events_are_kept_until_the_limit_and_taken_in_order() {
        let mut events = Events::new(3 * size_of::<Event>() + 10);
        let lengths = [("a", 4), ("b", 6), ("c", 1), ("d", 0), ("e", 0)];
        let kept = lengths.map(|(title, bytes)| events.push(bytes, || event(title)));
        assert_eq!(kept, [true, true, false, true, false]);
        assert_eq!(events.take(), ["a", "b", "d"].map(event));
        assert!(events.take().is_empty());
        assert!(events.push(0, || event("f")));
    }
}
