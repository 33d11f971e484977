//! Explains a line for programs, as a JSON object. Programs rely on its fields, which `docs/protocol.md` documents.

use serde::Serialize;

use crate::aggregate::AggregationOptions;
use crate::mapping::{Mapping, Rule, Shaped, Step};
use crate::model::{Kind, Named, RELAY_PROBE, RESERVED_PREFIX, Series, split_name};
use crate::protocol::{Event, Line, Metric, Origin, RejectReason, SampleValue, ServiceCheck};
use crate::resolve::{IdentityBuilder, RefuseReason, lossy, sorted};
use crate::text::visible::json_escaped;

/// The meaning of a line.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Meaning {
    /// tallyd accepts the line.
    Accepted {
        /// Always `true`.
        ok: bool,
        /// The samples of a metric line.
        samples: Vec<SampleMeaning>,
        /// At most one event.
        events: Vec<EventMeaning>,
        /// At most one service check.
        service_checks: Vec<CheckMeaning>,
    },
    /// tallyd rejects the line.
    Rejected {
        /// Always `false`.
        ok: bool,
        /// The name of the reason.
        reason: &'static str,
        /// The byte at which the error is, counted from 1.
        column: usize,
        /// The number of the line in the input, counted from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<u64>,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct SampleMeaning {
    name: String,
    /// The type on the wire.
    #[serde(rename = "type")]
    kind: &'static str,
    value: ValueMeaning,
    /// True if the value is a change rather than a new value.
    delta: bool,
    rate: f64,
    tags: Vec<(String, String)>,
    timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cardinality: Option<&'static str>,
    /// The mapping rule that matches, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<RuleMeaning>,
    /// Each change of the series, in order, if the rule is not the only one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepMeaning>,
    /// The reason why tallyd does not record the sample, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'static str>,
}

/// A change of a series, and the series after it.
#[derive(Debug, Serialize)]
struct StepMeaning {
    step: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<usize>,
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    name: String,
    tags: Vec<(String, String)>,
}

/// The effect of a rule on a sample.
#[derive(Debug, Serialize)]
struct RuleMeaning {
    /// The position among the rules, counted from 1.
    number: usize,
    #[serde(rename = "match")]
    pattern: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Series { name: String, tags: Vec<(String, String)>, scale: f64 },
    Refused { refused: &'static str },
}

/// A number, or the member of a set.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum ValueMeaning {
    Number(f64),
    Member(String),
}

#[derive(Debug, Serialize)]
pub(super) struct EventMeaning {
    title: String,
    text: String,
    timestamp: Option<u64>,
    hostname: Option<String>,
    priority: &'static str,
    alert_type: &'static str,
    aggregation_key: Option<String>,
    source_type: Option<String>,
    tags: Vec<(String, String)>,
}

/// A service check.
#[derive(Debug, Serialize)]
pub(super) struct CheckMeaning {
    name: String,
    status: u8,
    timestamp: Option<u64>,
    hostname: Option<String>,
    message: Option<String>,
    tags: Vec<(String, String)>,
}

impl Meaning {
    /// Returns the meaning of a parsed line.
    pub(super) fn new(
        line: &Line<'_>,
        options: &AggregationOptions,
        mapping: &Mapping,
        max_name: usize,
    ) -> Self {
        let (mut samples, mut events, mut service_checks) = (Vec::new(), Vec::new(), Vec::new());
        match line {
            Line::Metric(metric) => samples = samples_of(metric, options, (mapping, max_name)),
            Line::Event(event) => events.push(event_of(event)),
            Line::ServiceCheck(check) => service_checks.push(check_of(check)),
        }
        Meaning::Accepted { ok: true, samples, events, service_checks }
    }

    /// Returns the meaning of a rejected line.
    pub(super) fn rejected(reason: RejectReason, offset: usize, line: Option<u64>) -> Self {
        Meaning::Rejected { ok: false, reason: reason.name(), column: offset + 1, line }
    }

    /// Returns the object on a row of its own, with the line feed. Hidden characters are escaped.
    pub(super) fn to_json(&self) -> String {
        // All keys are text and all numbers are finite, so this cannot fail.
        let json = serde_json::to_string(self).unwrap_or_default();
        json_escaped(&json).into_owned() + "\n"
    }
}

fn samples_of(
    metric: &Metric<'_>,
    options: &AggregationOptions,
    (mapping, max_name): (&Mapping, usize),
) -> Vec<SampleMeaning> {
    let is_absolute = options.resolve.is_absolute(metric.name());
    let given = |bytes: &[u8]| (!bytes.is_empty()).then(|| lossy(bytes));
    let Origin { container_id, external_data, cardinality, .. } = metric.origin();
    let (name, tags) = (metric.name().to_string(), sorted(metric.tags()));
    let meaning = |sample: crate::protocol::Sample<'_>| {
        let (value, delta) = match sample.value {
            SampleValue::Number(number) => (ValueMeaning::Number(number), false),
            SampleValue::Signed(number) => (ValueMeaning::Number(number), !is_absolute),
            SampleValue::Member(member) => (ValueMeaning::Member(lossy(member)), false),
        };
        let (rule, steps, refused) = shaping_of(metric, sample.kind, options, (mapping, max_name));
        SampleMeaning {
            name: name.clone(),
            kind: sample.kind.wire(),
            value,
            delta,
            rate: sample.rate.get(),
            tags: tags.clone(),
            timestamp: metric.timestamp(),
            container_id: given(container_id),
            external_data: given(external_data),
            cardinality: cardinality.map(Named::name),
            rule,
            steps,
            refused,
        }
    };
    metric.samples().map(meaning).collect()
}

/// Returns what the rules make of a sample's series: the rule whose options apply, or else the last one, and each step
/// if there are others than that rule.
fn shaping_of(
    metric: &Metric<'_>,
    kind: Kind,
    options: &AggregationOptions,
    (mapping, max_name): (&Mapping, usize),
) -> (Option<RuleMeaning>, Vec<StepMeaning>, Option<&'static str>) {
    let mut identities = IdentityBuilder::new(options.resolve.container_id_tag);
    let mut steps = Vec::new();
    let mut last = None;
    let shaped = identities.identify(mapping, kind, metric, |step, draft| {
        let (step, number, pattern) = match step {
            Step::Tags => ("tags", None, None),
            Step::Additions => ("additions", None, None),
            Step::Rule(rule) => {
                last = Some(rule);
                ("rule", Some(rule.index + 1), Some(rule.spec.pattern.clone()))
            }
        };
        let tags = draft.tags.iter().cloned();
        let mut tags: Vec<_> = tags.map(|(key, value)| (key, value.unwrap_or_default())).collect();
        tags.sort();
        steps.push(StepMeaning { step, number, pattern, name: draft.name.clone(), tags });
    });
    let shaped = match shaped {
        _ if metric.name().starts_with(RESERVED_PREFIX) && metric.name() != RELAY_PROBE => {
            Err(RefuseReason::ReservedName)
        }
        Ok(_) if split_name(identities.identity()).0.len() > max_name => Err(RefuseReason::NameTooLong),
        other => other,
    };
    let refused = shaped.as_ref().err().map(|reason| reason.name());
    let outcome = match shaped {
        Ok(Shaped { scale, .. }) => {
            let series = Series::from_identity(identities.identity());
            let tags = series.tags().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            Outcome::Series { name: series.name().to_owned(), tags, scale }
        }
        Err(reason) => Outcome::Refused { refused: reason.name() },
    };
    if let ([_], Some(_)) = (&*steps, last) {
        steps.clear();
    }
    let rule = last.map(|Rule { index, spec, .. }| RuleMeaning {
        number: index + 1,
        pattern: spec.pattern.clone(),
        outcome,
    });
    (rule, steps, refused)
}

fn event_of(event: &Event<'_>) -> EventMeaning {
    EventMeaning {
        title: event.title.to_string(),
        text: event.text.to_string(),
        timestamp: event.timestamp,
        hostname: event.hostname.map(lossy),
        priority: event.priority.name(),
        alert_type: event.alert_type.name(),
        aggregation_key: event.aggregation_key.map(lossy),
        source_type: event.source_type.map(lossy),
        tags: sorted(event.tags),
    }
}

fn check_of(check: &ServiceCheck<'_>) -> CheckMeaning {
    CheckMeaning {
        name: check.name.to_owned(),
        status: check.status as u8,
        timestamp: check.timestamp,
        hostname: check.hostname.map(lossy),
        message: check.message.map(|message| message.to_string()),
        tags: sorted(check.tags),
    }
}
