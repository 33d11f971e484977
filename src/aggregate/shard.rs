//! Records the lines that one receiver reads.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::sync::Arc;

use enum_map::EnumMap;
use foldhash::quality::RandomState;

use super::AggregationOptions;
use super::columns::{Columns, Lengths, Recycled};
use super::counts::IngestCounts;
use super::gauges::{FIRST_INTERVAL, Gauges};
use super::line_sample::Recorded;
use crate::mapping::Mapping;
use crate::model::{Container, Kind, MemoryPart, Origin, Origins, RELAY_PROBE, SERVICE_CHECK, finite};
use crate::protocol::{
    self, Event, Line, Metric, Notes, RejectReason, Sample, SampleValue, ServiceCheck, number,
};
use crate::resolve::{
    AggregateKind, Destination, Entry, Excess, Limits, LineCache, OverflowLimit, RefuseReason, Registry,
    Resolved, Resolver, RuleEffect, SeriesId, SplitLine, SplitLines, Target,
};

/// The state that all shards share.
#[derive(Debug)]
pub(crate) struct SharedState {
    pub(crate) options: AggregationOptions,
    pub(crate) registry: Registry,
    pub(crate) gauges: Gauges,
    /// Hashes the members of sets. All shards share it, so that a member counts once.
    member_hasher: RandomState,
}

impl SharedState {
    pub(crate) fn new(options: AggregationOptions, limits: Limits) -> Self {
        Self {
            options,
            registry: Registry::new(limits),
            gauges: Gauges::new(),
            member_hasher: RandomState::default(),
        }
    }
}

/// The line cache and the columns of one receiver.
#[derive(Debug)]
pub struct Shard {
    shared: Arc<SharedState>,
    resolver: Resolver,
    columns: Columns,
    /// The number of the open interval, from [`FIRST_INTERVAL`].
    interval: u32,
}

/// A datagram that a receiver has read.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Its beginning, or all of it.
    pub bytes: &'a [u8],
    /// Its full length in bytes. If it is larger, the datagram was truncated.
    pub length: usize,
}

impl<'a> Datagram<'a> {
    /// Returns a datagram that was not truncated.
    #[must_use]
    pub fn complete(bytes: &'a [u8]) -> Self {
        Self { bytes, length: bytes.len() }
    }
}

/// The longest part of an invalid line that counts as its name, in bytes.
const LONGEST_NAME: usize = 200;

/// The number of lines to look at before recording them.
const AHEAD: usize = 32;

/// Lines with their hashes that are about to be recorded.
struct PendingLines<'a> {
    lines: [(SplitLine<'a>, u32); AHEAD],
    count: usize,
}

impl PendingLines<'_> {
    const NONE: Self = Self { lines: [(SplitLine::NONE, 0); AHEAD], count: 0 };
}

/// The number of patterns, key bytes and slots that a shard holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    patterns: usize,
    key_bytes: usize,
    lengths: Lengths,
}

/// The empty state that a shard gets when it forgets its line patterns.
#[derive(Debug)]
pub(crate) struct ShardReset {
    cache: LineCache,
    columns: Columns,
    /// The new rules, if they change.
    mapping: Option<Arc<Mapping>>,
}

impl ShardReset {
    /// Prepares an empty state with room for `share` times the shard's size.
    pub(crate) fn new(
        options: &AggregationOptions,
        size: Size,
        share: f64,
        mapping: Option<Arc<Mapping>>,
    ) -> Self {
        // The old state is in memory, too, until the rotation.
        let share = if options.memory.is_scarce(MemoryPart::Patterns) { 0.0 } else { share };
        let scaled = |count: usize| (count as f64 * share) as usize;
        let mut columns = Columns::new(options);
        columns.reserve(size.lengths.scaled(share));
        let (patterns, key_bytes) = (scaled(size.patterns), scaled(size.key_bytes));
        let cache = LineCache::with_capacity(patterns, key_bytes, &options.memory);
        Self { cache, columns, mapping }
    }

    /// Returns the columns of the interval that [`Shard::rotate_and_reset`] ended.
    pub(crate) fn into_columns(self) -> Columns {
        self.columns
    }
}

impl Shard {
    /// Creates a shard without series, in the first interval.
    pub(crate) fn new(shared: Arc<SharedState>, mapping: Arc<Mapping>) -> Self {
        Self {
            resolver: Resolver::new(&shared.options.resolve, mapping, &shared.options.memory),
            columns: Columns::new(&shared.options),
            interval: FIRST_INTERVAL,
            shared,
        }
    }

    /// Records all lines of a complete datagram of unknown origin, and counts each of them.
    pub fn record(&mut self, datagram: &[u8]) {
        self.record_all([Datagram::complete(datagram)], &Origin::default());
    }

    /// Records all lines of datagrams and counts each of them.
    ///
    /// If a datagram is truncated, this records its complete lines. It drops the last line, which may be incomplete, and
    /// counts what is lost: the bytes, and a line, because the number of lost lines is unknown.
    pub fn record_all<'a>(
        &mut self,
        datagrams: impl IntoIterator<Item = Datagram<'a>>,
        origins: &dyn Origins,
    ) {
        let mut pending = PendingLines::NONE;
        for datagram in datagrams {
            let lines = self.count_datagram(datagram);
            self.add_lines(lines, &mut pending, origins);
        }
        self.record_pending(&mut pending, origins);
    }

    /// Records all lines of a datagram from a container, and counts each of them.
    pub(crate) fn record_from(
        &mut self,
        container: Option<&Container>,
        datagram: Datagram<'_>,
        origins: &dyn Origins,
    ) {
        let lines = self.count_datagram(datagram);
        self.record_lines_from(container, lines, origins);
    }

    /// Counts a datagram and what it lost. Returns its complete lines.
    #[inline(always)]
    fn count_datagram<'a>(&mut self, Datagram { mut bytes, length }: Datagram<'a>) -> &'a [u8] {
        let counts = &mut self.columns.counts;
        if bytes.len() < length {
            bytes = &bytes[..memchr::memrchr(b'\n', bytes).map_or(0, |line_feed| line_feed + 1)];
            counts.datagrams_truncated += 1;
            counts.datagram_bytes_truncated += (length - bytes.len()) as u64;
            counts.lines_truncated += 1;
        }
        counts.datagrams += 1;
        counts.bytes += bytes.len() as u64;
        bytes
    }

    /// Counts bytes that were read from a stream.
    pub fn count_stream_bytes(&mut self, bytes: usize) {
        self.columns.counts.bytes += bytes as u64;
    }

    /// Counts a line that the receiver rejects before it has read all of it.
    pub fn reject(&mut self, reason: RejectReason, origin: Origin) {
        self.columns.counts.lines += 1;
        self.columns.counts.rejected[reason] += 1;
        self.columns.rejected.add_unread(reason, origin);
    }

    /// Counts a line that lost its end. It does not count in `lines`, because its meaning is unknown.
    pub fn count_truncated_line(&mut self) {
        self.columns.counts.lines_truncated += 1;
    }

    /// Returns the counts of the open interval.
    #[must_use]
    pub fn counts(&self) -> &IngestCounts {
        &self.columns.counts
    }

    /// Records complete lines. The caller counts their bytes.
    pub fn record_lines(&mut self, lines: &[u8], origins: &dyn Origins) {
        let mut pending = PendingLines::NONE;
        self.add_lines(lines, &mut pending, origins);
        self.record_pending(&mut pending, origins);
    }

    /// Records complete lines of a sender in a container. The caller counts their bytes.
    ///
    /// The pattern of a line includes the container, because equal lines of two containers belong to two series.
    pub(crate) fn record_lines_from(
        &mut self,
        container: Option<&Container>,
        lines: &[u8],
        origins: &dyn Origins,
    ) {
        let Some(container) = container else { return self.record_lines(lines, origins) };
        let mut with_container = Vec::new();
        for line in SplitLines::new(lines) {
            with_container.clear();
            // No line has a line feed, so no client can send such a pattern.
            for part in [line.line, b"\n", container.id.as_bytes()] {
                with_container.extend_from_slice(part);
            }
            let pattern = line.within(&with_container);
            let hash = self.resolver.hash(pattern);
            self.columns.counts.lines += 1;
            if self.record_known(pattern, hash).is_none() {
                self.record_unknown(pattern, line.line, Some(container), origins);
            }
            self.sample(&[(line, hash)], origins);
        }
    }

    /// Splits and hashes lines, and records them whenever there are enough.
    #[inline(always)]
    fn add_lines<'a>(&mut self, lines: &'a [u8], pending: &mut PendingLines<'a>, origins: &dyn Origins) {
        for line in SplitLines::new(lines) {
            pending.lines[pending.count] = (line, self.resolver.hash(line));
            pending.count += 1;
            if pending.count == AHEAD {
                self.record_pending(pending, origins);
            }
        }
    }

    /// Records the pending lines.
    fn record_pending(&mut self, pending: &mut PendingLines<'_>, origins: &dyn Origins) {
        let lines = &pending.lines[..pending.count];
        self.read_ahead(lines);
        for &(line, hash) in lines {
            self.record_line(line, hash, origins);
        }
        self.sample(lines, origins);
        pending.count = 0;
    }

    /// Passes lines, which have just been recorded, through the samples of the interval.
    #[inline(always)]
    fn sample(&mut self, lines: &[(SplitLine<'_>, u32)], origins: &dyn Origins) {
        let Self { resolver, columns, .. } = self;
        let Columns { recorded_sample, origin_sample, .. } = columns;
        recorded_sample.pass(lines.len(), |index| {
            let (line, hash) = lines[index];
            let destination = find_recorded(resolver, line, hash);
            let place = destination
                .and_then(|Destination { target, slot, .. }| Some((AggregateKind::of(target.kind()?), slot)));
            // A member of a set may contain colons.
            let is_packed = place.is_some_and(|(kind, _)| kind != AggregateKind::Set);
            let more = if is_packed { memchr::memchr_iter(b':', line.value()).count() } else { 0 };
            Recorded { place, values: more as u32 + 1 }
        });
        if origins.are_known() {
            origin_sample.pass(lines.len(), |index| origins.of(lines[index].0.line));
        }
    }

    /// Reads the memory that recording these lines needs, to bring it into the CPU cache.
    ///
    /// After a rest or among many patterns, each line would wait for its entry, and then for its key and its slot. So this
    /// function reads all entries first, and then all keys and slots. Its loops are so short that the processor overlaps
    /// their cache misses. If everything is in the cache, this costs a few percent.
    #[inline(never)]
    fn read_ahead(&self, batch: &[(SplitLine<'_>, u32)]) {
        let cache = self.resolver.cache();
        let mut entries = [Entry::FREE; AHEAD];
        let entries = &mut entries[..batch.len()];
        for (entry, &(_, hash)) in entries.iter_mut().zip(batch) {
            *entry = cache.first_entry(hash);
        }
        let Columns { counters, timings, values, members, .. } = &self.columns;
        let read = entries.iter().fold(0, |read, &entry| {
            let Destination { target, slot, .. } = entry.destination();
            let of_slot = match target {
                Target::Counter => counters.touch(slot),
                Target::Timing => timings.touch(slot),
                Target::Histogram | Target::Distribution => values.touch(slot),
                Target::Set => members.touch(slot),
                // Gauges are behind locks, and patterns with a rule's effect are few.
                Target::Gauge | Target::AbsoluteGauge | Target::Ruled => 0,
            };
            read ^ of_slot ^ cache.touch(entry)
        });
        // The result is unused. Passing it on keeps the compiler from removing the reads.
        std::hint::black_box(read);
    }

    #[inline(always)]
    fn record_line(&mut self, line: SplitLine<'_>, hash: u32, origins: &dyn Origins) {
        self.columns.counts.lines += 1;
        if self.record_known(line, hash).is_none() {
            self.record_unknown(line, line.line, None, origins);
        }
    }

    /// Records a line of a known pattern with one plain value. This is the fast path. For any other line, it returns
    /// `None` and changes nothing.
    #[inline(always)]
    fn record_known(&mut self, line: SplitLine<'_>, hash: u32) -> Option<()> {
        if !line.has_value() {
            return None;
        }
        let destination = self.resolver.find(line, hash)?;
        let value = match destination.target {
            Target::Set if line.value().is_empty() => return None,
            Target::Set => SampleValue::Member(line.value()),
            Target::Gauge if matches!(line.value().first(), Some(b'+' | b'-')) => {
                SampleValue::Signed(number(line.value())?)
            }
            Target::Ruled => return self.record_ruled(destination, line.value()),
            _ => SampleValue::Number(number(line.value())?),
        };
        self.record_value(destination, value, None);
        Some(())
    }

    /// Records one plain value of a known pattern on which a rule has an effect. Returns `None` for changes of gauges
    /// and for values that are not numbers, which the caller parses each time.
    #[inline(never)]
    fn record_ruled(&mut self, destination: Destination, value: &[u8]) -> Option<()> {
        let number = number(value)?;
        match self.resolver.cache().effect(destination) {
            RuleEffect::Dropped => self.columns.counts.refused[RefuseReason::MappingDrop] += 1,
            RuleEffect::Scaled { destination: Destination { target: Target::Gauge, .. }, .. }
                if matches!(value[0], b'+' | b'-') =>
            {
                return None;
            }
            RuleEffect::Scaled { destination, scale } => {
                self.record_value(destination, scaled(SampleValue::Number(number), scale), None);
            }
        }
        Some(())
    }

    /// Records a value at its destination. Without `weight`, the weight of the destination applies. Returns false if there
    /// is no memory for the value, which is then counted as refused.
    #[inline(always)]
    fn record_value(
        &mut self,
        destination: Destination,
        value: SampleValue<'_>,
        weight: Option<f64>,
    ) -> bool {
        let word = match value {
            SampleValue::Number(number) | SampleValue::Signed(number) => number.to_bits(),
            SampleValue::Member(member) => self.shared.member_hasher.hash_one(member),
        };
        let Columns { counters, timings, values, members, counts, absorbed, .. } = &mut self.columns;
        let Destination { target, slot, .. } = destination;
        let gauge = || (&self.shared.gauges, SeriesId(slot), self.interval);
        let mut is_recorded = true;
        match target {
            Target::Counter => {
                let weight = weight.unwrap_or_else(|| self.resolver.cache().weight(destination));
                if let Some(id) = counters.add(slot, f64::from_bits(word) * weight) {
                    absorbed.note(Kind::Counter, id, 1);
                }
            }
            // A single push serves both columns. With one push for each, a timing takes a nanosecond more.
            Target::Timing | Target::Histogram | Target::Distribution => {
                let column = if target == Target::Timing { timings } else { values };
                is_recorded = column.push_as(slot, word, weight);
            }
            Target::Set => is_recorded = members.push(slot, word),
            Target::Gauge if matches!(value, SampleValue::Signed(_)) => {
                let (gauges, id, interval) = gauge();
                if gauges.add(id, interval, f64::from_bits(word)) {
                    absorbed.note(Kind::Gauge, id, 1);
                }
            }
            Target::Gauge | Target::AbsoluteGauge => {
                let (gauges, id, interval) = gauge();
                gauges.set(id, interval, f64::from_bits(word));
            }
            // The caller has applied the rule's effect already.
            Target::Ruled => {}
        }
        if !is_recorded {
            counts.refused[RefuseReason::Memory] += 1;
        } else if let Some(kind) = target.kind() {
            counts.samples[kind] += 1;
        }
        is_recorded
    }

    /// Parses the bytes of a line and records its content. This is the general path. `pattern` is the line, with the
    /// container of its sender if that is known.
    #[cold]
    fn record_unknown(
        &mut self,
        pattern: SplitLine<'_>,
        line: &[u8],
        container: Option<&Container>,
        origins: &dyn Origins,
    ) {
        match protocol::parse(line, self.shared.options.dialects) {
            Ok(Line::Metric(mut metric)) => {
                metric.detect(container);
                self.record_metric(pattern, line, &metric, origins);
            }
            Ok(Line::Event(mut event)) => {
                event.origin.detect(container);
                self.record_event(line, &event);
            }
            Ok(Line::ServiceCheck(mut check)) => {
                check.origin.detect(container);
                self.record_check(line, &check, origins);
            }
            Err(error) => {
                let Columns { counts, rejected, rejected_names, .. } = &mut self.columns;
                counts.rejected[error.reason()] += 1;
                rejected_names.add((&*probable_name(line)).into(), 1);
                rejected.add_rejected(error.reason(), line, error.offset(), origins.of(line));
            }
        }
    }

    fn record_metric(
        &mut self,
        pattern: SplitLine<'_>,
        line: &[u8],
        metric: &Metric<'_>,
        origins: &dyn Origins,
    ) {
        self.count_notes(metric.notes());
        // A line may hold thousands of samples, so it is resolved once per kind, not once per sample.
        let mut resolved: EnumMap<Kind, Option<_>> = EnumMap::default();
        let mut excess = EnumMap::default();
        let mut refused = None;
        for sample in metric.samples() {
            let resolved =
                resolved[sample.kind].get_or_insert_with(|| self.resolve(pattern, metric, &sample));
            match *resolved {
                Ok(Resolved { destination, scale, overflow }) => {
                    let value = scaled(sample.value, scale);
                    if self.record_value(destination, value, Some(sample.rate.weight())) {
                        excess[Excess::Overflowed] += u64::from(self.count_overflowed(overflow));
                    }
                }
                Err(RefuseReason::ReservedName) if metric.name() == RELAY_PROBE => {
                    self.columns.counts.relay_probes += 1;
                }
                Err(reason) => {
                    self.columns.counts.refused[reason] += 1;
                    refused = Some(reason);
                    if let Some(refused) = reason.excess() {
                        excess[refused] += 1;
                    }
                }
            }
        }
        self.keep_refused(refused, line, origins);
        for (excess, samples) in excess.into_iter().filter(|&(_, samples)| samples > 0) {
            let name = match excess {
                // A rule with a limit can give each line another name, but has one overflow series.
                Excess::Overflowed => self.resolver.overflow_name().into(),
                Excess::Refused | Excess::NameTooLong => metric.name(),
            };
            self.columns.excess[excess].add(name, samples);
        }
    }

    /// Counts a sample that was recorded, if its destination is an overflow series. Returns true if it is one.
    fn count_overflowed(&mut self, overflow: Option<OverflowLimit>) -> bool {
        if let Some(limit) = overflow {
            self.columns.counts.overflowed[limit] += 1;
        }
        overflow.is_some()
    }

    /// Finds the destination of a line's samples. Opens its slot if it is new.
    fn resolve(
        &mut self,
        line: SplitLine<'_>,
        metric: &Metric<'_>,
        sample: &Sample<'_>,
    ) -> Result<Resolved, RefuseReason> {
        let (resolved, new_slot) = self.resolver.resolve(&self.shared.registry, line, metric, sample)?;
        if let Some(slot) = new_slot {
            self.columns.open(slot);
        }
        Ok(resolved)
    }

    fn record_event(&mut self, line: &[u8], event: &Event<'_>) {
        self.count_notes(event.notes);
        let Columns { events, counts, .. } = &mut self.columns;
        counts.events[event.priority][event.alert_type] += 1;
        let is_kept = events.push(line.len(), || self.resolver.event(event));
        counts.events_dropped += u64::from(!is_kept);
    }

    fn record_check(&mut self, line: &[u8], check: &ServiceCheck<'_>, origins: &dyn Origins) {
        self.count_notes(check.notes);
        match self.resolver.resolve_check(&self.shared.registry, check) {
            Ok((gauge, overflow)) => {
                self.shared.gauges.set(gauge, self.interval, f64::from(check.status as u8));
                self.columns.counts.service_checks[check.status] += 1;
                if self.count_overflowed(overflow) {
                    self.columns.excess[Excess::Overflowed].add(SERVICE_CHECK.into(), 1);
                }
            }
            Err(reason) => {
                self.columns.counts.refused[reason] += 1;
                self.keep_refused(Some(reason), line, origins);
                if let Some(excess) = reason.excess() {
                    self.columns.excess[excess].add(SERVICE_CHECK.into(), 1);
                }
            }
        }
    }

    /// Keeps a line if one of its samples was refused, unless the operator wants a rule to drop it.
    fn keep_refused(&mut self, reason: Option<RefuseReason>, line: &[u8], origins: &dyn Origins) {
        if let Some(reason) = reason.filter(|reason| *reason != RefuseReason::MappingDrop) {
            self.columns.rejected.add_refused(reason, line, origins.of(line));
        }
    }

    fn count_notes(&mut self, notes: Notes) {
        for note in notes.iter() {
            self.columns.counts.noted[note] += 1;
        }
    }

    /// Opens slots in `next` that the open columns have and `next` lacks, at most `limit` per column. Returns true if
    /// no slot is missing afterwards. A few calls before [`rotate`](Self::rotate) keep the rotation itself short.
    pub(crate) fn prepare(&self, next: &mut Columns, limit: usize) -> bool {
        next.catch_up(&self.columns, limit)
    }

    /// Ends the interval and returns its columns. `next` replaces them and must be empty.
    pub(crate) fn rotate(&mut self, mut next: Columns) -> Columns {
        while !next.catch_up(&self.columns, usize::MAX) {}
        next.take_reserve(&mut self.columns);
        self.interval += 1;
        std::mem::replace(&mut self.columns, next)
    }

    /// Ends the interval and forgets all line patterns, which the shard learns again from later lines. Swaps the state
    /// of the shard with `reset`.
    pub(crate) fn rotate_and_reset(&mut self, reset: &mut ShardReset) {
        reset.columns.take_reserve(&mut self.columns);
        self.interval += 1;
        std::mem::swap(&mut self.columns, &mut reset.columns);
        self.resolver.reset(&mut reset.cache, reset.mapping.as_ref());
    }

    pub(crate) fn size(&self) -> Size {
        let (patterns, key_bytes) = self.resolver.size();
        Size { patterns, key_bytes, lengths: self.columns.lengths() }
    }

    /// Reserves memory in `next` for as many slots as the shard has.
    pub(crate) fn reserve_in(&self, next: &mut Columns) {
        next.reserve(self.columns.lengths());
    }

    /// Returns true if the shard should forget its line patterns at the next rotation.
    pub(crate) fn is_full(&self) -> bool {
        self.resolver.is_full(self.shared.registry.limits())
    }

    /// Takes memory back from the flush. Returns the surplus memory, which the caller should free.
    pub(crate) fn resupply(&mut self, recycled: Recycled) -> Recycled {
        self.columns.resupply(recycled)
    }
}

/// Returns the place of the samples of a line that was recorded.
#[cold]
fn find_recorded(resolver: &Resolver, line: SplitLine<'_>, hash: u32) -> Option<Destination> {
    let found = if line.has_value() { resolver.find(line, hash)? } else { return None };
    match found.target {
        Target::Ruled => resolver.cache().effect(found).destination(),
        _ => Some(found),
    }
}

/// Returns the text before the first colon of an invalid line, or a part of it.
fn probable_name(line: &[u8]) -> Cow<'_, str> {
    let end = memchr::memchr(b':', line).unwrap_or(line.len());
    let name = &line[..end.min(LONGEST_NAME)];
    // This check takes half the time of the function that replaces invalid bytes.
    str::from_utf8(name).map_or_else(|_| String::from_utf8_lossy(name), Cow::Borrowed)
}

/// Returns a value multiplied by the factor of a rule.
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
    use crate::resolve::ResolveOptions;

    fn shard(max_series: usize) -> Shard {
        let limits = Limits { series: max_series, ..Limits::default() };
        let shared = Arc::new(SharedState::new(AggregationOptions::default(), limits));
        Shard::new(shared, Arc::default())
    }

    /// The test hangs if one of the lines takes a lock that shards share.
    #[test]
    fn known_counters_timings_and_sets_take_no_shared_lock() {
        let lines = b"a:1|c\na:1|ms|@0.1|#b\na:1|h\na:1|d\na:1|s";
        let mut shard = shard(10);
        shard.record(lines);
        let shared = Arc::clone(&shard.shared);
        shared.registry.locked(|| shared.gauges.locked(|| shard.record(lines)));
        assert_eq!(shard.counts().samples.values().sum::<u64>(), 10);
    }

    #[test]
    fn equal_lines_of_two_containers_are_two_series() {
        let resolve = ResolveOptions { container_id_tag: true, ..ResolveOptions::default() };
        let options = AggregationOptions { resolve, ..AggregationOptions::default() };
        let shared = Arc::new(SharedState::new(options, Limits { series: 10, ..Limits::default() }));
        let mut shard = Shard::new(Arc::clone(&shared), Arc::default());
        let [one, two] = ["one", "two"].map(|id| Container { id: id.to_owned(), pod_uid: "pod".to_owned() });
        for _ in 0..2 {
            for (container, lines) in [
                (Some(&one), "a:1|c\nbad\na:1|c|c:own\na:1:2|c"),
                (Some(&two), "a:1|c|#k:v\na:1|c|card:none"),
                (None, "a:1|c"),
            ] {
                shard.record_lines_from(container, lines.as_bytes(), &Origin::default());
            }
        }
        assert_eq!((shard.counts().lines, shard.counts().samples[Kind::Counter]), (14, 14));
        assert_eq!(shard.counts().rejected[RejectReason::MissingType], 2);
        let added = shared.registry.take_added(AggregateKind::Counter);
        let mut series: Vec<_> = added.iter().map(|(_, series, _)| format!("{series:?}")).collect();
        series.sort();
        assert_eq!(
            series,
            [
                "a|c",
                "a|c|#container_id:one,pod_uid:pod",
                "a|c|#container_id:own",
                "a|c|#container_id:two,k:v,pod_uid:pod",
            ]
        );
    }

    #[test]
    fn a_reset_returns_the_columns_of_the_interval() {
        let mut shard = shard(10);
        for container in 0..1000 {
            shard.record(format!("a:1|c|c:{container}").as_bytes());
        }
        let mut reset = ShardReset::new(&shard.shared.options, shard.size(), 1.0, None);
        shard.rotate_and_reset(&mut reset);
        shard.record(b"a:1|c");
        let mut sum = 0.0;
        reset.into_columns().counters.drain(|_, value| sum += value);
        assert_eq!((sum, shard.columns.counters.len()), (1000.0, 1));
    }

    #[test]
    fn a_series_too_long_for_a_pattern_is_still_recorded() {
        let mut shard = shard(10);
        let line = [b"a:1|c|#".to_vec(), vec![0xff; 30_000]].concat();
        shard.record(&line);
        shard.record(&line);
        assert_eq!(shard.counts().samples[Kind::Counter], 2);
        assert!(shard.is_full());
    }
}
