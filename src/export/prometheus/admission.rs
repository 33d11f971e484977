//! Decides which new series may be on the page. The page stays valid: a family has one type, no two families have lines
//! of the same name, and reserved names keep their meaning.

use super::families::Families;
use super::family_type::FamilyType;
use super::names::ReservedNames;
use crate::export::outcome::QuarantineReason;
use crate::model::Series;

/// The family of an admitted series.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The family is already on the page and has this number.
    Known(u32),
    /// The family is new. The families with these numbers give way to its lines.
    New { gives_way: Vec<u32> },
}

/// Decides whether a new series may be on the page, in the family of this name and type.
pub(super) fn admit(
    families: &Families,
    reserved: &ReservedNames,
    series: &Series,
    name: &str,
    family_type: FamilyType,
) -> Result<Admission, QuarantineReason> {
    if reserved.forbids(name, series) {
        return Err(QuarantineReason::ReservedName);
    }
    let known = families.find(name).map(|number| (number, families.family(number)));
    match known.filter(|(_, family)| family.leaving != Some(QuarantineReason::NameTaken)) {
        Some((number, family)) if family.metric_type == family_type && family.leaving.is_none() => {
            Ok(Admission::Known(number))
        }
        Some(_) => Err(QuarantineReason::TypeConflict),
        None => Ok(Admission::New { gives_way: claim(families, name, family_type)? }),
    }
}

/// Claims the names of all lines of a new family, and returns the families that give way. A distribution keeps its
/// names. A counter or gauge gives way if a distribution needs its name, such as `x_count`.
fn claim(families: &Families, name: &str, family_type: FamilyType) -> Result<Vec<u32>, QuarantineReason> {
    if families.is_line_of_distribution(name) {
        return Err(QuarantineReason::NameTaken);
    }
    let mut gives_way = Vec::new();
    for suffix in family_type.suffixes() {
        let line = format!("{name}{suffix}");
        let holder = families.find(&line);
        let is_distribution = |number| families.family(number).metric_type.is_distribution();
        if families.is_line_of_distribution(&line) || holder.is_some_and(is_distribution) {
            return Err(QuarantineReason::NameTaken);
        }
        gives_way.extend(holder);
    }
    Ok(gives_way)
}

#[cfg(test)]
mod tests {
    use super::super::families::Family;
    use super::*;
    use crate::model::{HeldPolicy, Kind, PolicyId};

    fn families(present: &[(&str, FamilyType)]) -> Families {
        let mut families = Families::default();
        for (name, family_type) in present {
            families.open(Family {
                name: (*name).into(),
                metric_type: *family_type,
                kind: Kind::Gauge,
                policy: HeldPolicy::assigned(PolicyId::default()),
                leaving: None,
            });
        }
        families
    }

    #[test]
    fn admission_depends_on_the_families_that_have_the_names() {
        use Admission::{Known, New};
        use FamilyType::{Counter, Gauge, Histogram, NativeHistogram, Summary};
        use QuarantineReason::{NameTaken, ReservedName, TypeConflict};
        let new = || Ok(New { gives_way: Vec::new() });
        let present = families(&[("c", Counter), ("s", Summary), ("x_count", Gauge), ("h", Histogram)]);
        let cases = [
            ("new", Gauge, new()),
            ("c", Counter, Ok(Known(0))),
            ("c", Gauge, Err(TypeConflict)),
            ("h", NativeHistogram, Err(TypeConflict)),
            ("s_sum", Counter, Err(NameTaken)),
            ("h_bucket", Gauge, Err(NameTaken)),
            // A summary has no buckets.
            ("s_bucket", Gauge, new()),
            // A gauge needs no name except its own, so `x_count` stays.
            ("x", Gauge, new()),
            ("x", Summary, Ok(New { gives_way: vec![2] })),
            ("up", Gauge, Err(ReservedName)),
        ];
        for (name, family_type, expected) in cases {
            let series = Series::new(Kind::Gauge, name, &[]);
            let admission = admit(&present, &ReservedNames::default(), &series, name, family_type);
            assert_eq!(admission, expected, "{name} {family_type:?}");
        }
    }

    #[test]
    fn family_that_leaves_admits_no_series() {
        let mut present = families(&[("x_count", FamilyType::Gauge), ("y", FamilyType::Summary)]);
        present.family_mut(0).leaving = Some(QuarantineReason::NameTaken);
        present.family_mut(1).leaving = Some(QuarantineReason::TypeConflict);
        let admit = |name, family_type| {
            let series = Series::new(Kind::Histogram, name, &[]);
            super::admit(&present, &ReservedNames::default(), &series, name, family_type)
        };
        assert_eq!(admit("x_count", FamilyType::Gauge), Ok(Admission::New { gives_way: Vec::new() }));
        assert_eq!(admit("y", FamilyType::Summary), Err(QuarantineReason::TypeConflict));
    }

    #[test]
    fn distribution_does_not_take_a_name_from_another_distribution() {
        let present = families(&[("x_count", FamilyType::Summary), ("y", FamilyType::Summary)]);
        // The lines of `x` would collide with the family `x_count`. The family `y_count` would collide with a line of
        // `y`.
        for name in ["x", "y_count"] {
            let series = Series::new(Kind::Histogram, name, &[]);
            let admission = admit(&present, &ReservedNames::default(), &series, name, FamilyType::Summary);
            assert_eq!(admission, Err(QuarantineReason::NameTaken), "{name}");
        }
    }
}
