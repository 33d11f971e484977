//! Holds the families of the page and their members. They are found by name and labels, and walked in sorted order.

use std::hash::BuildHasher;
use std::hint::black_box;
use std::num::NonZero;
use std::{mem, slice};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::family_type::FamilyType;
use super::percentile_window::PercentileWindow;
use crate::model::{Exposition, HeldPolicy, Kind, NativeHistogram, NativeSettings, Policy, Statistics};

/// A family: one metric of the page.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: Box<str>,
    pub(super) metric_type: FamilyType,
    pub(super) kind: Kind,
    /// The policy of the HELP text: the policy that takes precedence among those of the members.
    pub(super) policy: HeldPolicy,
    /// True if the rules in force want another type for the family. It leaves the page at the end of the interval, and
    /// its rows are quarantined.
    pub(super) is_leaving: bool,
}

/// A family with the hash of its name, so that each name is hashed once.
#[derive(Debug)]
struct Hashed {
    family: Family,
    hash: u64,
}

/// A member of a family: one series of the page.
#[derive(Debug)]
pub(super) struct Member {
    /// The labels as text, without the braces.
    pub(super) labels: Box<str>,
    /// The number of the family.
    pub(super) family: u32,
    /// The place of the labels in [`Utf8Names::labels`], counted from 1, if some of their names are not legal.
    pub(super) utf8_labels: Option<NonZero<u32>>,
    pub(super) kind: Kind,
    pub(super) policy: HeldPolicy,
    pub(super) total: Total,
    /// The time of the latest snapshot with this member, on the clock of [`Totals`](super::Totals).
    pub(super) seen: u64,
    /// True if tallyd has dropped all of the member's series.
    pub(super) is_gone: bool,
    /// The start of the member's first interval, in seconds since 1970.
    pub(super) began: f64,
}

/// The sum of all intervals since a member began. A gauge has its latest value instead.
#[derive(Debug)]
pub(super) enum Total {
    Counter(f64),
    Gauge(f64),
    /// The total is on the heap, because most series need only a number.
    Distribution(Box<Distribution>),
}

/// The total of a timing, histogram or distribution.
#[derive(Debug, Default)]
pub(super) struct Distribution {
    pub(super) count: f64,
    pub(super) sum: f64,
    /// The percentiles of the latest interval or of the window. The list is empty without samples. Only summaries show
    /// it.
    pub(super) quantiles: Vec<f64>,
    /// The time when the list became empty, on the clock of [`Totals`](super::Totals). 0 if it never did.
    pub(super) quantiles_ended: u64,
    /// The intervals that the percentiles cover, if the policy wants more than the latest.
    pub(super) window: Option<Box<PercentileWindow>>,
    /// The weight up to each bound. Summaries have no bounds.
    pub(super) buckets: Box<[f64]>,
    /// The weights in exponential buckets, if the policy wants them.
    pub(super) native: Option<Box<NativeHistogram>>,
}

impl Member {
    pub(super) fn is_distribution(&self) -> bool {
        matches!(self.total, Total::Distribution(_))
    }
}

impl Total {
    /// Returns the memory that it has on the heap, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Total::Counter(_) | Total::Gauge(_) => 0,
            Total::Distribution(total) => total.bytes(),
        }
    }

    /// Returns a total without samples.
    pub(super) fn new(family_type: FamilyType, policy: &Policy) -> Self {
        match family_type {
            FamilyType::Counter => Total::Counter(0.0),
            FamilyType::Gauge => Total::Gauge(0.0),
            _ => Total::Distribution(Box::new(Distribution::new(policy))),
        }
    }
}

impl Distribution {
    /// Returns the memory of the distribution, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let window = self.window.as_ref().map_or(0, |window| window.bytes());
        let native = self.native.as_ref().map_or(0, |native| native.bytes());
        let numbers = self.quantiles.capacity() + self.buckets.len();
        size_of::<Self>() + numbers * size_of::<f64>() + window + native
    }

    /// Returns a distribution without values, with the buckets that the policy wants.
    pub(super) fn new(policy: &Policy) -> Self {
        let Statistics { bounds, native, .. } = &policy.statistics;
        let has_buckets = policy.exposition != Exposition::Summary;
        Self {
            buckets: vec![0.0; bounds.len()].into(),
            native: native
                .filter(|_| has_buckets)
                .map(|NativeSettings { schema, .. }| Box::new(NativeHistogram::new(schema, 0.0, [], []))),
            ..Self::default()
        }
    }
}

/// The names with the characters that clients sent, where these are not legal. They are text as the text formats write it.
#[derive(Debug, Default)]
struct Utf8Names {
    /// The names of families, by number. The families beyond the end have none.
    families: Vec<Option<Box<str>>>,
    /// The labels of the members that have some, in the order of the members.
    labels: Vec<Box<str>>,
    /// The length of all texts.
    text: usize,
}

impl Utf8Names {
    /// Drops the names of the families and the labels of the members that do not stay.
    fn retain(&mut self, family_stays: &[bool], labels_stay: Vec<bool>) {
        let Self { families, labels, text } = self;
        let mut stay = family_stays.iter();
        families.retain(|_| stay.next() == Some(&true));
        families.shrink_to(2 * families.len());
        let mut stay = labels_stay.into_iter();
        labels.retain(|_| stay.next() == Some(true));
        labels.shrink_to(2 * labels.len());
        *text = families.iter().flatten().chain(&*labels).map(|text| text.len()).sum();
    }
}

/// All families and members. Each has a number that stays the same until [`retain`](Self::retain).
#[derive(Debug, Default)]
pub(super) struct Families {
    list: Vec<Hashed>,
    members: Vec<Member>,
    /// The numbers of the members, sorted by the names of their families, then by their labels.
    order: Vec<u32>,
    /// The numbers of members that are not in `order` yet.
    unsorted: Vec<u32>,
    by_name: HashTable<u32>,
    by_labels: HashTable<u32>,
    utf8: Utf8Names,
    /// Each process has a random key, because clients choose names and labels.
    hasher: RandomState,
}

impl Families {
    /// Returns each family with its members, all in sorted order. Members that joined since [`sort`](Self::sort) are
    /// missing.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Family, Members<'_>)> {
        let are_of_one_family = |a: &u32, b: &u32| self.member(*a).family == self.member(*b).family;
        self.order
            .chunk_by(are_of_one_family)
            .map(|numbers| (self.family_of(numbers[0]), Members { families: self, numbers: numbers.iter() }))
    }

    pub(super) fn family(&self, number: u32) -> &Family {
        &self.list[number as usize].family
    }

    pub(super) fn family_of(&self, member: u32) -> &Family {
        self.family(self.member(member).family)
    }

    pub(super) fn family_mut(&mut self, number: u32) -> &mut Family {
        &mut self.list[number as usize].family
    }

    pub(super) fn member(&self, number: u32) -> &Member {
        &self.members[number as usize]
    }

    pub(super) fn member_mut(&mut self, number: u32) -> &mut Member {
        &mut self.members[number as usize]
    }

    /// Returns all members, in the order of their numbers.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn families_mut(&mut self) -> impl Iterator<Item = &mut Family> {
        self.list.iter_mut().map(|hashed| &mut hashed.family)
    }

    pub(super) fn members_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut()
    }

    /// Returns the number of the family with this name.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        let has_name = |number: &u32| *self.family(*number).name == *name;
        self.by_name.find(self.hasher.hash_one(name), has_name).copied()
    }

    /// Returns true if a family of this name has a member with these labels.
    pub(super) fn contains(&self, family: &str, labels: &str) -> bool {
        let Some(number) = self.find(family) else { return false };
        let has_labels = |member: &u32| {
            let member = self.member(*member);
            member.family == number && *member.labels == *labels
        };
        let hash = self.hasher.hash_one((self.list[number as usize].hash, labels));
        self.by_labels.find(hash, has_labels).is_some()
    }

    /// Returns true if a distribution has lines of this name, such as `x_count` of a summary `x`. The distribution's
    /// own name does not count.
    pub(super) fn is_line_of_distribution(&self, name: &str) -> bool {
        FamilyType::Histogram.suffixes().any(|suffix| {
            let owner = name.strip_suffix(suffix).and_then(|name| self.find(name));
            owner
                .is_some_and(|number| self.family(number).metric_type.suffixes().any(|other| other == suffix))
        })
    }

    /// Makes room for new members and families. A table that grows step by step hashes its members several times.
    pub(super) fn reserve(&mut self, members: usize, families: usize) {
        self.members.reserve(members);
        self.unsorted.reserve(members);
        self.by_labels
            .reserve(members, |&number| hash(&self.hasher, &self.list, &self.members[number as usize]));
        self.by_name.reserve(families, |&number| self.list[number as usize].hash);
        self.list.reserve(families);
    }

    /// Touches the entries of the tables that a new member needs. Called for several members before the first of them joins,
    /// it lets the CPU load their entries at the same time.
    pub(super) fn touch(&self, family: &str, labels: &str) {
        let name = self.hasher.hash_one(family);
        black_box(self.by_name.find(name, |_| false));
        black_box(self.by_labels.find(self.hasher.hash_one((name, labels)), |_| false));
    }

    /// Adds a family, whose name must be new, and returns its number.
    pub(super) fn open(&mut self, family: Family) -> u32 {
        let number = self.list.len() as u32;
        let hash = self.hasher.hash_one(&*family.name);
        self.list.push(Hashed { family, hash });
        self.by_name.insert_unique(hash, number, |&number| self.list[number as usize].hash);
        number
    }

    /// Adds a member to its family and returns its number. If the family already has a member with these labels,
    /// returns the number of that member as an error.
    pub(super) fn join(&mut self, member: Member) -> Result<u32, u32> {
        let Self { list, members, hasher, .. } = self;
        let is_twin = |&number: &u32| {
            let known = &members[number as usize];
            known.family == member.family && known.labels == member.labels
        };
        let hash_of = |&number: &u32| hash(hasher, list, &members[number as usize]);
        match self.by_labels.entry(hash(hasher, list, &member), is_twin, hash_of) {
            Entry::Occupied(twin) => Err(*twin.get()),
            Entry::Vacant(entry) => {
                let number = members.len() as u32;
                entry.insert(number);
                self.unsorted.push(number);
                members.push(member);
                Ok(number)
            }
        }
    }

    /// Gives a family a name for the pages with UTF-8 names.
    pub(super) fn set_utf8_name(&mut self, family: u32, name: String) {
        let Utf8Names { families, text, .. } = &mut self.utf8;
        *text += name.len();
        let family = family as usize;
        if families.len() <= family {
            families.resize(family + 1, None);
        }
        families[family] = Some(name.into());
    }

    /// Gives the member that joined last other labels for the pages with UTF-8 names.
    pub(super) fn set_utf8_labels(&mut self, labels: String) {
        let Some(newest) = self.members.last_mut() else { return };
        self.utf8.text += labels.len();
        self.utf8.labels.push(labels.into());
        newest.utf8_labels = NonZero::new(self.utf8.labels.len() as u32);
    }

    /// Returns the name of a family for the pages with UTF-8 names, if it differs.
    pub(super) fn utf8_name(&self, family: u32) -> Option<&str> {
        self.utf8.families.get(family as usize)?.as_deref()
    }

    /// Returns the labels of a member for the pages with UTF-8 names, if they differ.
    pub(super) fn utf8_labels(&self, member: &Member) -> Option<&str> {
        member.utf8_labels.map(|place| &*self.utf8.labels[place.get() as usize - 1])
    }

    /// Returns the memory of the names for the pages with UTF-8 names, in bytes.
    pub(super) fn utf8_bytes(&self) -> usize {
        let Utf8Names { families, labels, text } = &self.utf8;
        text + families.capacity() * size_of::<Option<Box<str>>>() + labels.capacity() * size_of::<Box<str>>()
    }

    /// Sorts the new members into the order.
    pub(super) fn sort(&mut self) {
        let mut new = mem::take(&mut self.unsorted);
        let key = |number: &u32| sort_key(&self.list, &self.members, *number);
        new.sort_by(|a, b| key(a).cmp(&key(b)));
        merge_sorted(&mut self.order, new, |a, b| key(a) < key(b));
    }

    /// Drops the members that `stays` rejects and the families without members, and renumbers all others. All members
    /// must be sorted.
    pub(super) fn retain(&mut self, stays: impl Fn(&Family, &Member) -> bool) -> Renumbering {
        let Self { list: families, members, order, by_name, by_labels, utf8, hasher, .. } = self;
        let mut has_members = vec![false; families.len()];
        let mut utf8_labels_stay = Vec::new();
        let new_members = Renumbering::retain(members, |member| {
            let family = member.family as usize;
            let stays = stays(&families[family].family, member);
            has_members[family] |= stays;
            if member.utf8_labels.is_some() {
                utf8_labels_stay.push(stays);
            }
            stays
        });
        utf8.retain(&has_members, utf8_labels_stay);
        let places = members.iter_mut().filter_map(|member| member.utf8_labels.as_mut());
        places.zip(1..).for_each(|(place, number)| *place = NonZero::new(number).unwrap_or(*place));
        let mut has_members = has_members.into_iter();
        let new_families = Renumbering::retain(families, |_| has_members.next() == Some(true));
        members.iter_mut().for_each(|member| _ = new_families.renumber(&mut member.family));
        order.retain_mut(|number| new_members.renumber(number));
        order.shrink_to(2 * order.len());
        by_labels.retain(|number| new_members.renumber(number));
        by_labels.shrink_to(2 * by_labels.len(), |&number| hash(hasher, families, &members[number as usize]));
        by_name.retain(|number| new_families.renumber(number));
        by_name.shrink_to(2 * by_name.len(), |&number| families[number as usize].hash);
        new_members
    }
}

/// Returns the key by which the page is sorted: the name of the member's family, and the member's labels.
fn sort_key<'a>(families: &'a [Hashed], members: &'a [Member], number: u32) -> (&'a str, &'a str) {
    let member = &members[number as usize];
    (&families[member.family as usize].family.name, &member.labels)
}

/// Returns the hash of a member's family and labels.
fn hash(hasher: &RandomState, families: &[Hashed], member: &Member) -> u64 {
    hasher.hash_one((families[member.family as usize].hash, &*member.labels))
}

/// The members of a family in sorted order.
#[derive(Clone)]
pub(super) struct Members<'a> {
    families: &'a Families,
    numbers: slice::Iter<'a, u32>,
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a Member;

    fn next(&mut self) -> Option<&'a Member> {
        self.numbers.next().map(|number| self.families.member(*number))
    }
}

/// The new numbers of the elements that stayed in a list, by old number.
#[derive(Debug)]
pub(super) struct Renumbering(Vec<u32>);

/// Marks the number of a dropped element. Lists are shorter than this.
const GONE: u32 = u32::MAX;

impl Renumbering {
    /// Drops the elements that `stays` rejects, and renumbers the others from 0 in their order.
    fn retain<T>(list: &mut Vec<T>, mut stays: impl FnMut(&T) -> bool) -> Self {
        let mut numbers = Vec::with_capacity(list.len());
        let mut next = 0;
        list.retain(|element| {
            let stays = stays(element);
            numbers.push(if stays { next } else { GONE });
            next += u32::from(stays);
            stays
        });
        list.shrink_to(2 * list.len());
        Self(numbers)
    }

    /// Replaces an old number by the new one. Returns false if the element is gone.
    pub(super) fn renumber(&self, number: &mut u32) -> bool {
        *number = self.0[*number as usize];
        *number != GONE
    }
}

/// Merges a sorted list into another one.
///
/// Each new element finds its position by binary search in the rest of the list. Among a million old elements, that
/// takes about twenty comparisons. The standard sort would compare all of them, although it also merges two runs.
pub(super) fn merge_sorted<T>(list: &mut Vec<T>, new: Vec<T>, is_before: impl Fn(&T, &T) -> bool) {
    if new.is_empty() {
        return;
    }
    let capacity = list.len() + new.len();
    let mut old = mem::replace(list, Vec::with_capacity(capacity)).into_iter();
    for element in new {
        let before = old.as_slice().partition_point(|old| is_before(old, &element));
        list.extend(old.by_ref().take(before));
        list.push(element);
    }
    list.extend(old);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_that_stay_are_found_by_their_new_numbers() {
        let mut list = vec!["a", "b", "c", "d"];
        let mut numbers = vec![3, 1, 0, 2];
        let renumbering = Renumbering::retain(&mut list, |element| *element != "b");
        numbers.retain_mut(|number| renumbering.renumber(number));
        assert_eq!(list, ["a", "c", "d"]);
        assert_eq!(numbers, [2, 0, 1]);
    }

    /// A million members take as many times 64 bytes. UTF-8 names have a place in the padding.
    #[test]
    fn member_takes_64_bytes() {
        assert_eq!((size_of::<Member>(), size_of::<Hashed>()), (64, 32));
    }

    proptest! {
        #[test]
        fn merged_lists_are_sorted(mut list in vec(0..50, 0..40), mut new in vec(0..50, 0..40)) {
            list.sort_unstable();
            new.sort_unstable();
            let mut expected = [list.clone(), new.clone()].concat();
            expected.sort_unstable();
            merge_sorted(&mut list, new, |a, b| a < b);
            prop_assert_eq!(list, expected);
        }
    }
}
