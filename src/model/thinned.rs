//! Thins out log messages that repeat: the first is logged, then ever fewer.

/// Decides which occurrences of a repeated message are logged.
///
/// Each message that is logged doubles the number of occurrences until the next. A quiet time of that length starts
/// over.
///
/// ```text
/// occurrences  1  2  3  4  5  6  7  8 ...
/// logged       1  2     4           8       the message at 4 stands for two occurrences, the one at 8 for four
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Thinned {
    /// The number of occurrences from one logged message to the next. 0 before the first.
    gap: u64,
    /// The occurrences since the latest logged message.
    pending: Repeated,
    /// The number of rounds without an occurrence since the latest occurrence.
    quiet: u64,
}

/// The occurrences that a logged message stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Repeated {
    /// The number of occurrences.
    pub(crate) times: u64,
    /// The sum of their amounts, for example of lost samples.
    pub(crate) amount: u64,
}

impl Thinned {
    /// The largest gap. A lasting problem is logged at least once per this many occurrences.
    const MAX_GAP: u64 = 512;

    /// Adds an occurrence. Returns what the message stands for if it should be logged.
    pub(crate) fn add(&mut self, amount: u64) -> Option<Repeated> {
        self.quiet = 0;
        self.pending.times += 1;
        self.pending.amount += amount;
        (self.pending.times >= self.gap).then(|| {
            self.gap = if self.gap == 0 { 1 } else { (self.gap * 2).min(Self::MAX_GAP) };
            std::mem::take(&mut self.pending)
        })
    }

    /// Adds a round in which nothing occurred. Returns the occurrences that were not logged if the quiet time is over.
    pub(crate) fn rest(&mut self) -> Option<Repeated> {
        self.quiet += 1;
        if self.quiet < self.gap {
            return None;
        }
        let Self { pending, .. } = std::mem::take(self);
        (pending.times > 0).then_some(pending)
    }

    /// Adds a round, in which an amount of 0 means that nothing occurred.
    pub(crate) fn round(&mut self, amount: u64) -> Option<Repeated> {
        if amount > 0 { self.add(amount) } else { self.rest() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_is_logged_and_then_ever_fewer() {
        let mut thinned = Thinned::default();
        let logged: Vec<_> = (1..=40).filter_map(|at| Some((at, thinned.add(10)?.amount))).collect();
        assert_eq!(logged, [(1, 10), (2, 10), (4, 20), (8, 40), (16, 80), (32, 160)]);
    }

    #[test]
    fn every_occurrence_is_in_a_message_and_a_quiet_time_starts_over() {
        let mut thinned = Thinned::default();
        let mut logged = 0;
        for round in 0..10_000_u64 {
            logged += thinned.round(round % 3).map_or(0, |repeated| repeated.amount);
        }
        logged +=
            (0..Thinned::MAX_GAP).filter_map(|_| thinned.rest()).map(|repeated| repeated.amount).sum::<u64>();
        assert_eq!(logged, (0..10_000).map(|round| round % 3).sum::<u64>());
        assert_eq!(thinned.add(7), Some(Repeated { times: 1, amount: 7 }));
    }
}
