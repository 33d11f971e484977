//! The lines that the benches `record` and `instructions` record. Both benches share them, so that counts of
//! instructions explain times.

use std::hint::black_box;

use tallyd::aggregate::{Datagram, Shard};
use tallyd::model::Origin;

use crate::traffic::{BATCH, LINES_PER_DATAGRAM, shuffled_passes};

const FOUR_TAGS: &str = "env:prod,service:checkout,region:eu-west-1,version:1.42";

/// Lines of one kind, in datagrams.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) name: &'static str,
    pub(crate) series: usize,
    /// The number of lines before they repeat. It is a multiple of the number of series.
    pub(crate) lines: usize,
    lines_per_datagram: usize,
    /// Writes a line, given the number of its series and its own number.
    line: fn(usize, usize) -> String,
}

pub(crate) const ALL: [Input; 12] = [
    of_1k("counter/1k", |id, _| format!("app.requests.endpoint.{id:06}:1|c")),
    // Applications send one line per datagram.
    Input {
        lines_per_datagram: 1,
        ..of_1k("single/1k", |id, _| format!("app.requests.endpoint.{id:06}:1|c"))
    },
    of_1k("sampled/1k", |id, _| format!("app.requests.endpoint.{id:06}:1|c|@0.1")),
    of_1k("timing/1k", |id, n| format!("app.latency.endpoint.{id:06}:{}.{}|ms", n % 977, n % 10)),
    // Each series has a thousand values. Most of them go into histograms.
    Input {
        name: "timing/50",
        series: 50,
        lines: 50_000,
        lines_per_datagram: LINES_PER_DATAGRAM,
        line: |id, n| format!("app.latency.endpoint.{id:06}:{}.{}|ms", n % 977, n % 10),
    },
    of_1k("gauge/1k", |id, n| format!("app.queue.depth.{id:06}:{}|g", n % 977)),
    of_1k("set/1k", |id, n| format!("app.users.seen.{id:06}:user-{}|s", n % 977)),
    of_1k("four_tags/1k", |id, _| format!("app.requests.endpoint.{id:06}:1|c|#{FOUR_TAGS}")),
    of_200k("counter/200k", |id, _| format!("app.requests.endpoint.{id:06}:1|c")),
    of_200k("timing/200k", |id, n| format!("app.latency.endpoint.{id:06}:{}|ms", n % 977)),
    of_1k("timestamp/1k", |id, n| format!("app.requests.endpoint.{id:06}:1|c|T{}", n + 1)),
    of_1k("bad_value/1k", |id, _| format!("app.requests.endpoint.{id:06}:NaN|c")),
];

const fn of_1k(name: &'static str, line: fn(usize, usize) -> String) -> Input {
    Input { name, series: 1000, lines: 20_000, lines_per_datagram: LINES_PER_DATAGRAM, line }
}

const fn of_200k(name: &'static str, line: fn(usize, usize) -> String) -> Input {
    Input { name, series: 200_000, lines: 200_000, lines_per_datagram: LINES_PER_DATAGRAM, line }
}

/// Records datagrams in batches, as a receiver does.
pub(crate) fn record(shard: &mut Shard, datagrams: &[String]) {
    for batch in datagrams.chunks(BATCH) {
        let datagrams = batch.iter().map(|datagram| Datagram::complete(black_box(datagram.as_bytes())));
        shard.record_all(datagrams, &Origin::default());
    }
}

impl Input {
    /// Returns the datagrams. Each pass has one line per series, in its own random order.
    pub(crate) fn datagrams(&self) -> Vec<String> {
        let ids = shuffled_passes(self.series, self.lines / self.series);
        let lines: Vec<_> = ids.enumerate().map(|(n, id)| (self.line)(id, n)).collect();
        lines.chunks(self.lines_per_datagram).map(|lines| lines.join("\n")).collect()
    }
}
