//! What is on the page: families and their members, found by name and labels, and walked in sorted order.

use std::hash::BuildHasher;
use std::mem;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::merge::merge;
use super::renumbering::Renumbering;
use crate::model::{Exposition, Kind, NativeHistogram, Policy, PolicyId};

/// The type of a family, as Prometheus has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Counter,
    Gauge,
    Summary,
    Histogram,
}

impl Shape {
    /// Of series of a kind, where distributions are shown in this form.
    pub(super) fn of(kind: Kind, form: Exposition) -> Self {
        match (kind, form) {
            (Kind::Counter, _) => Shape::Counter,
            (Kind::Gauge | Kind::Set, _) => Shape::Gauge,
            (_, Exposition::Summary) => Shape::Summary,
            (_, Exposition::Histogram | Exposition::Native) => Shape::Histogram,
        }
    }

    /// What stands behind the family's name on its lines; the name itself aside.
    pub(super) fn suffixes(self) -> &'static [&'static str] {
        match self {
            Shape::Counter | Shape::Gauge => &[],
            Shape::Summary => &["_sum", "_count"],
            Shape::Histogram => &["_sum", "_count", "_bucket"],
        }
    }

    pub(super) fn is_distribution(self) -> bool {
        !self.suffixes().is_empty()
    }
}

/// What all members of a family have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nature {
    shape: Shape,
    /// Whether they have exponential buckets: Prometheus 2.42 looks at the first member alone to see whether all have.
    is_native: bool,
}

impl Nature {
    /// Of series of a kind that have a policy.
    pub(super) fn of(kind: Kind, policy: &Policy) -> Self {
        let shape = Shape::of(kind, policy.exposition);
        Self { shape, is_native: shape == Shape::Histogram && policy.statistics.native.is_some() }
    }

    pub(super) fn is_distribution(self) -> bool {
        self.shape.is_distribution()
    }
}

/// One metric of the page.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: Box<str>,
    pub(super) shape: Shape,
    pub(super) kind: Kind,
    /// Of its first member; what is told of the family.
    pub(super) policy: PolicyId,
    /// Whether it gave way to a line of a distribution, and is about to leave the page.
    pub(super) gave_way: bool,
    /// Whether it is about to begin anew, in the way in which newer rules want it shown.
    pub(super) is_outdated: bool,
}

/// One series of the page.
#[derive(Debug)]
pub(super) struct Member {
    /// As text between braces.
    pub(super) labels: Box<str>,
    /// The number of its family.
    pub(super) family: u32,
    pub(super) kind: Kind,
    pub(super) policy: PolicyId,
    pub(super) total: Total,
    /// When a snapshot last had it, on the clock of [`Totals`](super::Totals).
    pub(super) seen: u64,
    /// When the interval began that had it first, in seconds since 1970.
    pub(super) began: f64,
}

/// What a series of the page came to since it began.
#[derive(Debug)]
pub(super) enum Total {
    Counter(f64),
    Gauge(f64),
    /// On the heap, since most series need no more than a number.
    Distribution(Box<Distribution>),
}

/// What a timing, histogram or distribution came to.
#[derive(Debug, Default)]
pub(super) struct Distribution {
    pub(super) count: f64,
    pub(super) sum: f64,
    /// Percentiles of the latest interval, none if it had no samples; shown of a summary.
    pub(super) quantiles: Vec<f64>,
    /// Weights up to each bound, of which a summary has none.
    pub(super) buckets: Box<[f64]>,
    /// Weights in exponential buckets, if they are wanted.
    pub(super) native: Option<Box<NativeHistogram>>,
}

/// All families and members. Each has a number below 2^32 until [`retain`](Self::retain) numbers them anew.
#[derive(Debug, Default)]
pub(super) struct Page {
    families: Vec<Family>,
    members: Vec<Member>,
    /// The members' numbers, sorted by their families' names, then by their labels.
    order: Vec<u32>,
    /// Numbers of members that are not in `order` yet.
    new: Vec<u32>,
    by_name: HashTable<u32>,
    by_labels: HashTable<u32>,
    /// Keyed afresh for each process, since clients choose names and labels.
    hasher: RandomState,
}

impl Page {
    /// In sorted order, each with its members in sorted order; without those that are new since [`settle`](Self::settle).
    pub(super) fn families(&self) -> impl Iterator<Item = (&Family, impl Iterator<Item = &Member> + Clone)> {
        let are_of_one_family = |a: &u32, b: &u32| self.member(*a).family == self.member(*b).family;
        self.order
            .chunk_by(are_of_one_family)
            .map(|members| (self.family_of(members[0]), members.iter().map(|number| self.member(*number))))
    }

    pub(super) fn family(&self, number: u32) -> &Family {
        &self.families[number as usize]
    }

    pub(super) fn family_of(&self, member: u32) -> &Family {
        self.family(self.member(member).family)
    }

    pub(super) fn family_mut(&mut self, number: u32) -> &mut Family {
        &mut self.families[number as usize]
    }

    pub(super) fn member(&self, number: u32) -> &Member {
        &self.members[number as usize]
    }

    pub(super) fn member_mut(&mut self, number: u32) -> &mut Member {
        &mut self.members[number as usize]
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        let is_it = |number: &u32| *self.family(*number).name == *name;
        self.by_name.find(self.hasher.hash_one(name), is_it).copied()
    }

    /// Adds a family, whose name is not there yet; its number.
    pub(super) fn open(&mut self, family: Family) -> u32 {
        let number = self.families.len() as u32;
        self.families.push(family);
        let hash = |number: &u32| self.hasher.hash_one(&*self.families[*number as usize].name);
        self.by_name.insert_unique(hash(&number), number, hash);
        number
    }

    /// Adds a member; its number, or as an error the number of the one that has its labels already.
    pub(super) fn join(&mut self, member: Member) -> Result<u32, u32> {
        let number = self.members.len() as u32;
        self.members.push(member);
        let place = |number: &u32| place(&self.families, &self.members, *number);
        let hash = |number: &u32| self.hasher.hash_one(place(number));
        match self.by_labels.entry(hash(&number), |known| place(known) == place(&number), hash) {
            Entry::Occupied(twin) => {
                self.members.pop();
                Err(*twin.get())
            }
            Entry::Vacant(entry) => {
                entry.insert(number);
                self.new.push(number);
                Ok(number)
            }
        }
    }

    /// Gives new members their places in the order.
    pub(super) fn settle(&mut self) {
        let mut new = mem::take(&mut self.new);
        let place = |number: &u32| place(&self.families, &self.members, *number);
        new.sort_by(|a, b| place(a).cmp(&place(b)));
        merge(&mut self.order, new, |a, b| place(a) < place(b));
    }

    /// Drops the members that do not stay, and families without any, and numbers the others anew. All are settled.
    pub(super) fn retain(&mut self, stays: impl Fn(&Family, &Member) -> bool) -> Renumbering {
        let Self { families, members, order, by_name, by_labels, .. } = self;
        let mut has_members = vec![false; families.len()];
        let new_members = Renumbering::retain(members, |member| {
            let family = member.family as usize;
            let stays = stays(&families[family], member);
            has_members[family] |= stays;
            stays
        });
        let mut has_members = has_members.into_iter();
        let new_families = Renumbering::retain(families, |_| has_members.next() == Some(true));
        members.iter_mut().for_each(|member| _ = new_families.renumber(&mut member.family));
        order.retain_mut(|number| new_members.renumber(number));
        order.shrink_to(2 * order.len());
        by_labels.retain(|number| new_members.renumber(number));
        by_labels
            .shrink_to(2 * by_labels.len(), |number| self.hasher.hash_one(place(families, members, *number)));
        by_name.retain(|number| new_families.renumber(number));
        by_name
            .shrink_to(2 * by_name.len(), |number| self.hasher.hash_one(&*families[*number as usize].name));
        new_members
    }
}

/// What decides where a member stands on the page: the name of its family, and its labels.
fn place<'a>(families: &'a [Family], members: &'a [Member], number: u32) -> (&'a str, &'a str) {
    let member = &members[number as usize];
    (&families[member.family as usize].name, &member.labels)
}
