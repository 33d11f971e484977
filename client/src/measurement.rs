//! One call, on its way to the exporters.

use crate::Tag;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    /// So many more.
    Counter(u64),
    /// The value from now on.
    Gauge(f64),
    /// Milliseconds.
    Timing(f64),
    /// In the caller's unit.
    Histogram(f64),
    /// In the caller's unit.
    Distribution(f64),
    /// A member of a set, of which the different ones are counted.
    Set(&'a str),
}

impl Value<'_> {
    /// The word for its type in the log.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Value::Counter(_) => "counter",
            Value::Gauge(_) => "gauge",
            Value::Timing(_) => "timing",
            Value::Histogram(_) => "histogram",
            Value::Distribution(_) => "distribution",
            Value::Set(_) => "set",
        }
    }

    /// Its type on the wire.
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Value::Counter(_) => "c",
            Value::Gauge(_) => "g",
            Value::Timing(_) => "ms",
            Value::Histogram(_) => "h",
            Value::Distribution(_) => "d",
            Value::Set(_) => "s",
        }
    }

    /// Whether it says something: infinities and NaN do not.
    pub(crate) fn is_meaningful(self) -> bool {
        match self {
            Value::Counter(_) | Value::Set(_) => true,
            Value::Gauge(number)
            | Value::Timing(number)
            | Value::Histogram(number)
            | Value::Distribution(number) => number.is_finite(),
        }
    }

    /// Whether a part of the calls can stand for all of them.
    pub(crate) fn can_be_sampled(self) -> bool {
        !matches!(self, Value::Gauge(_) | Value::Set(_))
    }
}

/// A metric's name with what stands before it, a value, and tags.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measurement<'a> {
    pub(crate) component: &'a str,
    pub(crate) name: &'a str,
    pub(crate) value: Value<'a>,
    /// Those of the application, of the collector and of the call; of two with one key the later one counts.
    pub(crate) tags: [Tags<'a>; 3],
    /// The share of calls that were taken, this one among them: above 0 and up to 1.
    pub(crate) rate: f64,
}

/// Tags from one place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tags<'a> {
    Kept(&'a [(String, String)]),
    Given(&'a [Tag<'a>]),
}

impl<'a> Tags<'a> {
    fn iter(self) -> impl Iterator<Item = Tag<'a>> {
        let (kept, given): (&[(String, String)], &[Tag<'a>]) = match self {
            Tags::Kept(kept) => (kept, &[]),
            Tags::Given(given) => (&[], given),
        };
        kept.iter().map(|(key, value)| (&**key, &**value)).chain(given.iter().copied())
    }
}

impl<'a> Measurement<'a> {
    /// Each key once.
    pub(crate) fn tags(&self) -> impl Iterator<Item = Tag<'a>> {
        let places = self.tags;
        let of_place = move |place: usize| {
            places[place].iter().filter(move |(key, _)| {
                let mut later = places[place + 1..].iter().flat_map(|tags| tags.iter());
                later.all(|(other, _)| other != *key)
            })
        };
        (0..places.len()).flat_map(of_place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_tags_with_one_key_the_one_nearer_to_the_call_counts() {
        let kept = |tags: &[(&str, &str)]| -> Vec<(String, String)> {
            tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let (application, collector) =
            (kept(&[("env", "prod"), ("app", "cv")]), kept(&[("env", "test"), ("a", "1")]));
        let measurement = Measurement {
            component: "c",
            name: "n",
            value: Value::Counter(1),
            tags: [Tags::Kept(&application), Tags::Kept(&collector), Tags::Given(&[("a", "2"), ("b", "3")])],
            rate: 1.0,
        };
        let tags: Vec<_> = measurement.tags().collect();
        assert_eq!(tags, [("app", "cv"), ("env", "test"), ("a", "2"), ("b", "3")]);
    }
}
