//! Packs lines into payloads.

/// Lines that wait to be sent in one payload.
#[derive(Debug)]
pub(super) struct Packing {
    /// The longest payload, in bytes. Longer lines are sent alone.
    longest: usize,
    payload: Vec<u8>,
}

impl Packing {
    pub(super) fn new(longest: usize) -> Self {
        Self { longest, payload: Vec::with_capacity(longest) }
    }

    /// Adds a line. If the payload has no room for it, this sends the payload first.
    pub(super) fn add<E>(&mut self, line: &[u8], send: impl FnOnce(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.payload.len() + 1 + line.len() > self.longest {
            self.flush(send)?;
        }
        if !self.payload.is_empty() {
            self.payload.push(b'\n');
        }
        self.payload.extend_from_slice(line);
        Ok(())
    }

    /// Sends the waiting lines.
    pub(super) fn flush<E>(&mut self, send: impl FnOnce(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if !self.payload.is_empty() {
            send(&self.payload)?;
            self.payload.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn payloads_fill_up_to_the_limit_and_longer_lines_go_alone() {
        let mut sent = Vec::new();
        let mut keep = |payload: &[u8]| {
            sent.push(String::from_utf8(payload.to_vec()).unwrap());
            Ok::<_, Infallible>(())
        };
        let mut packing = Packing::new(7);
        for line in ["a:1", "b:2", "c:3", "long:12345", "d:4"] {
            packing.add(line.as_bytes(), &mut keep).unwrap();
        }
        packing.flush(&mut keep).unwrap();
        packing.flush(&mut keep).unwrap();
        assert_eq!(sent, ["a:1\nb:2", "c:3", "long:12345", "d:4"]);
    }

    #[test]
    fn the_line_feed_between_two_lines_needs_room_too() {
        for (longest, payloads) in [(6, 2), (7, 1)] {
            let mut packing = Packing::new(longest);
            let mut sent = 0;
            let mut keep = |_: &[u8]| {
                sent += 1;
                Ok::<_, Infallible>(())
            };
            packing.add(b"a:1", &mut keep).unwrap();
            packing.add(b"b:2", &mut keep).unwrap();
            packing.flush(&mut keep).unwrap();
            assert_eq!(sent, payloads);
        }
    }
}
