//! What one receiver owns: the forms it knows, and the columns of the open interval.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::buffers::{Buffers, Supplies};
use super::counters::Counters;
use super::distribution::Distribution;
use super::events::Events;
use super::gauges::Gauges;
use crate::model::{MILLISECONDS, RESERVED_PREFIX, finite};
use crate::resolve::{
    AggregateKind, Entry, LimitExceeded, Limits, LineCache, LinePattern, RefuseReason, Registry, Ruled,
    SeriesId, SplitLine, SplitLines, Target, identify, map,
};

use super::members::Members;

use super::counts::{IngestCounts, RefusedNames};
use crate::mapping::Mapping;
use crate::model::{Assignment, Kind, SERVICE_CHECK};
use crate::protocol::{
    self, Dialects, Event, Line, Metric, Name, Notes, RejectReason, Sample, SampleValue, ServiceCheck, number,
};
use crate::resolve::IdentityBuilder;

/// How lines are read and samples aggregated.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregationOptions {
    /// Series that may be alive at a time, until [`Limits`] say otherwise; below 2^32.
    pub max_series: usize,
    /// Likewise, bytes that the names and tags of all series may take.
    pub max_series_bytes: usize,
    /// Percentiles of many values are within a relative error of `10^-digits`; 1 to 4.
    pub digits: u8,
    /// Values of a series and interval up to which percentiles are exact.
    pub exact_values: usize,
    /// Members of a set up to which it is counted exactly.
    pub exact_members: usize,
    /// Whether a signed value of a gauge is a value, not a change.
    pub absolute_gauges: bool,
    /// Likewise, for names that begin with one of these.
    pub absolute_gauge_prefixes: Vec<String>,
    /// Whose tags within names are read.
    pub dialects: Dialects,
    /// Whether the container's id, where it is sent, is a tag of the series.
    pub container_id_tag: bool,
    /// Bytes of events that a shard keeps for the end of the interval.
    pub event_buffer: usize,
}

/// What the shipped configuration says.
impl Default for AggregationOptions {
    fn default() -> Self {
        Self {
            max_series: 1_000_000,
            max_series_bytes: 256 << 20,
            digits: 2,
            exact_values: 512,
            exact_members: 1000,
            absolute_gauges: false,
            absolute_gauge_prefixes: Vec::new(),
            dialects: Dialects::ALL,
            container_id_tag: false,
            event_buffer: 1 << 20,
        }
    }
}

impl AggregationOptions {
    /// Whether a signed value of a gauge of this name is a value, not a change.
    #[must_use]
    pub fn is_absolute(&self, name: Name<'_>) -> bool {
        self.absolute_gauges || self.absolute_gauge_prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    /// How many series there may be.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { series: self.max_series, bytes: self.max_series_bytes }
    }
}

/// Forms that a shard learns, so that clients which vary their tags' order or their sample rate cannot fill the memory.
/// Lines of other forms are parsed each time; to be found they need one more form a series at most.
fn max_forms(limits: Limits) -> usize {
    2 * limits.series + 65_536
}

/// Likewise, bytes of forms; those by which series are found come on top, as long as their identities are.
fn max_key_bytes(limits: Limits) -> usize {
    128 * max_forms(limits)
}

/// What all shards share: numbers of series, and gauges.
#[derive(Debug)]
pub struct SharedState {
    pub(crate) parameters: AggregationOptions,
    pub(crate) registry: Registry,
    pub(crate) gauges: Gauges,
    /// The same for all shards, so that a member counts once.
    member_hasher: RandomState,
    /// Of shards that begin.
    mapping: Arc<Mapping>,
}

impl SharedState {
    /// Without series, and without rules.
    #[must_use]
    pub fn new(parameters: AggregationOptions) -> Arc<Self> {
        Self::mapped(parameters, Mapping::default())
    }

    /// Without series, whose names and labels will be what the rules say.
    #[must_use]
    pub fn mapped(parameters: AggregationOptions, mapping: Mapping) -> Arc<Self> {
        Arc::new(Self {
            registry: Registry::new(parameters.limits()),
            gauges: Gauges::new(),
            member_hasher: RandomState::default(),
            mapping: Arc::new(mapping),
            parameters,
        })
    }

    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }
}

/// The values of an interval, as one receiver recorded them. They leave the shard whole, for others that are empty.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) counters: Counters,
    pub(crate) timings: Buffers<Distribution>,
    /// Of histograms and distributions.
    pub(crate) values: Buffers<Distribution>,
    pub(crate) members: Buffers<Members>,
    pub(crate) events: Events,
    pub(crate) tally: IngestCounts,
    pub(crate) refused: RefusedNames,
}

/// Memory that the flush is done with.
#[derive(Debug)]
pub(crate) struct Memory {
    timings: Supplies<Distribution>,
    values: Supplies<Distribution>,
    members: Supplies<Members>,
}

impl Columns {
    pub(crate) fn new(parameters: &AggregationOptions) -> Self {
        let values = |unit| Buffers::new(Distribution::new(parameters.digits, unit), parameters.exact_values);
        Self {
            counters: Counters::default(),
            timings: values(MILLISECONDS),
            values: values(1.0),
            members: Buffers::new(Members::new(parameters.exact_members), 0),
            events: Events::new(parameters.event_buffer),
            tally: IngestCounts::default(),
            refused: RefusedNames::default(),
        }
    }

    /// Makes room for cells, so that opening them moves nothing.
    pub(crate) fn make_room(&mut self, size: Size) {
        self.counters.make_room(size.counters);
        self.timings.make_room(size.timings);
        self.values.make_room(size.values);
        self.members.make_room(size.members);
    }

    /// Opens up to `limit` cells of each kind that `other` has and this one has not. Whether none is missing after that.
    fn catch_up(&mut self, other: &Self, limit: usize) -> bool {
        self.counters.catch_up(&other.counters, limit)
            & self.timings.catch_up(&other.timings, limit)
            & self.values.catch_up(&other.values, limit)
            & self.members.catch_up(&other.members, limit)
    }

    /// The values of a class that has a [`Distribution`] for each series.
    pub(crate) fn distributions(&self, class: AggregateKind) -> &Buffers<Distribution> {
        if class == AggregateKind::Timing { &self.timings } else { &self.values }
    }

    /// Takes over the memory that `other` holds in reserve.
    fn take_reserve(&mut self, other: &mut Self) {
        self.timings.take_reserve(&mut other.timings);
        self.values.take_reserve(&mut other.values);
        self.members.take_reserve(&mut other.members);
    }

    /// Forgets all values of timings and sets, and events. Hands out the memory that held the values.
    pub(crate) fn clear(&mut self) -> Memory {
        self.tally = IngestCounts::default();
        self.events.clear();
        Memory { timings: self.timings.clear(), values: self.values.clear(), members: self.members.clear() }
    }
}

/// The aggregates of one receiver.
#[derive(Debug)]
pub struct Shard {
    shared: Arc<SharedState>,
    forms: LineCache,
    /// Asked for forms that are not known.
    mapping: Arc<Mapping>,
    columns: Columns,
    /// The number of the open interval, from 1.
    interval: u32,
    /// Of series.
    identities: IdentityBuilder,
    /// Of the series that lines would have without rules.
    sent: IdentityBuilder,
}

/// What a shard starts anew with: no forms, columns without cells, and rules.
#[derive(Debug)]
pub(crate) struct ShardReset {
    forms: LineCache,
    columns: Columns,
    /// If they are others than before.
    mapping: Option<Arc<Mapping>>,
}

impl ShardReset {
    /// With room for as much.
    pub(crate) fn new(parameters: &AggregationOptions, size: Size, mapping: Option<Arc<Mapping>>) -> Self {
        let mut columns = Columns::new(parameters);
        columns.make_room(size);
        Self { forms: LineCache::with_capacity(size.forms, size.key_bytes), columns, mapping }
    }

    /// The columns of the interval that was ended with this.
    pub(crate) fn into_columns(self) -> Columns {
        self.columns
    }
}

/// What tells keys of [`Shard::sent`] from those of series.
const SENT: &[u8] = b"\n";

/// Lines that are looked at ahead of recording: as many as a usual datagram has.
const AHEAD: usize = 32;

/// How much a shard holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    forms: usize,
    key_bytes: usize,
    /// Cells of each kind.
    counters: usize,
    timings: usize,
    values: usize,
    members: usize,
}

impl Size {
    /// A part of it.
    pub(crate) fn times(self, part: f64) -> Self {
        let times = |count: usize| (count as f64 * part) as usize;
        let Self { forms, key_bytes, counters, timings, values, members } = self;
        Self {
            forms: times(forms),
            key_bytes: times(key_bytes),
            counters: times(counters),
            timings: times(timings),
            values: times(values),
            members: times(members),
        }
    }
}

impl Shard {
    /// Without series, in interval 1.
    #[must_use]
    pub fn new(shared: Arc<SharedState>) -> Self {
        Self {
            columns: Columns::new(&shared.parameters),
            forms: LineCache::with_capacity(0, 0),
            mapping: Arc::clone(&shared.mapping),
            interval: 1,
            identities: IdentityBuilder::new(shared.parameters.container_id_tag),
            sent: IdentityBuilder::new(shared.parameters.container_id_tag),
            shared,
        }
    }

    /// Records all lines of a datagram. Whatever its bytes are, each line is counted.
    pub fn record(&mut self, datagram: &[u8]) {
        self.columns.tally.datagrams += 1;
        self.columns.tally.bytes += datagram.len() as u64;
        self.record_lines(datagram);
    }

    /// Records the whole lines of a datagram of which only the beginning arrived; the last line may have been cut.
    pub fn record_truncated(&mut self, beginning: &[u8]) {
        self.columns.tally.truncated += 1;
        let end = memchr::memrchr(b'\n', beginning).unwrap_or(0);
        self.record(&beginning[..end]);
    }

    /// Counts bytes that were read from a stream.
    pub fn count_stream_bytes(&mut self, bytes: usize) {
        self.columns.tally.bytes += bytes as u64;
    }

    /// Records whole lines of a stream, whose bytes were counted when they were read.
    pub fn record_stream(&mut self, lines: &[u8]) {
        self.record_lines(lines);
    }

    /// Counts a line that was dropped before anyone read it whole.
    pub fn reject(&mut self, reason: RejectReason) {
        self.columns.tally.lines += 1;
        self.columns.tally.rejected[reason as usize] += 1;
    }

    /// Counts a line whose end never came: it may say anything, so it is no line.
    pub fn count_cut_line(&mut self) {
        self.columns.tally.cut += 1;
    }

    /// What was counted in the open interval.
    #[must_use]
    pub fn tally(&self) -> &IngestCounts {
        &self.columns.tally
    }

    fn record_lines(&mut self, lines: &[u8]) {
        let mut lines = SplitLines::of(lines);
        let mut batch = [(SplitLine::NONE, 0); AHEAD];
        loop {
            let mut len = 0;
            for (place, raw) in batch.iter_mut().zip(&mut lines) {
                *place = (raw, self.forms.hash(raw.before(), raw.after()));
                len += 1;
            }
            if len == 0 {
                return;
            }
            let batch = &batch[..len];
            if !self.forms.are_cached() {
                self.look_ahead(batch);
            }
            for &(raw, hash) in batch {
                self.record_line(raw, hash);
            }
        }
    }

    /// Reads what recording these lines, of which each has its hash, will need; they are at most [`AHEAD`].
    ///
    /// Of many forms, each line would wait for its slot, and then for its key and its cell. So all slots are asked for
    /// first, then all keys and cells, in loops so short that the processor waits for many of them at the same time.
    #[inline(never)]
    fn look_ahead(&self, batch: &[(SplitLine<'_>, u32)]) {
        let mut guesses = [Entry::FREE; AHEAD];
        let guesses = &mut guesses[..batch.len()];
        for (guess, &(_, hash)) in guesses.iter_mut().zip(batch) {
            *guess = self.forms.guess(hash);
        }
        let Columns { counters, timings, values, members, .. } = &self.columns;
        let read = guesses.iter().fold(0, |read, guess| {
            let LinePattern { target, cell, .. } = guess.form();
            let of_cell = match target {
                Target::Counter => counters.touch(cell),
                Target::Timing => timings.touch(cell),
                Target::Histogram | Target::Distribution => values.touch(cell),
                Target::Set => members.touch(cell),
                // Those of gauges are behind locks, and those of rules are few.
                Target::Gauge | Target::AbsoluteGauge | Target::Ruled => 0,
            };
            read ^ of_cell ^ self.forms.touch(*guess)
        });
        // Nothing is to be done with it.
        std::hint::black_box(read);
    }

    #[inline(always)]
    fn record_line(&mut self, raw: SplitLine<'_>, hash: u32) {
        self.columns.tally.lines += 1;
        if self.record_known(raw, hash).is_none() {
            self.record_parsed(raw);
        }
    }

    /// The fast way: one plain value of a form that is known. `None`, and nothing done, for anything else.
    #[inline(always)]
    fn record_known(&mut self, raw: SplitLine<'_>, hash: u32) -> Option<()> {
        if !raw.is_cut() {
            return None;
        }
        let form = self.forms.find(hash, raw.before(), raw.after())?;
        let value = match form.target {
            Target::Set if raw.value().is_empty() => return None,
            Target::Set => SampleValue::Member(raw.value()),
            Target::Gauge if matches!(raw.value().first(), Some(b'+' | b'-')) => {
                SampleValue::Signed(number(raw.value())?)
            }
            Target::Ruled => return self.record_ruled(form, raw.value()),
            _ => SampleValue::Number(number(raw.value())?),
        };
        self.record_value(form, value, None);
        Some(())
    }

    /// Likewise, where a rule wants more than another name. Changes of gauges, and sets, are parsed each time.
    #[inline(never)]
    fn record_ruled(&mut self, form: LinePattern, value: &[u8]) -> Option<()> {
        let number = number(value)?;
        match self.forms.ruled(form) {
            Ruled::Dropped => self.columns.tally.refused[RefuseReason::Dropped as usize] += 1,
            Ruled::Scaled { form: LinePattern { target: Target::Gauge, .. }, .. }
                if matches!(value[0], b'+' | b'-') =>
            {
                return None;
            }
            Ruled::Scaled { form, scale } => {
                self.record_value(form, scaled(SampleValue::Number(number), scale), None);
            }
        }
        Some(())
    }

    /// `weight` is that of the form if it is not given.
    #[inline(always)]
    fn record_value(&mut self, form: LinePattern, value: SampleValue<'_>, weight: Option<f64>) {
        let word = match value {
            SampleValue::Number(number) | SampleValue::Signed(number) => number.to_bits(),
            SampleValue::Member(member) => self.shared.member_hasher.hash_one(member),
        };
        let Columns { counters, timings, values, members, tally, .. } = &mut self.columns;
        let gauge = || (&self.shared.gauges, SeriesId(form.cell), self.interval);
        match form.target {
            Target::Counter => {
                let weight = weight.unwrap_or_else(|| self.forms.weight(form));
                counters.add(form.cell, f64::from_bits(word) * weight);
            }
            // One push for both columns: with one for each, the clock shows a nanosecond more a timing.
            Target::Timing | Target::Histogram | Target::Distribution => {
                let column = if form.target == Target::Timing { timings } else { values };
                column.push_as(form.cell, word, weight);
            }
            Target::Set => members.push(form.cell, word),
            Target::Gauge if matches!(value, SampleValue::Signed(_)) => {
                let (gauges, id, interval) = gauge();
                gauges.add(id, interval, f64::from_bits(word));
            }
            Target::Gauge | Target::AbsoluteGauge => {
                let (gauges, id, interval) = gauge();
                gauges.set(id, interval, f64::from_bits(word));
            }
            // Resolved before.
            Target::Ruled => {}
        }
        if let Some(kind) = form.target.kind() {
            tally.samples[kind as usize] += 1;
        }
    }

    /// The general way: parses the line, and does what it says.
    #[cold]
    fn record_parsed(&mut self, raw: SplitLine<'_>) {
        match protocol::parse(raw.line, self.shared.parameters.dialects) {
            Ok(Line::Metric(metric)) => self.record_metric(raw, &metric),
            Ok(Line::Event(event)) => self.record_event(raw.line, &event),
            Ok(Line::ServiceCheck(check)) => self.record_check(&check),
            Err(error) => self.columns.tally.rejected[error.reason() as usize] += 1,
        }
    }

    fn record_metric(&mut self, raw: SplitLine<'_>, metric: &Metric<'_>) {
        self.count_notes(metric.notes());
        // Whatever costs in proportion to the line is done once, not once a sample: a line may hold thousands of them.
        let mut forms = [None; Kind::ALL.len()];
        let mut beyond_limit = 0;
        for sample in metric.samples() {
            let form = forms[sample.kind as usize].get_or_insert_with(|| self.form_of(raw, metric, &sample));
            match *form {
                Ok((form, scale)) => {
                    self.record_value(form, scaled(sample.value, scale), Some(sample.rate.weight()));
                }
                Err(refusal) => {
                    self.columns.tally.refused[refusal as usize] += 1;
                    beyond_limit += u64::from(refusal.is_for_want_of_room());
                }
            }
        }
        if beyond_limit > 0 {
            self.columns.refused.add(metric.name(), beyond_limit);
        }
    }

    fn record_event(&mut self, line: &[u8], event: &Event<'_>) {
        self.count_notes(event.notes);
        let Columns { events, tally, .. } = &mut self.columns;
        tally.events[event.priority as usize][event.alert_type as usize] += 1;
        tally.events_dropped += u64::from(!events.push(line));
    }

    fn record_check(&mut self, check: &ServiceCheck<'_>) {
        self.count_notes(check.notes);
        self.identities.build_check(check);
        let assigned = self.mapping.assign(None);
        match self.form_by_identity(Target::Gauge, Kind::Gauge, assigned) {
            Ok(form) => {
                let status = f64::from(check.status as u8);
                self.shared.gauges.set(SeriesId(form.cell), self.interval, status);
                self.columns.tally.service_checks[check.status as usize] += 1;
            }
            Err(refusal) => {
                self.columns.tally.refused[refusal as usize] += 1;
                self.columns.refused.add(SERVICE_CHECK.into(), 1);
            }
        }
    }

    fn count_notes(&mut self, notes: Notes) {
        for note in notes.iter() {
            self.columns.tally.noted[note as usize] += 1;
        }
    }

    /// Finds or opens the cell for samples of a kind in a line; and what a rule multiplies their values by.
    fn form_of(
        &mut self,
        raw: SplitLine<'_>,
        metric: &Metric<'_>,
        sample: &Sample<'_>,
    ) -> Result<(LinePattern, f64), RefuseReason> {
        if metric.name().starts_with(RESERVED_PREFIX) {
            return Err(RefuseReason::ReservedName);
        }
        let raw = (raw.is_cut() && metric.is_regular()).then_some(raw);
        if let Some(form) = raw.and_then(|raw| self.find_form(raw.before(), raw.after())) {
            return self.resolve(form);
        }
        let can_be_learned = self.has_room_for_forms();
        let raw = raw.filter(|_| can_be_learned);
        // Where there are rules, a line without a form of its own is found by the series that it would have without them.
        let by_sent = raw.is_none() && can_be_learned && !self.mapping.is_empty();
        if by_sent {
            self.sent.build(sample.kind, metric);
            if let Some(form) = self.find_form(self.sent.identity().as_bytes(), SENT) {
                return self.resolve(form);
            }
        }
        let mapped = map(&self.mapping, sample.kind, metric);
        let identified = identify(&mut self.identities, mapped.as_ref(), sample.kind, metric);
        if identified == Err(RefuseReason::Dropped) {
            if let Some(raw) = raw {
                self.forms.insert_ruled(raw.before(), raw.after(), Ruled::Dropped);
            } else if by_sent {
                self.forms.insert_ruled(self.sent.identity().as_bytes(), SENT, Ruled::Dropped);
            }
        }
        let scale = identified?;
        let assigned = self.mapping.assign(mapped.as_ref());
        let target = match sample.kind {
            Kind::Counter => Target::Counter,
            Kind::Gauge if self.shared.parameters.is_absolute(metric.name()) => Target::AbsoluteGauge,
            Kind::Gauge => Target::Gauge,
            Kind::Timing => Target::Timing,
            Kind::Histogram => Target::Histogram,
            Kind::Distribution => Target::Distribution,
            Kind::Set => Target::Set,
        };
        let weight = sample.rate.weight();
        let rate = raw.and_then(|_| self.forms.rate_of_weight(weight));
        let Some((raw, rate)) = raw.zip(rate) else {
            let form = self.form_by_identity(target, sample.kind, assigned)?;
            if by_sent {
                self.forms.insert_scaled(self.sent.identity().as_bytes(), SENT, form, scale);
            }
            return Ok((form, scale));
        };
        let is_absolute = target == Target::Gauge && !metric.has_deltas();
        let target = if is_absolute { Target::AbsoluteGauge } else { target };
        let form = LinePattern { target, cell: self.open_cell(sample.kind, weight, assigned)?, rate };
        self.forms.insert_scaled(raw.before(), raw.after(), form, scale);
        Ok((form, scale))
    }

    /// A form that was found, and what a rule multiplies values by.
    fn resolve(&self, form: LinePattern) -> Result<(LinePattern, f64), RefuseReason> {
        match form.target {
            Target::Ruled => match self.forms.ruled(form) {
                Ruled::Dropped => Err(RefuseReason::Dropped),
                Ruled::Scaled { form, scale } => Ok((form, scale)),
            },
            _ => Ok((form, 1.0)),
        }
    }

    fn find_form(&self, before: &[u8], after: &[u8]) -> Option<LinePattern> {
        self.forms.find(self.forms.hash(before, after), before, after)
    }

    /// Finds or opens the cell of the series whose identity was built last, for lines that have no form of their own.
    fn form_by_identity(
        &mut self,
        target: Target,
        kind: Kind,
        assigned: Assignment,
    ) -> Result<LinePattern, RefuseReason> {
        // No raw line holds a line feed and every identity does, so both kinds of key share one table.
        if let Some(form) = self.find_form(self.identities.identity().as_bytes(), b"") {
            // It may have been opened by a service check, which does not tell what a sign means to its gauge.
            return Ok(LinePattern { target, ..form });
        }
        let form = LinePattern { target, cell: self.open_cell(kind, 1.0, assigned)?, rate: 0 };
        self.forms.insert(self.identities.identity().as_bytes(), b"", form);
        Ok(form)
    }

    /// A new cell of the series whose identity was built last, for samples of a weight; the series is registered if it is
    /// new.
    fn open_cell(&mut self, kind: Kind, weight: f64, assigned: Assignment) -> Result<u32, RefuseReason> {
        let class = AggregateKind::of(kind);
        let identity = self.identities.identity();
        let owner = self.shared.registry.resolve(class, identity, assigned).map_err(|full| match full {
            LimitExceeded::Series => RefuseReason::MaxSeries,
            LimitExceeded::Bytes => RefuseReason::MaxSeriesBytes,
        })?;
        Ok(match class {
            AggregateKind::Counter => self.columns.counters.open(owner),
            AggregateKind::Timing => self.columns.timings.open(owner, weight),
            AggregateKind::Distribution => self.columns.values.open(owner, weight),
            AggregateKind::Set => self.columns.members.open(owner, 1.0),
            AggregateKind::Gauge => owner.0,
        })
    }

    /// Opens in `next` up to `limit` cells of each kind that the open columns have and `next` has not. Whether none is
    /// missing after that. Called a few times before [`cut`](Self::cut), it keeps the cut itself short.
    pub(crate) fn prepare(&self, next: &mut Columns, limit: usize) -> bool {
        next.catch_up(&self.columns, limit)
    }

    /// Ends the interval: its columns, for `next`, which are empty and become those of the following interval.
    pub(crate) fn cut(&mut self, mut next: Columns) -> Columns {
        while !next.catch_up(&self.columns, usize::MAX) {}
        next.take_reserve(&mut self.columns);
        self.interval += 1;
        std::mem::replace(&mut self.columns, next)
    }

    /// Ends the interval and forgets all forms, which are learned anew from the lines to come. What the shard held goes
    /// into `renewal`, in exchange for what that held.
    pub(crate) fn cut_anew(&mut self, renewal: &mut ShardReset) {
        renewal.columns.take_reserve(&mut self.columns);
        self.interval += 1;
        std::mem::swap(&mut self.columns, &mut renewal.columns);
        std::mem::swap(&mut self.forms, &mut renewal.forms);
        if let Some(mapping) = &mut renewal.mapping {
            std::mem::swap(&mut self.mapping, mapping);
        }
    }

    pub(crate) fn size(&self) -> Size {
        Size {
            forms: self.forms.len(),
            key_bytes: self.forms.key_bytes(),
            counters: self.columns.counters.len(),
            timings: self.columns.timings.len(),
            values: self.columns.values.len(),
            members: self.columns.members.len(),
        }
    }

    /// Whether new forms are still learned.
    fn has_room_for_forms(&self) -> bool {
        let limits = self.shared.registry.limits();
        self.forms.len() < max_forms(limits) && self.forms.key_bytes() < max_key_bytes(limits)
    }

    /// Whether the shard should start anew: because it learns no more forms, or because one is too long to be remembered,
    /// so that each line of it takes a new cell.
    pub(crate) fn is_full_of_forms(&self) -> bool {
        !self.has_room_for_forms() || self.forms.is_overflowing()
    }

    /// Takes back memory that the flush is done with; what is left over is to be freed.
    pub(crate) fn resupply(&mut self, memory: Memory) -> Memory {
        Memory {
            timings: self.columns.timings.resupply(memory.timings),
            values: self.columns.values.resupply(memory.values),
            members: self.columns.members.resupply(memory.members),
        }
    }
}

/// A value as a rule has it.
fn scaled(value: SampleValue<'_>, scale: f64) -> SampleValue<'_> {
    match value {
        _ if scale == 1.0 => value,
        SampleValue::Number(number) => SampleValue::Number(finite(number * scale)),
        SampleValue::Signed(number) => SampleValue::Signed(finite(number * scale)),
        SampleValue::Member(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hangs if one of them takes a lock that shards share.
    #[test]
    fn known_counters_timings_and_sets_are_recorded_while_all_that_is_shared_is_locked() {
        let lines = b"a:1|c\na:1|ms|@0.1|#b\na:1|h\na:1|d\na:1|s";
        let shared = SharedState::new(AggregationOptions::default());
        let mut shard = Shard::new(Arc::clone(&shared));
        shard.record(lines);
        shared.registry.locked(|| shared.gauges.locked(|| shard.record(lines)));
        assert_eq!(shard.tally().samples.iter().sum::<u64>(), 10);
    }

    #[test]
    fn forms_are_limited_in_bytes_too_and_series_are_found_all_the_same() {
        let parameters = AggregationOptions { max_series: 10, ..AggregationOptions::default() };
        let (limit, longest) = (max_key_bytes(parameters.limits()), 60_000);
        let mut shard = Shard::new(SharedState::new(parameters));
        let lines = limit / longest + 100;
        for container in 0..lines {
            shard.record(format!("a:1|c|c:{container:0longest$}").as_bytes());
        }
        assert!(shard.is_full_of_forms());
        assert!(shard.forms.key_bytes() < limit + 2 * longest, "{}", shard.forms.key_bytes());
        let cells = shard.columns.counters.len();
        shard.record(format!("a:1|c|c:{lines:0longest$}").as_bytes());
        assert_eq!(shard.columns.counters.len(), cells);
    }

    /// Each byte that is not UTF-8 becomes three of the identity, which is longer than keys can be.
    #[test]
    fn a_series_that_no_form_can_name_is_recorded_and_takes_memory_for_an_interval_only() {
        let mut shard = Shard::new(SharedState::new(AggregationOptions::default()));
        let line = [b"a:1|c|#".to_vec(), vec![0xff; 30_000]].concat();
        assert!(!shard.is_full_of_forms());
        shard.record(&line);
        shard.record(&line);
        assert_eq!(shard.tally().samples[Kind::Counter as usize], 2);
        assert!(shard.is_full_of_forms());
        let mut renewal = ShardReset::new(&shard.shared.parameters, shard.size(), None);
        shard.cut_anew(&mut renewal);
        assert!(!shard.is_full_of_forms());
    }

    #[test]
    fn forms_are_limited_and_forgotten_when_they_are_too_many() {
        let parameters = AggregationOptions { max_series: 10, ..AggregationOptions::default() };
        let limit = max_forms(parameters.limits());
        let mut shard = Shard::new(SharedState::new(parameters));
        for container in 0..limit + 1000 {
            assert_eq!(shard.is_full_of_forms(), container >= limit);
            shard.record(format!("a:1|c|c:{container}").as_bytes());
        }
        // One more, by which the series itself is found.
        assert_eq!(shard.forms.len(), limit + 1);
        let mut renewal = ShardReset::new(&shard.shared.parameters, shard.size(), None);
        shard.cut_anew(&mut renewal);
        assert_eq!(shard.forms.len(), 0);
        let mut sum = 0.0;
        renewal.into_columns().counters.drain(|_, value| sum += value);
        assert_eq!(sum, (limit + 1000) as f64);
    }
}
