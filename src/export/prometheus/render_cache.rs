//! Caches the rendered page in each format and encoding. Each is rendered at most once per snapshot.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use enum_map::EnumMap;
use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::{Mutex, RwLock};

use super::encode::Format;
use super::totals::Totals;
use crate::export::ExportOutcome;
use crate::http::negotiation::Encoding;
use crate::http::response::Complete;
use crate::model::{Claim, Memory, MemoryPart, Snapshot};

/// The totals, and the pages that were rendered since the latest snapshot.
#[derive(Debug)]
pub(super) struct RenderCache {
    totals: RwLock<Totals>,
    /// The number of snapshots that were added.
    snapshots: AtomicU64,
    rendered: EnumMap<Format, EnumMap<Encoding, Mutex<Option<Rendered>>>>,
    memory: Memory,
}

/// The memory for pages is used up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

#[derive(Debug)]
struct Rendered {
    body: Complete,
    /// The number of snapshots that the body includes.
    snapshots: u64,
}

impl RenderCache {
    /// Creates a cache whose pages count in `memory`.
    pub(super) fn new(totals: Totals, memory: Memory) -> Self {
        let snapshots = AtomicU64::new(0);
        Self { totals: RwLock::new(totals), snapshots, rendered: EnumMap::default(), memory }
    }

    /// Adds a snapshot to the totals, and drops the outdated bodies. Clients that are receiving a body keep it in
    /// memory until they have it.
    pub(super) fn add(&self, snapshot: &Snapshot) -> ExportOutcome {
        let mut totals = self.totals.write();
        let outcome = totals.add(snapshot);
        let snapshots = self.snapshots.fetch_add(1, Ordering::Release) + 1;
        drop(totals);
        for rendered in self.rendered.values().flat_map(EnumMap::values) {
            // A locked body is being rendered. The next snapshot drops it.
            if let Some(mut rendered) = rendered.try_lock() {
                rendered.take_if(|rendered| rendered.snapshots < snapshots);
            }
        }
        outcome
    }

    /// Returns the shortest time that the percentiles of a summary cover, as [`Totals::shortest_window`] does.
    pub(super) fn shortest_window(&self) -> Option<Duration> {
        self.totals.read().shortest_window()
    }

    /// Calls `read` with the totals. A new snapshot waits in the queue of the exporter meanwhile.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Totals) -> T) -> T {
        read(&self.totals.read())
    }

    /// Returns the totals in their saved form.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.totals.read().encode()
    }

    /// Returns true once there is something to scrape.
    pub(super) fn is_ready(&self) -> bool {
        self.snapshots.load(Ordering::Acquire) > 0
    }

    /// Returns the body if it has been rendered since the latest snapshot. It never waits.
    pub(super) fn find(&self, format: Format, encoding: Encoding) -> Option<Complete> {
        self.current(self.rendered[format][encoding].try_lock()?.as_ref())
    }

    /// Returns the body, and renders it if necessary. Rendering takes time in proportion to the number of series.
    /// Callers that want the same body wait for each other.
    ///
    /// # Errors
    ///
    /// Fails if the memory for pages is used up, even after the other bodies in the cache were dropped.
    pub(super) fn find_or_render(&self, format: Format, encoding: Encoding) -> Result<Complete, NoRoom> {
        let mut slot = self.rendered[format][encoding].lock();
        if let Some(body) = self.current(slot.as_ref()) {
            return Ok(body);
        }
        *slot = None;
        let rendered = self.render_body(format, encoding).or_else(|NoRoom| {
            for other in self.rendered.values().flat_map(EnumMap::values) {
                // A locked body is being rendered, or is the one that this function renders.
                if let Some(mut other) = other.try_lock() {
                    *other = None;
                }
            }
            self.render_body(format, encoding)
        })?;
        Ok(Arc::clone(&slot.insert(rendered).body))
    }

    fn render_body(&self, format: Format, encoding: Encoding) -> Result<Rendered, NoRoom> {
        // Slow clients of plain pages leave room for compressed ones, which Prometheus requests.
        let reserve = match encoding {
            Encoding::Identity => self.memory.max(MemoryPart::Pages) / 4,
            Encoding::Gzip => 0,
        };
        let mut pieces = Pieces { written: Vec::new(), memory: &self.memory, reserve };
        let rendered = match encoding {
            Encoding::Identity => self.render(format, &mut pieces),
            // The body is compressed while it is rendered. So the uncompressed body, which is ten times as large, is
            // never in memory as a whole.
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(&mut pieces, Compression::fast());
                let rendered = self.render(format, &mut encoder);
                rendered.and_then(|snapshots| encoder.finish().map(|_| snapshots))
            }
        };
        // Writing to memory fails for no other reason.
        let snapshots = rendered.map_err(|_| NoRoom)?;
        Ok(Rendered { body: Complete::from(pieces.written), snapshots })
    }

    fn current(&self, rendered: Option<&Rendered>) -> Option<Complete> {
        let rendered = rendered?;
        (rendered.snapshots == self.snapshots.load(Ordering::Acquire)).then(|| Arc::clone(&rendered.body))
    }

    /// Renders the totals, and returns the number of snapshots in them. The totals are locked meanwhile, so a new
    /// snapshot waits in the queue of the exporter.
    fn render(&self, format: Format, to: &mut impl Write) -> io::Result<u64> {
        let totals = self.totals.read();
        format.render(&totals, |piece| to.write_all(piece))?;
        Ok(self.snapshots.load(Ordering::Acquire))
    }
}

/// Keeps each piece that is written to it. Fails if the memory for pages is used up.
struct Pieces<'a> {
    written: Vec<Bytes>,
    memory: &'a Memory,
    /// The bytes to leave to other pages.
    reserve: usize,
}

/// A piece of a page, whose memory counts until the last client has it.
struct Piece {
    bytes: Box<[u8]>,
    _claim: Claim,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let has_room = self.memory.room(MemoryPart::Pages) >= self.reserve + bytes.len();
        let claim = has_room.then(|| self.memory.try_claim(MemoryPart::Pages, bytes.len())).flatten();
        let claim = claim.ok_or(io::ErrorKind::OutOfMemory)?;
        self.written.push(Bytes::from_owner(Piece { bytes: bytes.into(), _claim: claim }));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::thread;

    use flate2::read::GzDecoder;
    use memchr::memmem;
    use strum::VariantArray;

    use super::super::names::Naming;
    use super::*;
    use crate::model::{Kind, Rows, Series, Value};

    fn cache() -> RenderCache {
        RenderCache::new(Totals::new(Naming::Prometheus), Memory::default())
    }

    fn hits(count: u32) -> Snapshot {
        let series = |n| Series::new(Kind::Counter, &format!("hits.{n:05}"), &[]);
        (0..count).map(|n| (series(n), Value::Counter(1.0))).collect::<Rows>().into()
    }

    #[test]
    fn a_body_is_rendered_once_per_snapshot_and_shared_by_all_clients() {
        let cache = cache();
        assert!(cache.find(Format::Text, Encoding::Gzip).is_none() && !cache.is_ready());
        cache.add(&hits(1));
        assert!(cache.is_ready());
        let render = || cache.find_or_render(Format::Text, Encoding::Gzip).unwrap();
        let bodies: Vec<_> = thread::scope(|scope| {
            let all = [(); 8].map(|()| scope.spawn(render));
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let first = cache.find(Format::Text, Encoding::Gzip).unwrap();
        assert!(bodies.iter().all(|other| Arc::ptr_eq(&first, other)));
        drop(bodies);
        cache.add(&hits(1));
        assert_eq!(Arc::strong_count(&first), 1, "the cache has dropped it");
        assert!(cache.find(Format::Text, Encoding::Gzip).is_none());
        assert_ne!(first, render());
    }

    #[test]
    fn the_compressed_body_equals_the_plain_one() {
        for count in [0, 1, 10_000] {
            let cache = cache();
            cache.add(&hits(count));
            for &format in Format::VARIANTS {
                let [plain, compressed] = [Encoding::Identity, Encoding::Gzip]
                    .map(|encoding| cache.find_or_render(format, encoding).unwrap().concat());
                let mut text = Vec::new();
                GzDecoder::new(&compressed[..]).read_to_end(&mut text).unwrap();
                assert_eq!(text, plain);
                let mut rest = &plain[..];
                for n in 0..count {
                    let name = format!("hits_{n:05}");
                    let found = memmem::find(rest, name.as_bytes());
                    rest = &rest[found.unwrap_or_else(|| panic!("no {name} in {format:?}"))..];
                }
            }
        }
    }

    #[test]
    fn pages_beyond_the_memory_are_refused_until_slow_clients_have_theirs() {
        let cache = cache();
        cache.add(&hits(1000));
        let page = cache.find_or_render(Format::Text, Encoding::Identity).unwrap().concat().len();
        // 21 % of the memory are for pages, and three quarters of that for plain ones: room for one, but not for two.
        let memory = Memory::limited((16 << 20) + page * 3 / 2 * 100 / 21);
        let cache = RenderCache::new(Totals::new(Naming::Prometheus), memory);
        let render = |encoding| cache.find_or_render(Format::Text, encoding);
        cache.add(&hits(1000));
        let slow = render(Encoding::Identity).unwrap();
        render(Encoding::Gzip).unwrap();
        cache.add(&hits(1000));
        assert_eq!(render(Encoding::Identity), Err(NoRoom));
        assert!(render(Encoding::Gzip).is_ok(), "a compressed page is small");
        drop(slow);
        assert!(render(Encoding::Identity).is_ok());
    }
}
