//! Sorted lists that grow.

use std::mem;

/// Puts sorted things into a sorted list.
///
/// Each finds its place by halving what is left of the list: of a million old ones some twenty are looked at, where the
/// standard sort, which merges two runs as well, would look at all of them.
pub(super) fn merge<T>(list: &mut Vec<T>, new: Vec<T>, is_before: impl Fn(&T, &T) -> bool) {
    if new.is_empty() {
        return;
    }
    let room = list.len() + new.len();
    let mut old = mem::replace(list, Vec::with_capacity(room)).into_iter();
    for thing in new {
        let before = old.as_slice().partition_point(|old| is_before(old, &thing));
        list.extend(old.by_ref().take(before));
        list.push(thing);
    }
    list.extend(old);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_merged_is_sorted(mut list in vec(0..50, 0..40), mut new in vec(0..50, 0..40)) {
            list.sort_unstable();
            new.sort_unstable();
            let mut expected = [list.clone(), new.clone()].concat();
            expected.sort_unstable();
            merge(&mut list, new, |a, b| a < b);
            prop_assert_eq!(list, expected);
        }
    }
}
