//! Events of an interval, as they were sent.

/// Lines that hold events, one behind the other, up to a number of bytes.
///
/// Events are few and told in words, so nothing is added up: their lines wait here for the flush, which parses them
/// again. Kept as structures they would need an allocation for each of their texts.
#[derive(Debug)]
pub(crate) struct Events {
    lines: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
    /// Bytes of lines at most.
    room: usize,
}

impl Events {
    pub(super) fn new(room: usize) -> Self {
        Self { lines: Vec::new(), ends: Vec::new(), room }
    }

    /// Whether there was room for it.
    pub(super) fn push(&mut self, line: &[u8]) -> bool {
        let fits = self.lines.len() + line.len() <= self.room;
        if fits {
            self.lines.extend_from_slice(line);
            self.ends.push(self.lines.len());
        }
        fits
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.lines[start..end])
    }

    /// Forgets all of them, and gives back memory that this interval had no use for.
    pub(super) fn clear(&mut self) {
        self.lines.shrink_to(2 * self.lines.len());
        self.ends.shrink_to(2 * self.ends.len());
        self.lines.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_as_they_went_in_as_long_as_there_is_room() {
        let mut events = Events::new(8);
        assert_eq!(
            [&b"abc"[..], b"de", b"fghi", b"jkl", b""].map(|line| events.push(line)),
            [true, true, false, true, true]
        );
        assert_eq!(events.iter().collect::<Vec<_>>(), [&b"abc"[..], b"de", b"jkl", b""]);
        events.clear();
        assert_eq!(events.iter().count(), 0);
        assert!(events.push(b"abcdefgh"));
    }
}
