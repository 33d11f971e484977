//! The page in every form that scrapers ask for, each made at most once a snapshot.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::export::ExportOutcome;
use crate::export::prometheus::{Format, Totals};
use crate::model::Snapshot;

/// How a page is encoded on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is.
    Identity,
    Gzip,
}

impl Encoding {
    const COUNT: usize = 2;
}

/// A page as it is sent, in pieces: whoever is being sent it holds it in memory, and nobody copies it.
pub(super) type Page = Arc<[Bytes]>;

/// The totals, and the pages that were made of them since the latest snapshot.
#[derive(Debug)]
pub(super) struct Pages {
    totals: RwLock<Totals>,
    /// Snapshots that were added.
    snapshots: AtomicU64,
    /// By [`Format`] and [`Encoding`].
    made: [[Mutex<Option<Made>>; Encoding::COUNT]; Format::ALL.len()],
}

#[derive(Debug)]
struct Made {
    page: Page,
    /// After how many snapshots.
    snapshots: u64,
}

impl Pages {
    pub(super) fn new(totals: Totals) -> Self {
        Self { totals: RwLock::new(totals), snapshots: AtomicU64::new(0), made: Default::default() }
    }

    /// Adds an interval's rows. Pages of the time before are let go, as far as nobody is being sent them.
    pub(super) fn add(&self, snapshot: &Snapshot) -> ExportOutcome {
        let mut totals = self.totals.write();
        let exported = totals.add(snapshot);
        let snapshots = self.snapshots.fetch_add(1, Ordering::Release) + 1;
        drop(totals);
        for made in self.made.iter().flatten() {
            // One that is locked is being made, and let go at the next snapshot.
            if let Some(mut made) = made.try_lock() {
                made.take_if(|made| made.snapshots < snapshots);
            }
        }
        exported
    }

    /// Whether there is anything to see yet.
    pub(super) fn is_ready(&self) -> bool {
        self.snapshots.load(Ordering::Acquire) > 0
    }

    /// The page, if it has been made since the latest snapshot. Waits for nobody.
    pub(super) fn find(&self, format: Format, encoding: Encoding) -> Option<Page> {
        self.current(self.slot(format, encoding).try_lock()?.as_ref())
    }

    /// The page, which is made if it must be; whoever else wants the same one waits for that. It takes time in proportion
    /// to the series.
    pub(super) fn make(&self, format: Format, encoding: Encoding) -> Page {
        let mut slot = self.slot(format, encoding).lock();
        if let Some(page) = self.current(slot.as_ref()) {
            return page;
        }
        let mut pieces = Pieces(Vec::new());
        let written = match encoding {
            Encoding::Identity => self.render(format, &mut pieces),
            // Compressed as it is written, so that it is never in memory as it is, which takes ten times as much.
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(&mut pieces, Compression::fast());
                let written = self.render(format, &mut encoder);
                written.and_then(|snapshots| encoder.finish().map(|_| snapshots))
            }
        };
        let snapshots = written.expect("memory can be written to");
        let page = Page::from(pieces.0);
        *slot = Some(Made { page: Arc::clone(&page), snapshots });
        page
    }

    fn slot(&self, format: Format, encoding: Encoding) -> &Mutex<Option<Made>> {
        &self.made[format as usize][encoding as usize]
    }

    fn current(&self, made: Option<&Made>) -> Option<Page> {
        let made = made?;
        (made.snapshots == self.snapshots.load(Ordering::Acquire)).then(|| Arc::clone(&made.page))
    }

    /// Writes the page, and says after how many snapshots. The totals are locked meanwhile: a snapshot that comes can wait in
    /// the exporter's queue for as long.
    fn render(&self, format: Format, to: &mut impl Write) -> io::Result<u64> {
        let totals = self.totals.read();
        format.render(&totals, |piece| to.write_all(piece))?;
        Ok(self.snapshots.load(Ordering::Acquire))
    }
}

/// Keeps what is written to it.
struct Pieces(Vec<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(Bytes::copy_from_slice(bytes));
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
    use std::time::{Duration, SystemTime};

    use flate2::read::GzDecoder;
    use memchr::memmem;

    use super::*;
    use crate::export::prometheus::Naming;
    use crate::model::{Kind, Overview, Series, Value};

    fn pages() -> Pages {
        Pages::new(Totals::new(Naming::Prometheus))
    }

    fn hits(count: u32) -> Snapshot {
        let series = |n| Series::new(Kind::Counter, &format!("hits.{n:05}"), &[]);
        Snapshot {
            time: SystemTime::UNIX_EPOCH,
            interval: Duration::from_secs(1),
            policies: Arc::default(),
            rows: (0..count).map(|n| (series(n), Value::Counter(1.0))).collect(),
            events: Vec::new(),
            overview: Overview::default(),
        }
    }

    #[test]
    fn a_page_is_made_once_a_snapshot_and_shared_by_all_who_ask_for_it() {
        let pages = pages();
        assert!(pages.find(Format::Text, Encoding::Gzip).is_none() && !pages.is_ready());
        pages.add(&hits(1));
        assert!(pages.is_ready());
        let make = || pages.make(Format::Text, Encoding::Gzip);
        let made: Vec<_> = thread::scope(|scope| {
            let all = [(); 8].map(|()| scope.spawn(make));
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let first = pages.find(Format::Text, Encoding::Gzip).unwrap();
        assert!(made.iter().all(|other| Arc::ptr_eq(&first, other)));
        drop(made);
        pages.add(&hits(1));
        assert_eq!(Arc::strong_count(&first), 1, "it is let go but by those who are being sent it");
        assert!(pages.find(Format::Text, Encoding::Gzip).is_none());
        assert_ne!(first, make());
    }

    #[test]
    fn what_is_compressed_is_the_page_as_it_is() {
        for count in [0, 1, 10_000] {
            let pages = pages();
            pages.add(&hits(count));
            for format in Format::ALL {
                let [page, compressed] = [Encoding::Identity, Encoding::Gzip]
                    .map(|encoding| pages.make(format, encoding).concat());
                let mut text = Vec::new();
                GzDecoder::new(&compressed[..]).read_to_end(&mut text).unwrap();
                assert_eq!(text, page);
                let mut rest = &page[..];
                for n in 0..count {
                    let name = format!("hits_{n:05}");
                    let found = memmem::find(rest, name.as_bytes());
                    rest = &rest[found.unwrap_or_else(|| panic!("no {name} in {format:?}"))..];
                }
            }
        }
    }
}
