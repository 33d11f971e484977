//! Encodes snapshots in InfluxDB's line protocol: a measurement with tags, fields with numbers, and a time.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use super::escape::{MEASUREMENT, TAG, push_escaped};
use crate::deliver::{Batch, gzipped};
use crate::export::endpoints::SnapshotContent;
use crate::export::outcome::{ExportOutcome, QuarantineReason};
use crate::export::seen_names::SeenNames;
use crate::model::{NameFilter, Policy, Row, Series, Snapshot, Summary, Value};
use crate::text::number::push_number;

/// The size in bytes of the lines after which a request is sent.
const REQUEST: usize = 1 << 20;

/// The content that an endpoint gets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InfluxContent {
    /// The text that replaces a dot of a name in a measurement.
    pub(crate) metric_separator: String,
    /// Whether counts are integers.
    pub(crate) integers: bool,
    /// The tags of all series that do not have a tag of that name.
    pub(crate) tags: BTreeMap<String, String>,
    /// The names of series that are sent.
    pub(crate) names: NameFilter,
}

impl SnapshotContent for InfluxContent {
    fn encode(&self, snapshot: &Snapshot, outcome: &mut ExportOutcome, push: &mut dyn FnMut(Batch)) {
        let mut names = SeenNames::with_capacity(snapshot.rows.series().len());
        let nanos = snapshot.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let end = format!(" {nanos}\n");
        let mut text = String::new();
        let mut points = 0;
        let mut send = |text: &mut String, points: &mut u64| {
            push(Batch {
                body: gzipped(Vec::new(), text.as_bytes()).into(),
                points: std::mem::take(points),
                time: snapshot.time,
            });
            text.clear();
        };
        for row in snapshot.rows.iter().filter(|row| self.names.has(row.series.name())) {
            let begin = text.len();
            self.push_key(&mut text, row.series);
            if !names.is_new(&text[begin..]) {
                text.truncate(begin);
                outcome.quarantined[QuarantineReason::DuplicateSeries] += 1;
                continue;
            }
            self.push_fields(&mut text, row, snapshot.policy(&row));
            text.push_str(&end);
            points += 1;
            if text.len() >= REQUEST {
                send(&mut text, &mut points);
            }
        }
        if points > 0 {
            send(&mut text, &mut points);
        }
    }
}

impl InfluxContent {
    /// Appends the measurement and the tags. Tags of the client win over those of the endpoint, as in Telegraf.
    fn push_key(&self, text: &mut String, series: &Series) {
        let name = series.name().replace('.', &self.metric_separator);
        // A line that begins with "#" is a comment.
        let (first, rest) = name.strip_prefix('#').map_or(("", &*name), |rest| ("_", rest));
        text.push_str(first);
        push_escaped(text, rest, MEASUREMENT);
        let mut tags: BTreeMap<&str, &str> =
            self.tags.iter().map(|(key, value)| (&**key, &**value)).collect();
        tags.insert("metric_type", series.kind().into());
        tags.extend(series.tags());
        for (key, value) in tags.into_iter().filter(|(key, _)| !key.is_empty()) {
            text.push(',');
            push_escaped(text, key, TAG);
            text.push('=');
            // InfluxDB refuses tags without a value.
            push_escaped(text, if value.is_empty() { "true" } else { value }, TAG);
        }
    }

    fn push_fields(&self, text: &mut String, row: Row<'_>, policy: &Policy) {
        match row.value {
            Value::Counter(value) | Value::Set(value) => {
                text.push_str(" value=");
                self.push_count(text, *value);
            }
            Value::Gauge(value) => {
                text.push_str(" value=");
                push_number(text, *value);
            }
            Value::Summary(summary) => self.push_summary(text, summary, policy),
        }
    }

    fn push_summary(&self, text: &mut String, summary: &Summary, policy: &Policy) {
        let Summary { count, sum, min, max, mean, stddev, percentiles, values, .. } = summary;
        text.push_str(" count=");
        self.push_count(text, *count);
        for (field, value) in
            [("lower", *min), ("mean", *mean), ("stddev", *stddev), ("sum", *sum), ("upper", *max)]
        {
            text.extend([",", field, "="]);
            push_number(text, value);
        }
        if let Some(values) = values {
            text.push_str(",median=");
            push_number(text, values.median());
        }
        for (percentile, value) in policy.statistics.percentiles.iter().zip(percentiles) {
            text.push(',');
            push_number(text, percentile.percent());
            text.push_str("_percentile=");
            push_number(text, *value);
        }
    }

    fn push_count(&self, text: &mut String, count: f64) {
        if self.integers {
            text.push_str(itoa::Buffer::new().format(count.round() as i64));
            text.push('i');
        } else {
            push_number(text, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;
    use std::time::Duration;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::model::{Kind, Percentile, Rows, Statistics, WeightedValues};

    fn content() -> InfluxContent {
        InfluxContent {
            metric_separator: "_".to_owned(),
            integers: false,
            tags: [("host".to_owned(), "one".to_owned())].into(),
            names: NameFilter::new(&[]),
        }
    }

    /// Returns the lines of all requests.
    fn lines(content: &InfluxContent, rows: Vec<(Series, Value)>) -> Vec<String> {
        let percentiles = [90.0, 99.9].into_iter().filter_map(Percentile::new).collect();
        let statistics = Statistics { percentiles, ..Statistics::default() };
        let snapshot = Snapshot {
            time: UNIX_EPOCH + Duration::new(7, 5),
            policies: Arc::new(statistics.into()),
            ..rows.into_iter().collect::<Rows>().into()
        };
        let mut lines = Vec::new();
        content.encode(&snapshot, &mut ExportOutcome::default(), &mut |batch| {
            let mut text = String::new();
            GzDecoder::new(&*batch.body).read_to_string(&mut text).unwrap();
            assert_eq!(text.lines().count() as u64, batch.points);
            lines.extend(text.lines().map(str::to_owned));
        });
        lines
    }

    fn counter(name: &str, tags: &[(&str, &str)]) -> (Series, Value) {
        (Series::new(Kind::Counter, name, tags), Value::Counter(2.5))
    }

    #[test]
    fn counts_are_floats_or_rounded_integers() {
        let row = || vec![counter("api.hits", &[])];
        let key = "api_hits,host=one,metric_type=counter";
        assert_eq!(lines(&content(), row()), [format!("{key} value=2.5 7000000005")]);
        let integers = InfluxContent { integers: true, metric_separator: ".".to_owned(), ..content() };
        assert_eq!(lines(&integers, row()), ["api.hits,host=one,metric_type=counter value=3i 7000000005"]);
        let gauge = vec![(Series::new(Kind::Gauge, "g", &[]), Value::Gauge(4.0))];
        assert_eq!(lines(&integers, gauge), ["g,host=one,metric_type=gauge value=4 7000000005"]);
    }

    #[test]
    fn tags_of_a_client_win_and_none_is_empty() {
        let tagged = counter("#c", &[("host", "theirs"), ("flag", ""), ("a b", "x,y=z")]);
        let expected = r"_c,a\ b=x\,y\=z,flag=true,host=theirs,metric_type=counter value=2.5 7000000005";
        assert_eq!(lines(&content(), vec![tagged]), [expected]);
    }

    #[test]
    fn a_timing_has_the_fields_of_telegraf() {
        let values = [(1.0, 1.0), (2.0, 1.0)].into_iter().collect::<WeightedValues>();
        let summary = Summary {
            count: 2.0,
            sum: 3.0,
            min: 1.0,
            max: 2.0,
            mean: 1.5,
            stddev: 0.5,
            percentiles: [2.0, 2.0].into(),
            values: Some(Box::new(values)),
            ..Summary::default()
        };
        let row = (Series::new(Kind::Timing, "t", &[]), Value::Summary(Box::new(summary)));
        let fields =
            "count=2,lower=1,mean=1.5,stddev=0.5,sum=3,upper=2,median=1.5,90_percentile=2,99.9_percentile=2";
        assert_eq!(
            lines(&content(), vec![row]),
            [format!("t,host=one,metric_type=timing {fields} 7000000005")]
        );
    }

    #[test]
    fn a_series_that_would_overwrite_another_one_is_left_out_and_counted() {
        let rows = vec![counter("a.b", &[]), counter("a_b", &[]), counter("a_b", &[("k", "v")])];
        let snapshot = Snapshot { ..Rows::from_iter(rows).into() };
        let (mut outcome, mut points) = (ExportOutcome::default(), 0);
        content().encode(&snapshot, &mut outcome, &mut |batch| points += batch.points);
        assert_eq!((points, outcome.quarantined[QuarantineReason::DuplicateSeries]), (2, 1));
    }

    #[test]
    fn a_large_snapshot_is_split_into_requests() {
        let rows =
            (0..40_000).map(|number| counter(&format!("name.of.a.counter.{number:05}"), &[])).collect();
        let (mut requests, mut points) = (0, 0);
        let snapshot = Snapshot { ..Rows::from_iter::<Vec<_>>(rows).into() };
        content().encode(&snapshot, &mut ExportOutcome::default(), &mut |batch| {
            requests += 1;
            points += batch.points;
        });
        assert_eq!((requests, points), (3, 40_000));
    }
}
