//! Lists whose things are known by number, and what becomes of the numbers when some go.

/// The new numbers of what stayed in a list, by old number.
#[derive(Debug)]
pub(super) struct Renumbering(Vec<u32>);

/// In place of a new number. Lists are shorter.
const GONE: u32 = u32::MAX;

impl Renumbering {
    /// Drops what does not stay. The others move up, and have the numbers from 0 in their order.
    pub(super) fn retain<T>(list: &mut Vec<T>, mut stays: impl FnMut(&T) -> bool) -> Self {
        let mut numbers = Vec::with_capacity(list.len());
        let mut next = 0;
        list.retain(|thing| {
            let stays = stays(thing);
            numbers.push(if stays { next } else { GONE });
            next += u32::from(stays);
            stays
        });
        list.shrink_to(2 * list.len());
        Self(numbers)
    }

    /// Puts the new number in place of the old one; whether there is one.
    pub(super) fn renumber(&self, number: &mut u32) -> bool {
        *number = self.0[*number as usize];
        *number != GONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_moves_up_and_is_found_by_its_new_number() {
        let mut list = vec!["a", "b", "c", "d"];
        let mut numbers = vec![3, 1, 0, 2];
        let renumbering = Renumbering::retain(&mut list, |thing| *thing != "b");
        numbers.retain_mut(|number| renumbering.renumber(number));
        assert_eq!(list, ["a", "c", "d"]);
        assert_eq!(numbers, [2, 0, 1]);
    }
}
