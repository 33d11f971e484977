//! The beginning of something whose rest has not arrived yet.

/// Takes no memory while nothing waits.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<u8>);

impl Waiting {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends `bytes`, which may make it as long as `limit`. The memory doubles, so that each byte is copied a few times
    /// at most however small the pieces are; but it never exceeds `limit`.
    pub(super) fn append(&mut self, bytes: &[u8], limit: usize) {
        let length = self.0.len() + bytes.len();
        if length > self.0.capacity() {
            let capacity = length.max(limit.min(2 * self.0.capacity()));
            self.0.reserve_exact(capacity - self.0.len());
        }
        self.0.extend_from_slice(bytes);
    }

    /// Forgets the bytes and frees their memory: thousands of connections may be idle.
    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}
