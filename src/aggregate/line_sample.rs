//! Keeps a random sample of the lines of an interval, which says who and what sends most.

use fastrand::Rng;

use crate::resolve::AggregateKind;

/// The number of lines to keep at least, if there are as many. A share of one tenth is then known to 1.8 percentage points, in 95 of
/// 100 intervals.
const SAMPLE: u64 = 1024;

/// The largest number of lines that are kept.
const MOST: usize = 2 * SAMPLE as usize;

/// What a line recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorded {
    /// The kind and the slot, or `None` if the line was not recorded. [`Columns::owner`](super::Columns::owner) knows the series.
    pub(crate) place: Option<(AggregateKind, u32)>,
    /// The number of values in the line.
    pub(crate) values: u32,
}

/// A sample in which each line of the interval is with the same probability, with `T` for each line.
///
/// It keeps lines at random distances, whose mean follows from the number of lines in an earlier interval. So it keeps few more lines
/// than it needs, and all other lines cost nothing. If there are too many, a random half of them goes, and the mean doubles.
#[derive(Debug)]
pub(crate) struct LineSample<T> {
    kept: Vec<T>,
    /// The number of lines in the interval.
    lines: u64,
    /// The number of lines before the next one to keep.
    next: u64,
    /// The mean distance between two kept lines.
    distance: u64,
    random: Rng,
}

impl<T> Default for LineSample<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), lines: 0, next: 0, distance: 1, random: Rng::new() }
    }
}

impl<T> LineSample<T> {
    /// Passes over `count` lines. Calls `line` with the index of each one that comes into the sample.
    #[inline(always)]
    pub(crate) fn pass(&mut self, count: usize, mut line: impl FnMut(usize) -> T) {
        let begin = self.lines;
        self.lines += count as u64;
        while self.next < self.lines {
            let kept = line((self.next - begin) as usize);
            self.keep(kept);
        }
    }

    fn keep(&mut self, line: T) {
        if self.kept.len() == MOST {
            self.kept.retain(|_| self.random.bool());
            self.distance *= 2;
        }
        self.kept.push(line);
        self.next += if self.distance == 1 { 1 } else { self.random.u64(1..2 * self.distance) };
    }

    /// Returns the number of lines in the interval.
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    /// Returns the lines of the sample.
    pub(crate) fn kept(&self) -> &[T] {
        &self.kept
    }

    /// Begins a new interval.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.distance = (self.lines / SAMPLE).max(1);
        self.next = self.random.u64(..self.distance);
        self.lines = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes over lines in groups of `group`, and returns the numbers of those that were kept.
    fn pass(sample: &mut LineSample<usize>, lines: usize, group: usize) -> Vec<usize> {
        for begin in (0..lines).step_by(group) {
            let count = group.min(lines - begin);
            sample.pass(count, |index| {
                assert!(index < count);
                begin + index
            });
        }
        assert_eq!(sample.lines(), lines as u64);
        let kept = sample.kept().to_vec();
        sample.clear();
        kept
    }

    fn with_seed(seed: u64) -> LineSample<usize> {
        LineSample { random: Rng::with_seed(seed), ..LineSample::default() }
    }

    #[test]
    fn a_sample_of_few_lines_has_all_of_them() {
        let mut sample = with_seed(1);
        for _interval in 0..3 {
            assert_eq!(pass(&mut sample, 2000, 7), (0..2000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn each_line_is_in_the_sample_with_the_same_probability() {
        let lines = 50_000;
        // The number of lines is not known in the first interval, and then it is.
        let mut by_tenth = [[0.0; 10]; 2];
        for seed in 0..200 {
            let mut sample = with_seed(seed);
            for by_tenth in &mut by_tenth {
                let kept = pass(&mut sample, lines, 32);
                assert!((900..=MOST).contains(&kept.len()), "{}", kept.len());
                kept.iter().for_each(|line| by_tenth[line * 10 / lines] += 1.0);
            }
        }
        for kept in by_tenth {
            let all: f64 = kept.iter().sum();
            // The standard deviation is at most 0.0007.
            assert!(kept.iter().all(|kept| (kept / all - 0.1).abs() < 0.003), "{kept:?}");
        }
    }

    #[test]
    fn a_group_of_lines_changes_nothing() {
        assert_eq!(pass(&mut with_seed(7), 50_000, 1), pass(&mut with_seed(7), 50_000, 32));
    }

    #[test]
    fn a_sample_follows_the_number_of_lines() {
        let mut sample = with_seed(3);
        for lines in [1_000_000, 1_000_000, 3000, 3000, 1_000_000] {
            let kept = pass(&mut sample, lines, 32).len();
            assert!(kept <= MOST && kept >= lines.min(1000) / 1000, "{kept} of {lines}");
        }
        assert!((1000..=MOST).contains(&pass(&mut sample, 1_000_000, 32).len()));
    }
}
