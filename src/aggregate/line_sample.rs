//! Keeps a random sample of the lines of an interval, which says who and what sends most.

use fastrand::Rng;

use crate::resolve::{AggregateKind, SeriesId};

/// The number of lines that are kept. A share of one tenth is then known to 1.8 percentage points, in 95 of 100 intervals.
const SAMPLE: usize = 1024;

/// What a line recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorded {
    /// The series, or `None` if the line was not recorded.
    pub(crate) series: Option<(AggregateKind, SeriesId)>,
    /// The number of values in the line.
    pub(crate) values: u32,
}

/// A sample in which each line of the interval is with the same probability, with `T` for each line.
///
/// It is Li's algorithm L for reservoir sampling (ACM Transactions on Mathematical Software 20, 1994). It keeps the first
/// lines. From then on, it draws how many lines to skip before one replaces a kept line. So most lines cost nothing.
#[derive(Debug)]
pub(crate) struct LineSample<T> {
    kept: Vec<T>,
    /// The number of lines in the interval.
    lines: u64,
    /// The number of lines before the next one to keep.
    next: u64,
    /// The largest of [`SAMPLE`] random numbers, one for each kept line, if each line had one and those with the smallest
    /// were kept.
    largest: f64,
    random: Rng,
}

impl<T> Default for LineSample<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), lines: 0, next: 0, largest: 1.0, random: Rng::new() }
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
        if self.kept.len() < SAMPLE {
            self.kept.push(line);
        } else {
            let replaced = self.random.usize(..SAMPLE);
            self.kept[replaced] = line;
        }
        self.next += 1;
        if self.kept.len() == SAMPLE {
            self.largest *= (self.uniform().ln() / SAMPLE as f64).exp();
            self.next += (self.uniform().ln() / (-self.largest).ln_1p()) as u64;
        }
    }

    /// Returns a random number above 0, and at most 1.
    fn uniform(&mut self) -> f64 {
        1.0 - self.random.f64()
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
        (self.lines, self.next, self.largest) = (0, 0, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the numbers of the kept lines, if lines come in groups of `group`.
    fn sampled(seed: u64, lines: usize, group: usize) -> Vec<u32> {
        let mut sample = LineSample { random: Rng::with_seed(seed), ..LineSample::default() };
        for begin in (0..lines).step_by(group) {
            let count = group.min(lines - begin);
            sample.pass(count, |index| {
                assert!(index < count);
                (begin + index) as u32
            });
        }
        assert_eq!(sample.lines(), lines as u64);
        sample.kept().to_vec()
    }

    #[test]
    fn a_sample_of_few_lines_has_all_of_them() {
        assert_eq!(sampled(1, SAMPLE, 7), (0..SAMPLE as u32).collect::<Vec<_>>());
    }

    #[test]
    fn each_line_is_in_the_sample_with_the_same_probability() {
        let (lines, rounds) = (20 * SAMPLE, 200);
        let mut by_tenth = [0.0; 10];
        for seed in 0..rounds {
            let kept = sampled(seed, lines, 32);
            assert_eq!(kept.len(), SAMPLE);
            kept.iter().for_each(|&line| by_tenth[line as usize * 10 / lines] += 1.0);
        }
        // The standard deviation of a tenth is 136 of 20,480.
        let expected = (rounds as usize * SAMPLE / 10) as f64;
        assert!(by_tenth.iter().all(|kept| (kept - expected).abs() < 700.0), "{by_tenth:?}");
    }

    #[test]
    fn a_group_of_lines_changes_nothing() {
        assert_eq!(sampled(7, 50_000, 1), sampled(7, 50_000, 32));
    }
}
