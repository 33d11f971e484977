//! Reads a row of the cases: the datagrams of each interval, and the numbers that a peer reported.

use std::time::Duration;

use serde_json::Value as Json;

/// The interval of rows that do not state one.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// Lines sent to a peer, and its results.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) peer: String,
    pub(super) config: Json,
    /// The length of an interval.
    pub(super) length: Duration,
    /// True if samples and flushes have times.
    pub(super) is_timed: bool,
    /// The error that variance and standard deviation may have, if the peer's numbers are rounded.
    pub(super) tolerance: Option<f64>,
    /// The datagrams of each interval.
    pub(super) intervals: Vec<Vec<String>>,
    pub(super) facts: Vec<Fact>,
}

/// One number of a peer.
pub(super) struct Fact {
    /// The name of the peer.
    pub(super) peer: String,
    /// The name in the file of deviations: `2: t upper_90` belongs to the second flush.
    pub(super) label: String,
    /// The interval of the result, or `None` if no interval had ended.
    pub(super) interval: Option<usize>,
    pub(super) subject: Subject,
    /// The peer's name for the statistic. An element of a list has its index in brackets.
    pub(super) field: String,
    /// All fields of the same result, because the layout of buckets is next to their counts.
    pub(super) siblings: Json,
    /// The number, or `None` if the peer reports nothing under this name.
    pub(super) expected: Option<f64>,
}

/// The thing that a number describes.
#[derive(Clone)]
pub(super) enum Subject {
    Series {
        name: String,
        tags: Vec<(String, String)>,
        class: Class,
    },
    /// All that the peer received.
    Traffic,
    /// All that the peer reported.
    Report,
}

/// The kinds that peers distinguish in their results.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Class {
    Counter,
    Gauge,
    Set,
    Values,
}

/// The numbers that a peer reports about one subject.
struct Results<'a> {
    interval: Option<usize>,
    /// The start of the numbers' labels.
    prefix: &'a str,
    subject: Subject,
    /// The numbers by field.
    values: &'a Json,
}

impl<'a> Results<'a> {
    /// Returns results without fields.
    fn about(interval: Option<usize>, prefix: &'a str, subject: Subject) -> Self {
        Self { interval, prefix, subject, values: &Json::Null }
    }
}

impl Subject {
    fn series(name: &str, kind: &str, tags: &Json) -> Self {
        let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
        let tags = tags.as_array().into_iter().flatten().map(|tag| (text(&tag[0]), text(&tag[1])));
        Self::Series { name: name.to_owned(), tags: tags.collect(), class: Class::of(kind) }
    }
}

impl Row {
    pub(super) fn parse(line: &str) -> Self {
        let json: Json = serde_json::from_str(line).unwrap();
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        let mut row = Self {
            id: text("id"),
            peer: text("peer"),
            config: json["config"].clone(),
            length: json["interval_ms"].as_u64().map_or(DEFAULT_INTERVAL, Duration::from_millis),
            is_timed: false,
            tolerance: json["tolerance"]
                .as_str()
                .and_then(|text| text.strip_prefix("variance and stddev within ")?.parse().ok()),
            intervals: Vec::new(),
            facts: Vec::new(),
        };
        if let Some(flushes) = json["flushes"].as_array() {
            if flushes.iter().any(|flush| flush["flush_at"].is_u64()) {
                row.read_timed_flushes(flushes);
            } else {
                row.read_flushes(flushes);
            }
        } else if json["expect"][0]["values"]["values_after_each"].is_array() {
            row.intervals = datagrams(&json).into_iter().map(|line| vec![line]).collect();
            row.read_expected(Some(0), "", &json["expect"]);
            (0..).zip(&mut row.facts).for_each(|(index, fact)| fact.interval = Some(index));
        } else {
            row.intervals.push(datagrams(&json));
            row.read_expected(Some(0), "", &json["expect"]);
            row.read_expected(Some(0), "", &json["computed"]);
            for (peer, values) in json["peers"].as_object().into_iter().flatten() {
                row.peer.clone_from(peer);
                let prefix = &format!("{peer}: ");
                let subject = Subject::series("t", "timer", &Json::Null);
                row.read_results(&Results { interval: Some(0), prefix, subject, values });
            }
            row.peer = text("peer");
        }
        if json["config"]["effective_percentiles"].is_array() {
            row.push(&Results::about(None, "", Subject::Report), "effective_percentiles", None);
        }
        row
    }

    /// Reads flushes. Each flush is an interval, unless it merges partial results of one interval.
    fn read_flushes(&mut self, flushes: &[Json]) {
        for (index, flush) in flushes.iter().enumerate() {
            match self.intervals.last_mut() {
                Some(open) if flush["merge"].as_u64() > Some(1) => open.extend(datagrams(flush)),
                _ => self.intervals.push(datagrams(flush)),
            }
            let interval = Some(self.intervals.len() - 1);
            let prefix = format!("{}: ", index + 1);
            self.read_expected(interval, &prefix, &flush["expect"]);
            for report in [&flush["graphite"], &flush["graphite_all"]] {
                for (metric, value) in report.as_object().into_iter().flatten() {
                    self.read_graphite(interval, &prefix, metric, value);
                }
            }
        }
    }

    /// Reads samples and flushes with times. Intervals have the length that the row states, and a flush reports the
    /// intervals that have ended.
    fn read_timed_flushes(&mut self, flushes: &[Json]) {
        self.is_timed = true;
        let length = self.length.as_secs();
        let number = |second: &Json| second.as_u64().unwrap() / length;
        let first =
            flushes.iter().flat_map(|flush| flush["at"].as_array().into_iter().flatten().map(number)).min();
        let first = first.unwrap();
        let last = number(&flushes[flushes.len() - 1]["flush_at"]);
        self.intervals = vec![Vec::new(); (last - first + 1) as usize];
        let mut reported = first;
        for (index, flush) in flushes.iter().enumerate() {
            let times = flush["at"].as_array().into_iter().flatten().map(number);
            // A line without a time has the time of the line before.
            let times: Vec<_> = times.collect();
            for (index, line) in datagrams(flush).into_iter().enumerate() {
                let interval = times.get(index).or(times.last()).unwrap() - first;
                self.intervals[interval as usize].push(line);
            }
            let ended = number(&flush["flush_at"]);
            let prefix = format!("{}: ", index + 1);
            let latest = (ended > reported).then(|| (ended - 1 - first) as usize);
            self.read_expected(latest, &prefix, &flush["expect"]);
            if let Some(series) = flush["series"].as_f64() {
                self.push(&Results::about(latest, &prefix, Subject::Report), "series", Some(series));
            }
            for fact in self.facts.iter_mut().filter(|fact| fact.label.starts_with(&prefix)) {
                if let Some(second) =
                    fact.field.strip_prefix("points[").and_then(|rest| rest.strip_suffix(']'))
                {
                    fact.interval = Some((second.parse::<u64>().unwrap() / length - first) as usize);
                }
            }
            reported = ended;
        }
    }

    fn read_expected(&mut self, interval: Option<usize>, prefix: &str, expected: &Json) {
        let Some(results) = expected.as_array() else { return };
        if results.is_empty() {
            self.push(&Results::about(interval, prefix, Subject::Report), "series", Some(0.0));
        }
        for result in results {
            let [name, kind] = ["name", "type"].map(|key| result[key].as_str().unwrap());
            let subject = Subject::series(name, kind, &result["tags"]);
            self.read_results(&Results { interval, prefix, subject, values: &result["values"] });
        }
    }

    fn read_results(&mut self, results: &Results<'_>) {
        for (field, value) in results.values.as_object().unwrap() {
            let list = value.as_array().map_or(&[][..], Vec::as_slice);
            match field.as_str() {
                "points" if list.iter().all(Json::is_array) => {
                    for point in list {
                        let field = format!("points[{}]", point[0]);
                        self.push(results, &field, point[1].as_f64());
                    }
                }
                "points" | "values" | "values_after_each" | "positive" | "negative" | "bucket_counts" => {
                    let mut list: Vec<_> = list.iter().filter_map(Json::as_f64).collect();
                    if field == "values" {
                        list.sort_by(f64::total_cmp);
                    }
                    if list.is_empty() {
                        self.push(results, field, None);
                    }
                    for (index, value) in list.into_iter().enumerate() {
                        let field = format!("{field}[{index}]");
                        self.push(results, &field, Some(value));
                    }
                }
                "weights" => {
                    let sum = list.iter().filter_map(Json::as_f64).sum();
                    self.push(results, field, Some(sum));
                }
                _ => self.push(results, field, value.as_f64()),
            }
        }
    }

    /// Reads a number that statsd sends to Graphite, in the new or the legacy namespace.
    fn read_graphite(&mut self, interval: Option<usize>, prefix: &str, metric: &str, value: &Json) {
        let suffix = self.config["graphite"]["globalSuffix"].as_str().map(|suffix| format!(".{suffix}"));
        let path = suffix.and_then(|suffix| metric.strip_suffix(&*suffix)).unwrap_or(metric);
        let own = self.config["prefixStats"].as_str().unwrap_or("statsd");
        let (class, name, field) = if let Some(path) = path.strip_prefix("stats.timers.") {
            let (name, field) = path.split_once('.').unwrap();
            (Class::Values, name, field)
        } else if let Some(name) = path.strip_prefix("stats.gauges.") {
            (Class::Gauge, name, "value")
        } else if let Some(path) = path.strip_prefix("stats.counters.") {
            let (name, field) = path.rsplit_once('.').unwrap();
            (Class::Counter, name, field)
        } else if let Some(name) = path.strip_prefix("stats_counts.") {
            (Class::Counter, name, "count")
        } else {
            (Class::Counter, path.strip_prefix("stats.").unwrap_or(path), "rate")
        };
        let (subject, field) = match name.strip_prefix(own).and_then(|name| name.strip_prefix('.')) {
            Some(name) => (Subject::Traffic, format!("{name}.{field}")),
            None => (Subject::Series { name: name.to_owned(), tags: Vec::new(), class }, field.to_owned()),
        };
        self.push(&Results::about(interval, prefix, subject), &field, value.as_f64());
        let fact = self.facts.last_mut().unwrap();
        fact.label = format!("{prefix}{metric}");
        self.drop_repeated();
    }

    fn push(&mut self, results: &Results<'_>, field: &str, expected: Option<f64>) {
        let Results { interval, prefix, ref subject, values } = *results;
        let of = match subject {
            Subject::Series { name, tags, .. } => {
                let tags = tags.iter().map(|(key, value)| format!(";{key}={value}"));
                format!("{name}{} ", tags.collect::<String>())
            }
            Subject::Traffic | Subject::Report => String::new(),
        };
        self.facts.push(Fact {
            peer: self.peer.clone(),
            label: format!("{prefix}{of}{field}"),
            interval,
            subject: subject.clone(),
            field: field.to_owned(),
            siblings: values.clone(),
            expected,
        });
        self.drop_repeated();
    }

    /// Removes the last fact if it repeats an earlier one. Rows list asserted numbers again among the computed ones.
    fn drop_repeated(&mut self) {
        let (last, before) = self.facts.split_last().unwrap();
        if let Some(same) = before.iter().find(|fact| fact.label == last.label) {
            assert_eq!(same.expected, last.expected, "{} {}", self.id, last.label);
            self.facts.pop();
        }
    }
}

impl Class {
    fn of(kind: &str) -> Self {
        match kind {
            "counter" => Self::Counter,
            "gauge" | "kv" => Self::Gauge,
            "set" => Self::Set,
            "timer" | "histogram" | "distribution" | "summary" | "exponential_histogram" => Self::Values,
            _ => panic!("unknown type {kind}"),
        }
    }
}

/// Returns the lines of a flush. A rule such as `t:{j}|ms for j in 1..9` may generate them, and includes both ends.
fn datagrams(flush: &Json) -> Vec<String> {
    if let Some(rule) = flush["lines_rule"].as_str() {
        let (line, rest) = rule.split_once(" for ").unwrap();
        let (variable, range) = rest.split_once(" in ").unwrap();
        let (first, last) = range.split_whitespace().next().unwrap().split_once("..").unwrap();
        let number = |text: &str| text.trim_end_matches(',').parse::<u32>().unwrap();
        let place = format!("{{{variable}}}");
        return (number(first)..=number(last)).map(|n| line.replace(&place, &n.to_string())).collect();
    }
    let lines = flush["lines"].as_array().into_iter().flatten();
    lines.map(|line| line.as_str().unwrap().to_owned()).collect()
}
