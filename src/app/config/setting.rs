//! Declares each key in one line of [`sections!`]: its field, its type, its bounds, and whether a reload changes it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use super::read::Problem;
use super::values::Written;

/// A section, or the value of a key.
pub(super) trait Setting: PartialEq {
    /// Refuses the first value that is out of bounds.
    fn check(&self) -> Result<(), Problem> {
        Ok(())
    }

    /// Appends the keys whose values differ from those of `other`. `key` is the key of this setting, and `at_reload`
    /// says whether a reload changes it.
    fn push_changed_keys(&self, other: &Self, key: &str, at_reload: bool, changed: &mut ChangedKeys) {
        if self != other {
            let keys = if at_reload { &mut changed.at_reload } else { &mut changed.at_restart };
            keys.push(key.to_owned());
        }
    }

    /// Appends each key below `key` that has bounds, with the bounds as `config.toml` writes them.
    #[cfg(test)]
    fn push_bounds(_key: &str, _bounds: &mut Vec<(String, Vec<String>)>) {}
}

/// The keys whose values differ between two configurations, in the order of `config.toml`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::app) struct ChangedKeys {
    /// The keys that take effect at a reload.
    pub(in crate::app) at_reload: Vec<String>,
    /// The keys that take effect only after a restart.
    pub(in crate::app) at_restart: Vec<String>,
}

/// A check of a value: a range, a function, or a function with limits. It can be alone or in a pair with a reason.
pub(super) trait Check<T> {
    /// Returns the reason if the check refuses the value.
    fn check(&self, value: &T) -> Result<(), String>;

    /// Returns the bounds as `config.toml` writes them.
    #[cfg(test)]
    fn bounds(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<T: PartialOrd + fmt::Debug> Check<T> for RangeInclusive<T> {
    fn check(&self, value: &T) -> Result<(), String> {
        if self.contains(value) {
            Ok(())
        } else {
            Err(format!("{value:?} is not between {:?} and {:?}", self.start(), self.end()))
        }
    }

    #[cfg(test)]
    fn bounds(&self) -> Vec<String> {
        [self.start(), self.end()].map(|bound| format!("{bound:?}")).into()
    }
}

/// A range of values that are written as text. Its bounds are text, too, such as `"1h"`.
impl<T: Written + PartialOrd + fmt::Debug> Check<T> for RangeInclusive<&str> {
    fn check(&self, value: &T) -> Result<(), String> {
        read_bounds::<T>(self).check(value)
    }

    #[cfg(test)]
    fn bounds(&self) -> Vec<String> {
        read_bounds::<T>(self).bounds()
    }
}

fn read_bounds<T: Written>(bounds: &RangeInclusive<&str>) -> RangeInclusive<T> {
    let read = |bound| T::read(bound).expect("each bound is a constant that every check reads");
    read(bounds.start())..=read(bounds.end())
}

impl<T, C: Check<T>> Check<T> for (C, &str) {
    fn check(&self, value: &T) -> Result<(), String> {
        let (check, reason) = self;
        check.check(value).map_err(|problem| format!("{problem}; {reason}"))
    }

    #[cfg(test)]
    fn bounds(&self) -> Vec<String> {
        self.0.bounds()
    }
}

impl<T, F: Fn(&T) -> Result<(), String>> Check<T> for F {
    fn check(&self, value: &T) -> Result<(), String> {
        self(value)
    }
}

/// A function that checks a value against limits, such as the greatest length of a list.
pub(super) struct Limited<F, L, const N: usize>(pub(super) F, pub(super) [L; N]);

impl<T, L: Copy + fmt::Display, const N: usize, F> Check<T> for Limited<F, L, N>
where
    F: Fn(&T, [L; N]) -> Result<(), String>,
{
    fn check(&self, value: &T) -> Result<(), String> {
        (self.0)(value, self.1)
    }

    #[cfg(test)]
    fn bounds(&self) -> Vec<String> {
        self.1.map(|limit| limit.to_string()).into()
    }
}

/// Declares sections. Each line is a key: `name: Type, bounds;`. `#[reload]` marks a key or a section that takes effect
/// at a reload of the configuration. All others wait for a restart.
macro_rules! sections {
    ($($(#[doc = $doc:literal])* $vis:vis $section:ident {
        $($(#[$reload:ident])? $key:ident: $type:ty $(, $check:expr)?;)*
    })*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[allow(clippy::struct_excessive_bools, reason = "each switch is a key")]
        $vis struct $section { $(pub(in crate::app) $key: $type,)* }

        impl Setting for $section {
            fn check(&self) -> Result<(), Problem> {
                $(
                    $(
                        let outcome: Result<(), String> = Check::<$type>::check(&$check, &self.$key);
                        outcome.map_err(|problem| Problem::new(stringify!($key), problem))?;
                    )?
                    Setting::check(&self.$key).map_err(|problem| problem.within(stringify!($key)))?;
                )*
                Ok(())
            }

            fn push_changed_keys(&self, other: &Self, key: &str, at_reload: bool, changed: &mut ChangedKeys) {
                $(
                    let at_reload_too = at_reload || [$(stringify!($reload))?].contains(&"reload");
                    let key_of_field = $crate::app::config::setting::join(key, stringify!($key));
                    self.$key.push_changed_keys(&other.$key, &key_of_field, at_reload_too, changed);
                )*
            }

            #[cfg(test)]
            fn push_bounds(key: &str, bounds: &mut Vec<(String, Vec<String>)>) {
                $(
                    let key_of_field = $crate::app::config::setting::join(key, stringify!($key));
                    $(
                        let own = Check::<$type>::bounds(&$check);
                        if !own.is_empty() {
                            bounds.push((key_of_field.clone(), own));
                        }
                    )?
                    <$type as Setting>::push_bounds(&key_of_field, bounds);
                )*
            }
        }
    )*};
}
pub(super) use sections;

/// Joins the key of a section and a key in it with a dot.
pub(super) fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// Declares types of values that have no bounds of their own.
macro_rules! values {
    ($($type:ty),* $(,)?) => { $(impl Setting for $type {})* };
}
pub(super) use values;

impl<T: PartialEq> Setting for Vec<T> {}

impl<K: Ord, T: PartialEq> Setting for BTreeMap<K, T> {}
