//! Which series the samples of a line belong to.

use super::shard::RESERVED_PREFIX;
use super::tally::Refusal;
use crate::mapping::{Action, Mapped, Mapping};
use crate::protocol::{Kind, Metric};
use crate::series::IdentityBuilder;

/// What the rules make of samples of this kind.
pub(crate) fn map<'a>(mapping: &'a Mapping, kind: Kind, metric: &Metric<'_>) -> Option<Mapped<'a>> {
    if mapping.is_empty() { None } else { mapping.apply(&metric.name().to_string(), kind) }
}

/// Builds the identity of the series of samples of this kind, by the rule for them if there is one. What the rule
/// multiplies values by.
pub(crate) fn identify(
    identities: &mut IdentityBuilder,
    mapped: Option<&Mapped<'_>>,
    kind: Kind,
    metric: &Metric<'_>,
) -> Result<f64, Refusal> {
    let Some(mapped) = mapped else {
        identities.build(kind, metric);
        return Ok(1.0);
    };
    if mapped.rule.text.action == Action::Drop {
        return Err(Refusal::Dropped);
    }
    if mapped.name.is_empty() {
        return Err(Refusal::EmptyName);
    }
    if mapped.name.starts_with(RESERVED_PREFIX) {
        return Err(Refusal::ReservedName);
    }
    identities.build_mapped(kind, metric, mapped);
    // A set's members are no numbers.
    Ok(if kind == Kind::Set { 1.0 } else { mapped.rule.scale })
}
