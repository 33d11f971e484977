//! Holds the gauges of all shards, which outlive the interval.

use parking_lot::Mutex;

use crate::model::absorbs;
use crate::resolve::SeriesId;

/// The number of locks that share the gauges, so that two receivers seldom compete for one.
const STRIPES: usize = 64;

/// The interval before the first one. Gauges of an earlier process had their latest sample in it.
pub(crate) const INTERVAL_BEFORE_START: u32 = 1;

/// The first interval of the process.
pub(crate) const FIRST_INTERVAL: u32 = INTERVAL_BEFORE_START + 1;

/// The current value of each gauge.
///
/// Changes such as `+5` need one order across all receivers, so gauges are the only aggregates that shards share. The
/// flush rotates all shards at one moment and reads the gauges a little later. Samples of the next interval may have
/// arrived by then. So each gauge also keeps the value that it had before its latest interval.
#[derive(Debug)]
pub(crate) struct Gauges {
    stripes: [Mutex<Vec<Gauge>>; STRIPES],
}

/// The state of one gauge. Intervals count from 1, and 0 means never.
#[derive(Debug, Clone, Copy, Default)]
struct Gauge {
    value: f64,
    /// The interval of the latest sample.
    interval: u32,
    /// The interval of the latest sample before that interval, and the value after that sample.
    previous_interval: u32,
    previous: f64,
}

/// The value of a gauge at the end of an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GaugeReading {
    pub(crate) value: f64,
    /// The interval of the latest sample. It is at most the interval that was read.
    pub(crate) interval: u32,
}

impl Gauges {
    pub(crate) fn new() -> Self {
        Self { stripes: std::array::from_fn(|_| Mutex::default()) }
    }

    pub(crate) fn set(&self, id: SeriesId, interval: u32, value: f64) {
        self.update(id, interval, |gauge| *gauge = value);
    }

    /// Changes a gauge. Returns true if the gauge absorbs the change, so that it is lost.
    pub(crate) fn add(&self, id: SeriesId, interval: u32, change: f64) -> bool {
        self.update(id, interval, |gauge| absorbs(gauge, change))
    }

    #[inline]
    fn update<T>(&self, id: SeriesId, interval: u32, change: impl FnOnce(&mut f64) -> T) -> T {
        let mut stripe = self.stripes[id.index() % STRIPES].lock();
        let index = id.index() / STRIPES;
        if index >= stripe.len() {
            stripe.resize(index + 1, Gauge::default());
        }
        let gauge = &mut stripe[index];
        if gauge.interval != interval {
            (gauge.previous, gauge.previous_interval) = (gauge.value, gauge.interval);
            gauge.interval = interval;
        }
        change(&mut gauge.value)
    }

    /// Reads all gauges as they were at the end of `interval`, which must be the open interval or the previous one.
    pub(crate) fn read(&self, interval: u32, mut each: impl FnMut(SeriesId, GaugeReading)) {
        for (stripe, gauges) in self.stripes.iter().enumerate() {
            for (index, gauge) in gauges.lock().iter().enumerate() {
                let reading = if gauge.interval <= interval {
                    GaugeReading { value: gauge.value, interval: gauge.interval }
                } else {
                    GaugeReading { value: gauge.previous, interval: gauge.previous_interval }
                };
                if reading.interval > 0 {
                    // The number is below 2^32, because the configuration keeps `max_series` below it.
                    each(SeriesId((index * STRIPES + stripe) as u32), reading);
                }
            }
        }
    }

    /// Runs `work` while all gauges are locked.
    #[cfg(test)]
    pub(super) fn locked<T>(&self, work: impl FnOnce() -> T) -> T {
        let _stripes = self.stripes.each_ref().map(Mutex::lock);
        work()
    }

    /// Forgets a gauge whose series was dropped.
    pub(crate) fn forget(&self, id: SeriesId) {
        if let Some(gauge) = self.stripes[id.index() % STRIPES].lock().get_mut(id.index() / STRIPES) {
            *gauge = Gauge::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(gauges: &Gauges, interval: u32) -> Vec<(u32, f64, u32)> {
        let mut readings = Vec::new();
        gauges.read(interval, |id, reading| readings.push((id.0, reading.value, reading.interval)));
        readings.sort_by_key(|reading| reading.0);
        readings
    }

    #[test]
    fn a_gauge_keeps_its_value_and_changes_add_to_it() {
        let gauges = Gauges::new();
        assert!(!gauges.add(SeriesId(70), 1, -2.0));
        gauges.set(SeriesId(1), 1, 5.0);
        assert!(!gauges.add(SeriesId(1), 3, 1.5));
        assert_eq!(read(&gauges, 3), [(1, 6.5, 3), (70, -2.0, 1)]);
    }

    #[test]
    fn a_sample_of_the_next_interval_does_not_show_in_this_one() {
        let gauges = Gauges::new();
        gauges.set(SeriesId(1), 1, 5.0);
        gauges.set(SeriesId(1), 3, 6.0);
        gauges.set(SeriesId(1), 3, 7.0);
        gauges.set(SeriesId(2), 3, 8.0);
        assert_eq!(read(&gauges, 2), [(1, 5.0, 1)]);
        assert_eq!(read(&gauges, 3), [(1, 7.0, 3), (2, 8.0, 3)]);
    }

    #[test]
    fn a_forgotten_gauge_starts_from_zero() {
        let gauges = Gauges::new();
        gauges.set(SeriesId(1), 1, 5.0);
        gauges.forget(SeriesId(1));
        assert_eq!(read(&gauges, 1), []);
        assert!(!gauges.add(SeriesId(1), 2, 1.0));
        assert_eq!(read(&gauges, 2), [(1, 1.0, 2)]);
    }
}
