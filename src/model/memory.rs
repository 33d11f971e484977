//! Accounts for the memory that grows with what clients send and scrape, and limits it.
//!
//! ```text
//!  memory.max --> shares of the parts
//!  a stage    --> Claim: counts in its part until it is dropped, together with what it accounts for
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use enum_map::{Enum, EnumMap};
use strum::{IntoStaticStr, VariantArray};

/// A part of the memory. Telemetry shows the names of the parts, so they are an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum MemoryPart {
    /// What is kept for each live series: its name and tags, its numbers, the slots for its values, and its running
    /// totals.
    Series,
    /// The line patterns that receivers remember.
    Patterns,
    /// The values of timings, histograms, distributions and sets in the open interval, and those being merged.
    Values,
    /// The snapshots that exporters have not handled yet.
    Snapshots,
    /// The rendered pages, also those that slow scrapers have not received yet.
    Pages,
    /// The values of earlier intervals, for people who look at a series.
    History,
    /// The requests that wait for the servers of push exporters.
    Queues,
}

impl MemoryPart {
    /// Returns how many hundredths of the memory the part may take.
    fn percent(self) -> usize {
        match self {
            MemoryPart::Series => 45,
            // A page of short names takes a third of what its series take.
            MemoryPart::Pages => 21,
            MemoryPart::Snapshots => 10,
            MemoryPart::Values | MemoryPart::Patterns => 8,
            MemoryPart::History | MemoryPart::Queues => 4,
        }
    }
}

/// The memory that tallyd takes without clients: code, stacks and small buffers.
const BASE: usize = 16 << 20;

/// The bytes that each part takes, and those that it may take. Clones share the figures.
#[derive(Debug, Clone)]
pub struct Memory(Arc<EnumMap<MemoryPart, PartMemory>>);

#[derive(Debug)]
struct PartMemory {
    used: AtomicUsize,
    max: usize,
}

/// Memory without limits.
impl Default for Memory {
    fn default() -> Self {
        Self::with_shares(|_| usize::MAX)
    }
}

/// All memory is alike, so that options which contain it can be compared.
impl PartialEq for Memory {
    fn eq(&self, other: &Self) -> bool {
        self.0.values().map(|part| part.max).eq(other.0.values().map(|part| part.max))
    }
}

impl Memory {
    /// Divides `max` bytes among the parts.
    #[must_use]
    pub fn limited(max: usize) -> Self {
        let shared = max.saturating_sub(BASE);
        Self::with_shares(|part| shared / 100 * part.percent())
    }

    fn with_shares(max: impl Fn(MemoryPart) -> usize) -> Self {
        Self(Arc::new(EnumMap::from_fn(|part| PartMemory { used: AtomicUsize::new(0), max: max(part) })))
    }

    /// Returns the bytes that a part takes.
    pub(crate) fn used(&self, part: MemoryPart) -> usize {
        self.0[part].used.load(Relaxed)
    }

    /// Returns the bytes that a part may take.
    pub(crate) fn max(&self, part: MemoryPart) -> usize {
        self.0[part].max
    }

    /// Returns the bytes that a part may still take.
    pub(crate) fn room(&self, part: MemoryPart) -> usize {
        self.max(part).saturating_sub(self.used(part))
    }

    /// Returns true if a part takes more than half of its share. It should then save memory where it can.
    pub(crate) fn is_scarce(&self, part: MemoryPart) -> bool {
        self.used(part) > self.max(part) / 2
    }

    /// Counts bytes even if they exceed the share of the part.
    pub(crate) fn claim(&self, part: MemoryPart, bytes: usize) -> Claim {
        self.0[part].used.fetch_add(bytes, Relaxed);
        Claim { memory: self.clone(), part, bytes }
    }

    /// Counts bytes if the part has room for them.
    pub(crate) fn try_claim(&self, part: MemoryPart, bytes: usize) -> Option<Claim> {
        let PartMemory { used, max } = &self.0[part];
        let sum = |used: usize| used.checked_add(bytes).filter(|sum| sum <= max);
        used.fetch_update(Relaxed, Relaxed, sum).ok()?;
        Some(Claim { memory: self.clone(), part, bytes })
    }
}

/// Bytes that count in a part. Dropping the claim gives them back.
#[derive(Debug)]
pub struct Claim {
    memory: Memory,
    part: MemoryPart,
    bytes: usize,
}

impl Claim {
    /// Returns the number of bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Replaces the number of bytes.
    pub(crate) fn resize(&mut self, bytes: usize) {
        if bytes == self.bytes {
            return;
        }
        let used = &self.memory.0[self.part].used;
        used.fetch_add(bytes, Relaxed);
        used.fetch_sub(self.bytes, Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_their_shares_and_claims_count_until_they_are_dropped() {
        let memory = Memory::limited(BASE + 1000);
        let claim = memory.try_claim(MemoryPart::Snapshots, 60).unwrap();
        assert!(memory.try_claim(MemoryPart::Snapshots, 41).is_none(), "10 percent are 100 bytes");
        let mut more = memory.try_claim(MemoryPart::Snapshots, 40).unwrap();
        assert_eq!(memory.room(MemoryPart::Snapshots), 0);
        more.resize(70);
        assert_eq!((memory.used(MemoryPart::Snapshots), memory.room(MemoryPart::Snapshots)), (130, 0));
        drop(claim);
        assert_eq!((memory.used(MemoryPart::Snapshots), memory.used(MemoryPart::Pages)), (70, 0));
        drop(more);
        assert_eq!(memory.used(MemoryPart::Snapshots), 0);
    }

    #[test]
    fn the_shares_are_the_whole() {
        let shares = MemoryPart::VARIANTS.iter().map(|part| part.percent());
        assert_eq!(shares.sum::<usize>(), 100);
    }
}
