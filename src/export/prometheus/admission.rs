//! Decides which new series may be on the page. The page stays valid: a family has one type, no two families have lines
//! of the same name, and reserved names keep their meaning.

use super::families::Families;
use super::family_type::FamilyType;
use super::names::ReservedNames;
use crate::export::outcome::QuarantineReason;
use crate::model::Series;

/// The family of an admitted series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// The family is already on the page and has this number.
    Known(u32),
    /// The family is new.
    New,
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
    match known {
        Some((number, family)) if family.metric_type == family_type && !family.is_leaving => {
            Ok(Admission::Known(number))
        }
        Some(_) => Err(QuarantineReason::TypeConflict),
        None if is_taken(families, name, family_type) => Err(QuarantineReason::NameTaken),
        None => Ok(Admission::New),
    }
}

/// Returns true if another family has the name of a line that the new family would have. The family that came first
/// keeps its names: a stray histogram `x` does not take `x_count` from a gauge.
fn is_taken(families: &Families, name: &str, family_type: FamilyType) -> bool {
    let is_taken = |line: &str| families.find(line).is_some() || families.is_line_of_distribution(line);
    families.is_line_of_distribution(name)
        || family_type.suffixes().any(|suffix| is_taken(&format!("{name}{suffix}")))
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
                is_leaving: false,
            });
        }
        families
    }

    #[test]
    fn admission_depends_on_the_families_that_have_the_names() {
        use Admission::{Known, New};
        use FamilyType::{Counter, Gauge, Histogram, NativeHistogram, Summary};
        use QuarantineReason::{NameTaken, ReservedName, TypeConflict};
        let present = families(&[("c", Counter), ("s", Summary), ("x_count", Gauge), ("h", Histogram)]);
        let cases = [
            ("new", Gauge, Ok(New)),
            ("c", Counter, Ok(Known(0))),
            ("c", Gauge, Err(TypeConflict)),
            ("h", NativeHistogram, Err(TypeConflict)),
            ("s_sum", Counter, Err(NameTaken)),
            ("h_bucket", Gauge, Err(NameTaken)),
            // A summary has no buckets.
            ("s_bucket", Gauge, Ok(New)),
            // A gauge needs no name except its own, so `x_count` stays.
            ("x", Gauge, Ok(New)),
            // The gauge came first.
            ("x", Summary, Err(NameTaken)),
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
        let mut present = families(&[("y", FamilyType::Summary)]);
        present.family_mut(0).is_leaving = true;
        let series = Series::new(Kind::Histogram, "y", &[]);
        let admission = admit(&present, &ReservedNames::default(), &series, "y", FamilyType::Summary);
        assert_eq!(admission, Err(QuarantineReason::TypeConflict));
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
