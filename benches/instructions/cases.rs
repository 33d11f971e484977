//! What is counted, in the order of the data's way.

use std::ops::RangeInclusive;

use tallyd::export::Format::{Json, Text};

use crate::pipeline::{counters, timings};
use crate::receivers;
use crate::stages::{console, cut, learn, of_counters, of_timings, prometheus, record};
use crate::streams;

/// Something that is counted.
pub(crate) struct Case {
    /// As in the other benches: `stage/input`.
    pub(crate) name: String,
    /// What its cost is proportional to, in the singular.
    pub(crate) unit: &'static str,
    /// How many atomic operations a unit must take. Where that is not said, its instructions are compared.
    pub(crate) atomics: Option<RangeInclusive<f64>>,
    run: Box<dyn Fn() -> usize + Sync>,
}

impl Case {
    /// `run` does what is to be counted within [`counted`](crate::callgrind::counted), and returns how many units that
    /// were.
    pub(crate) fn new(
        name: impl Into<String>,
        unit: &'static str,
        run: impl Fn() -> usize + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), unit, atomics: None, run: Box::new(run) }
    }

    pub(crate) fn expecting(self, atomics: RangeInclusive<f64>) -> Self {
        Self { atomics: Some(atomics), ..self }
    }

    pub(crate) fn run(&self) -> usize {
        (self.run)()
    }
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for stream in &streams::ALL {
        cases.push(Case::new(format!("record/{}", stream.name), "line", || record(stream)));
    }
    cases.extend([
        Case::new("learn/counter/1k", "series", || learn(&streams::ALL[0])),
        Case::new("cut/counters", "series", || cut(10_000, |shard| counters(shard, 10_000))),
        Case::new("cut/timings/100", "value", || cut(10_000, |shard| timings(shard, 100, 100))),
        Case::new("cut/timings/1000", "value", || cut(20_000, |shard| timings(shard, 20, 1000))),
        Case::new("render/console_text/counters", "series", || console(Text, &of_counters())),
        Case::new("render/console_text/timings", "series", || console(Text, &of_timings())),
        Case::new("render/console_json/counters", "series", || console(Json, &of_counters())),
        Case::new("render/console_json/timings", "series", || console(Json, &of_timings())),
        Case::new("render/prometheus_text/counters", "series", || prometheus(&of_counters())),
        Case::new("render/prometheus_text/timings", "series", || prometheus(&of_timings())),
    ]);
    cases.extend(receivers::all());
    cases
}
