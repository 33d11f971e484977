//! Finds the slot that records the samples of a line.

use std::mem;
use std::sync::Arc;

use enum_map::EnumMap;

use super::aggregate_kind::AggregateKind;
use super::limits::Limits;
use super::line_cache::{Destination, LineCache, RuleEffect, Target};
use super::registry::{Registry, SeriesId};
use super::{IdentityBuilder, OverflowLimit, RefuseReason, SplitLine};
use crate::mapping::Mapping;
use crate::model::{Event, Kind, Memory, PolicyId, RESERVED_PREFIX, split_name};
use crate::protocol::{self, Metric, Name, Sample, ServiceCheck};

/// The settings that determine the series of a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolveOptions {
    /// Whether a signed value of a gauge is absolute instead of a change.
    pub absolute_gauges: bool,
    /// The prefixes of gauge names whose signed values are absolute.
    pub absolute_gauge_prefixes: Vec<String>,
    /// Whether the container's id becomes a tag of the series if a client sends it.
    pub container_id_tag: bool,
}

impl ResolveOptions {
    /// Returns true if a signed value of the gauge `name` is absolute instead of a change.
    #[must_use]
    pub fn is_absolute(&self, name: Name<'_>) -> bool {
        self.absolute_gauges || self.absolute_gauge_prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// Resolves the lines that one shard receives.
///
/// It numbers the slots of the shard's columns: each new line pattern gets the next slot of its column.
#[derive(Debug)]
pub(crate) struct Resolver {
    options: ResolveOptions,
    cache: LineCache,
    /// The rules for patterns that the cache does not know.
    mapping: Arc<Mapping>,
    /// The number of slots that each column has.
    slots: EnumMap<AggregateKind, u32>,
    /// Builds the identities of series with rules applied.
    identities: IdentityBuilder,
    /// Builds the identities that lines would have without rules.
    unmapped: IdentityBuilder,
}

/// The destination of a sample, and the factor for its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolved {
    pub(crate) destination: Destination,
    /// The factor by which a rule multiplies the value.
    pub(crate) scale: f64,
    /// The limit because of which the destination is an overflow series, if it is one.
    pub(crate) overflow: Option<OverflowLimit>,
}

/// The outcome of resolving a sample. The shard must open a new slot before it records the sample.
pub(crate) type Resolution = Result<(Resolved, Option<NewSlot>), RefuseReason>;

/// The next slot of a column, which the column has not opened yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewSlot {
    pub(crate) kind: AggregateKind,
    /// The series that the slot belongs to.
    pub(crate) owner: SeriesId,
    /// The weight of most samples of the slot.
    pub(crate) weight: f64,
}

/// The destination of a series, or of the overflow series that replaces it.
#[derive(Debug, Clone, Copy)]
struct Found {
    destination: Destination,
    new_slot: Option<NewSlot>,
    overflow: Option<OverflowLimit>,
}

impl Found {
    fn scaled_by(self, scale: f64) -> (Resolved, Option<NewSlot>) {
        let Self { destination, new_slot, overflow } = self;
        (Resolved { destination, scale, overflow }, new_slot)
    }
}

/// Marks keys that are identities before mapping. Split lines contain no line feed, so no other key ends in one.
const UNMAPPED: &[u8] = b"\n";

/// Returns the largest number of patterns that a shard remembers.
///
/// Without a limit, clients that vary the order of their tags or their sample rate could fill the memory. Beyond the
/// limit, the shard parses each line. Finding the series of such lines takes at most one more pattern per series.
fn max_patterns(limits: Limits) -> usize {
    2 * limits.series + 65_536
}

/// Returns the largest number of bytes that the keys of remembered patterns take. The identities that serve as keys are
/// not included.
fn max_key_bytes(limits: Limits) -> usize {
    128 * max_patterns(limits)
}

impl Resolver {
    pub(crate) fn new(options: &ResolveOptions, mapping: Arc<Mapping>, memory: &Memory) -> Self {
        Self {
            cache: LineCache::with_capacity(0, 0, memory),
            mapping,
            slots: EnumMap::default(),
            identities: IdentityBuilder::new(options.container_id_tag),
            unmapped: IdentityBuilder::new(options.container_id_tag),
            options: options.clone(),
        }
    }

    /// Returns the hash that [`find`](Self::find) needs for a line.
    #[inline(always)]
    pub(crate) fn hash(&self, line: SplitLine<'_>) -> u32 {
        self.cache.hash(line.before(), line.after())
    }

    /// Returns the destination of a line's samples if the line's pattern is known. The line must have a value.
    #[inline(always)]
    pub(crate) fn find(&self, line: SplitLine<'_>, hash: u32) -> Option<Destination> {
        self.cache.find(hash, line.before(), line.after())
    }

    /// Returns the patterns that are known.
    #[inline(always)]
    pub(crate) fn cache(&self) -> &LineCache {
        &self.cache
    }

    /// Finds or creates the destination for a sample of a parsed line, and remembers the line's pattern.
    ///
    /// All samples of a line that have the same kind share one destination.
    pub(crate) fn resolve(
        &mut self,
        registry: &Registry,
        line: SplitLine<'_>,
        metric: &Metric<'_>,
        sample: &Sample<'_>,
    ) -> Resolution {
        if metric.name().starts_with(RESERVED_PREFIX) {
            return Err(RefuseReason::ReservedName);
        }
        // A line has a pattern only if its bytes other than the value always mean the same.
        let has_pattern = line.has_value() && metric.is_cacheable();
        let pattern = (line.before(), line.after());
        if has_pattern && let Some(known) = self.find_key(pattern.0, pattern.1) {
            return self.apply_effect(known);
        }
        if !self.can_learn(registry.limits()) {
            self.resolve_series(registry, metric, sample)
        } else if has_pattern {
            self.learn_pattern(registry, pattern, metric, sample)
        } else if self.mapping.is_empty() {
            self.resolve_series(registry, metric, sample)
        } else {
            self.resolve_unmapped(registry, metric, sample)
        }
    }

    /// Opens a slot for the samples of a new pattern, and remembers the pattern.
    fn learn_pattern(
        &mut self,
        registry: &Registry,
        (before, after): (&[u8], &[u8]),
        metric: &Metric<'_>,
        sample: &Sample<'_>,
    ) -> Resolution {
        let weight = sample.rate.weight();
        let Some(weight_index) = self.cache.index_of_weight(weight) else {
            return self.resolve_series(registry, metric, sample);
        };
        let resolved = self.identify(metric, sample).and_then(|(scale, policy)| {
            let target = match self.target(sample.kind, metric.name()) {
                Target::Gauge if !metric.has_deltas() => Target::AbsoluteGauge,
                target => target,
            };
            let found = self.open_series(registry, target, sample.kind, (weight, weight_index), policy)?;
            Ok(found.scaled_by(scale))
        });
        remember(&mut self.cache, before, after, resolved);
        resolved
    }

    /// Finds a line without a pattern by the identity that it would have without rules, so that the rules are not
    /// applied again.
    fn resolve_unmapped(
        &mut self,
        registry: &Registry,
        metric: &Metric<'_>,
        sample: &Sample<'_>,
    ) -> Resolution {
        self.unmapped.build(sample.kind, metric);
        if let Some(known) = self.find_key(self.unmapped.identity().as_bytes(), UNMAPPED) {
            return self.apply_effect(known);
        }
        let resolved = self.resolve_series(registry, metric, sample);
        remember(&mut self.cache, self.unmapped.identity().as_bytes(), UNMAPPED, resolved);
        resolved
    }

    /// Finds or creates the destination of a sample by the identity of its series.
    fn resolve_series(
        &mut self,
        registry: &Registry,
        metric: &Metric<'_>,
        sample: &Sample<'_>,
    ) -> Resolution {
        let (scale, policy) = self.identify(metric, sample)?;
        let target = self.target(sample.kind, metric.name());
        Ok(self.find_series(registry, target, sample.kind, policy)?.scaled_by(scale))
    }

    /// Builds the identity of a sample's series with the rules applied. Returns the factor for the sample's value and
    /// the policy of the series.
    fn identify(
        &mut self,
        metric: &Metric<'_>,
        sample: &Sample<'_>,
    ) -> Result<(f64, PolicyId), RefuseReason> {
        let shaped = self.identities.identify(&self.mapping, sample.kind, metric, |_, _| ())?;
        Ok((shaped.scale, self.mapping.policy_of(shaped.rule)))
    }

    /// Finds or creates the gauge that represents a service check. Also returns the limit because of which it is an
    /// overflow series, if it is one.
    pub(crate) fn resolve_check(
        &mut self,
        registry: &Registry,
        check: &ServiceCheck<'_>,
    ) -> Result<(SeriesId, Option<OverflowLimit>), RefuseReason> {
        self.identities.build_check(&self.mapping, check);
        let policy = self.mapping.policy_of(None);
        let found = self.find_series(registry, Target::Gauge, Kind::Gauge, policy)?;
        Ok((SeriesId(found.destination.slot), found.overflow))
    }

    /// Returns the name of the overflow series that was found last.
    pub(crate) fn overflow_name(&self) -> &str {
        split_name(self.identities.overflow()).0
    }

    /// Returns the event of a line, with its tags shaped.
    pub(crate) fn event(&self, event: &protocol::Event<'_>) -> Event {
        super::event(event, self.options.container_id_tag, &self.mapping)
    }

    fn target(&self, kind: Kind, name: Name<'_>) -> Target {
        match kind {
            Kind::Counter => Target::Counter,
            Kind::Gauge if self.options.is_absolute(name) => Target::AbsoluteGauge,
            Kind::Gauge => Target::Gauge,
            Kind::Timing => Target::Timing,
            Kind::Histogram => Target::Histogram,
            Kind::Distribution => Target::Distribution,
            Kind::Set => Target::Set,
        }
    }

    /// Applies the effect of a rule to a known destination, if it has one.
    fn apply_effect(&self, known: Destination) -> Resolution {
        let (destination, scale) = match known.target {
            Target::Ruled => match self.cache.effect(known) {
                RuleEffect::Dropped => return Err(RefuseReason::MappingDrop),
                RuleEffect::Scaled { destination, scale } => (destination, scale),
            },
            _ => (known, 1.0),
        };
        Ok((Resolved { destination, scale, overflow: None }, None))
    }

    fn find_key(&self, before: &[u8], after: &[u8]) -> Option<Destination> {
        self.cache.find(self.cache.hash(before, after), before, after)
    }

    /// Finds or opens the slot of the series whose identity was built last. It serves lines that have no pattern.
    fn find_series(
        &mut self,
        registry: &Registry,
        target: Target,
        kind: Kind,
        policy: PolicyId,
    ) -> Result<Found, RefuseReason> {
        // Identities contain a line feed and split lines do not, so both can be keys of one table.
        if let Some(known) = self.find_key(self.identities.identity().as_bytes(), b"") {
            // A service check may have opened the gauge without knowing the meaning of a sign, so this line's target
            // applies.
            let destination = Destination { target, ..known };
            return Ok(Found { destination, new_slot: None, overflow: None });
        }
        // Without a pattern, each line of the series would take a new slot.
        if !self.cache.has_room() {
            return Err(RefuseReason::Memory);
        }
        let found = self.open_series(registry, target, kind, (1.0, 0), policy)?;
        if found.overflow.is_none() {
            self.cache.insert(self.identities.identity().as_bytes(), b"", found.destination);
        }
        Ok(found)
    }

    /// Allocates a slot for the series whose identity was built last, and registers the series if it is new. Beyond a
    /// limit, the overflow series takes its place. `weight` comes with the index by which patterns refer to it.
    fn open_series(
        &mut self,
        registry: &Registry,
        target: Target,
        kind: Kind,
        (weight, weight_index): (f64, u8),
        policy: PolicyId,
    ) -> Result<Found, RefuseReason> {
        match registry.resolve(AggregateKind::of(kind), self.identities.identity(), policy) {
            Ok(owner) => {
                let (slot, new_slot) = self.open_slot(kind, owner, weight);
                let destination = Destination { target, slot, weight_index };
                Ok(Found { destination, new_slot, overflow: None })
            }
            Err(exceeded) => {
                let overflow = Some(OverflowLimit::try_from(exceeded)?);
                let (destination, new_slot) = self.find_overflow(registry, target, kind, policy)?;
                Ok(Found { destination, new_slot, overflow })
            }
        }
    }

    /// Finds or opens the slot of the overflow series for the identity that was built last. A client beyond a limit can
    /// send a new pattern with every line, so only the overflow series itself is remembered.
    fn find_overflow(
        &mut self,
        registry: &Registry,
        target: Target,
        kind: Kind,
        policy: PolicyId,
    ) -> Result<(Destination, Option<NewSlot>), RefuseReason> {
        let constant = &self.mapping.shaping().tags;
        self.identities.build_overflow(self.mapping.overflow_name(policy), constant);
        let identity = self.identities.overflow();
        if let Some(known) = self.find_key(identity.as_bytes(), b"") {
            return Ok((Destination { target, ..known }, None));
        }
        let owner = registry.resolve_overflow(AggregateKind::of(kind), identity, policy)?;
        let (slot, new_slot) = self.open_slot(kind, owner, 1.0);
        let destination = Destination { target, slot, weight_index: 0 };
        self.cache.insert(self.identities.overflow().as_bytes(), b"", destination);
        Ok((destination, new_slot))
    }

    /// Allocates a slot for a series.
    fn open_slot(&mut self, kind: Kind, owner: SeriesId, weight: f64) -> (u32, Option<NewSlot>) {
        let kind = AggregateKind::of(kind);
        if kind == AggregateKind::Gauge {
            return (owner.0, None);
        }
        let next = &mut self.slots[kind];
        let slot = mem::replace(next, *next + 1);
        // The weights of sets have no meaning.
        let weight = if kind == AggregateKind::Set { 1.0 } else { weight };
        (slot, Some(NewSlot { kind, owner, weight }))
    }

    /// Returns true if the cache has room for new patterns.
    fn can_learn(&self, limits: Limits) -> bool {
        self.cache.len() < max_patterns(limits)
            && self.cache.key_bytes() < max_key_bytes(limits)
            && self.cache.has_ample_room()
    }

    /// Returns true if the shard should forget its patterns. Either the cache has no room, or a pattern was too long to
    /// remember, so each line of it takes a new slot.
    pub(crate) fn is_full(&self, limits: Limits) -> bool {
        !self.can_learn(limits) || self.cache.has_overflowed()
    }

    /// Returns the number of patterns and the number of bytes of their keys.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.cache.len(), self.cache.key_bytes())
    }

    /// Forgets all patterns and slots. Swaps the cache with `cache`, which must be empty. `mapping` replaces the rules,
    /// if given.
    pub(crate) fn reset(&mut self, cache: &mut LineCache, mapping: Option<&Arc<Mapping>>) {
        mem::swap(&mut self.cache, cache);
        self.slots = EnumMap::default();
        if let Some(mapping) = mapping {
            self.mapping = Arc::clone(mapping);
        }
    }
}

/// Remembers the outcome of resolving a line, if every such line has the same outcome.
fn remember(cache: &mut LineCache, before: &[u8], after: &[u8], resolved: Resolution) {
    match resolved {
        // The series gets samples of its own as soon as there is room for it.
        Ok((Resolved { overflow: Some(_), .. }, _)) => {}
        Ok((Resolved { destination, scale: 1.0, .. }, _)) => cache.insert(before, after, destination),
        Ok((Resolved { destination, scale, .. }, _)) => {
            cache.insert_effect(before, after, RuleEffect::Scaled { destination, scale });
        }
        Err(RefuseReason::MappingDrop) => cache.insert_effect(before, after, RuleEffect::Dropped),
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MemoryPart;
    use crate::protocol::{self, Dialects, Line};
    use crate::resolve::SplitLines;

    struct Lines {
        registry: Registry,
        resolver: Resolver,
    }

    impl Lines {
        fn new(max_series: usize) -> Self {
            let limits = Limits { series: max_series, bytes: 1 << 20, ..Limits::default() };
            let resolver = Resolver::new(&ResolveOptions::default(), Arc::default(), &Memory::default());
            Self { registry: Registry::new(limits), resolver }
        }

        fn resolve(&mut self, line: &[u8]) -> (Resolved, Option<NewSlot>) {
            let split = SplitLines::new(line).next().unwrap();
            let Ok(Line::Metric(metric)) = protocol::parse(line, Dialects::ALL) else { panic!("{line:?}") };
            let sample = metric.samples().next().unwrap();
            self.resolver.resolve(&self.registry, split, &metric, &sample).unwrap()
        }

        fn is_full(&self) -> bool {
            self.resolver.is_full(self.registry.limits())
        }

        fn reset(&mut self) {
            self.resolver.reset(&mut LineCache::with_capacity(0, 0, &Memory::default()), None);
        }
    }

    #[test]
    fn the_bytes_of_patterns_are_limited_and_series_are_still_found() {
        let mut lines = Lines::new(10);
        let (limit, longest) = (max_key_bytes(lines.registry.limits()), 60_000);
        let count = limit / longest + 100;
        for container in 0..count {
            lines.resolve(format!("a:1|c|c:{container:0longest$}").as_bytes());
        }
        assert!(lines.is_full());
        let (_, key_bytes) = lines.resolver.size();
        assert!(key_bytes < limit + 2 * longest, "{key_bytes}");
        let slots = lines.resolver.slots;
        assert!(lines.resolve(format!("a:1|c|c:{count:0longest$}").as_bytes()).1.is_none());
        assert_eq!(lines.resolver.slots, slots);
    }

    /// In the identity, each byte that is not UTF-8 becomes three bytes. The identity then exceeds the length of a key.
    #[test]
    fn an_identity_too_long_for_the_cache_fills_it_until_a_reset() {
        let mut lines = Lines::new(10);
        let line = [b"a:1|c|#".to_vec(), vec![0xff; 30_000]].concat();
        assert!(!lines.is_full());
        lines.resolve(&line);
        lines.resolve(&line);
        assert!(lines.is_full());
        lines.reset();
        assert!(!lines.is_full());
    }

    #[test]
    fn lines_beyond_the_limit_of_their_metric_leave_no_patterns() {
        let mut lines = Lines::new(10_000);
        lines.registry.set_limits(Limits { series_per_metric: 1, ..lines.registry.limits() });
        assert_eq!(lines.resolve(b"a:1|c|#t:0").0.overflow, None);
        let (overflow, new_slot) = lines.resolve(b"a:1|c|#t:1");
        assert!(new_slot.is_some());
        let size = lines.resolver.size();
        for tag in 2..1000 {
            for line in [format!("a:1|c|#t:{tag}"), format!("a:1|c|@0.5|#t:{tag}|T1656581400")] {
                let (resolved, new_slot) = lines.resolve(line.as_bytes());
                assert!(new_slot.is_none());
                assert_eq!(resolved.destination.slot, overflow.destination.slot);
                assert_eq!(resolved.overflow, Some(OverflowLimit::MaxSeriesPerMetric));
            }
        }
        assert_eq!(lines.resolver.size(), size);
        assert_eq!(lines.resolver.overflow_name(), "a");
        lines.registry.set_limits(Limits { series_per_metric: 10, ..lines.registry.limits() });
        assert_eq!(lines.resolve(b"a:1|c|#t:2").0.overflow, None, "there is room again");
    }

    #[test]
    fn without_memory_for_patterns_known_series_are_found_and_new_ones_refused() {
        let mut lines = Lines::new(100_000);
        // A tenth of a MiB is for patterns.
        let memory = Memory::limited(17 << 20);
        lines.resolver = Resolver::new(&ResolveOptions::default(), Arc::default(), &memory);
        let resolve = |lines: &mut Lines, name: usize, container: usize| {
            let line = format!("name{name}:1|c|c:{container}");
            let split = SplitLines::new(line.as_bytes()).next().unwrap();
            let Ok(Line::Metric(metric)) = protocol::parse(line.as_bytes(), Dialects::ALL) else { panic!() };
            let sample = metric.samples().next().unwrap();
            lines.resolver.resolve(&lines.registry, split, &metric, &sample).map(|(resolved, _)| resolved)
        };
        let container = (0..100_000).find(|&n| {
            resolve(&mut lines, 0, n).unwrap();
            lines.is_full()
        });
        assert!(memory.is_scarce(MemoryPart::Patterns) || memory.room(MemoryPart::Patterns) < 100 << 10);
        let slots = lines.resolver.slots;
        resolve(&mut lines, 0, container.unwrap() + 1).unwrap();
        assert!(lines.resolver.slots[AggregateKind::Counter] <= slots[AggregateKind::Counter] + 1);
        let first_refused = (1..100_000).find(|&name| resolve(&mut lines, name, 0).is_err()).unwrap();
        assert_eq!(resolve(&mut lines, first_refused, 0).unwrap_err(), RefuseReason::Memory);
        resolve(&mut lines, 1, 0).unwrap();
        assert!(memory.used(MemoryPart::Patterns) <= memory.max(MemoryPart::Patterns));
    }

    #[test]
    fn the_number_of_patterns_is_limited_and_a_reset_forgets_them() {
        let mut lines = Lines::new(10);
        let limit = max_patterns(lines.registry.limits());
        for container in 0..limit + 1000 {
            assert_eq!(lines.is_full(), container >= limit);
            lines.resolve(format!("a:1|c|c:{container}").as_bytes());
        }
        // One more pattern finds the series itself.
        assert_eq!(lines.resolver.size().0, limit + 1);
        lines.reset();
        assert_eq!(lines.resolver.size().0, 0);
        assert_eq!(lines.resolve(b"a:1|c").0.destination.slot, 0);
    }
}
