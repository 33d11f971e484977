//! Reads the owner of a socket file, and looks up the user and the group.

use std::borrow::Cow;
use std::fmt;

use nix::unistd::{Group, User};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, de};

/// A user, a group, both or neither, as names or numbers: `"statsd"`, `":adm"`, `"0:0"`, `""`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Owner {
    user: Option<String>,
    group: Option<String>,
}

impl Owner {
    /// Returns an owner whose [`numbers`](Self::numbers) need no lookup.
    pub(super) fn from_numbers(user: Option<u32>, group: Option<u32>) -> Self {
        let [user, group] = [user, group].map(|number| number.map(|number| number.to_string()));
        Self { user, group }
    }

    /// Returns the numbers of the user and the group.
    ///
    /// # Errors
    ///
    /// Fails if this machine does not know a name, or cannot look it up.
    pub(super) fn numbers(&self) -> Result<(Option<u32>, Option<u32>), String> {
        let user = self
            .user
            .as_deref()
            .map(|name| number("user", name, || Ok(User::from_name(name)?.map(|user| user.uid.as_raw()))));
        let group = self.group.as_deref().map(|name| {
            number("group", name, || Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())))
        });
        Ok((user.transpose()?, group.transpose()?))
    }
}

fn number(kind: &str, name: &str, find: impl FnOnce() -> nix::Result<Option<u32>>) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match find() {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(format!("this machine has no {kind} {name:?}; create it, or name another owner")),
        Err(error) => Err(format!("the {kind} {name:?} cannot be looked up: {error}")),
    }
}

impl TryFrom<String> for Owner {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_name = |name: &str| !name.is_empty() && !name.contains([':', ' ']);
        let (user, group) = match text.split_once(':') {
            None if text.is_empty() => return Ok(Self::default()),
            None => (Some(text.as_str()), None),
            Some(("", group)) => (None, Some(group)),
            Some((user, group)) => (Some(user), Some(group)),
        };
        if !user.into_iter().chain(group).all(is_name) {
            return Err(format!(
                "{text:?} is not an owner; write \"user\", \"user:group\" or \":group\", or \"\" for tallyd's own"
            ));
        }
        Ok(Self { user: user.map(str::to_owned), group: group.map(str::to_owned) })
    }
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(OwnerVisitor)
    }
}

impl JsonSchema for Owner {
    fn schema_name() -> Cow<'static, str> {
        "Owner".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

struct OwnerVisitor;

impl de::Visitor<'_> for OwnerVisitor {
    type Value = Owner;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an owner in quotes, such as \"user\", \"user:group\" or \"0:0\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Owner, E> {
        Owner::try_from(text.to_owned()).map_err(E::custom)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.user.as_deref().unwrap_or_default())?;
        self.group.as_deref().map_or(Ok(()), |group| write!(f, ":{group}"))
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_and_written_back_unchanged() {
        let cases = [
            ("", (None, None)),
            ("root", (Some(0), None)),
            ("root:root", (Some(0), Some(0))),
            (":root", (None, Some(0))),
            ("12:34", (Some(12), Some(34))),
        ];
        for (text, numbers) in cases {
            let owner = Owner::try_from(text.to_owned()).unwrap();
            assert_eq!(owner.numbers(), Ok(numbers), "{text}");
            assert_eq!(owner.to_string(), text);
            assert_eq!(Owner::from_numbers(numbers.0, numbers.1).numbers(), Ok(numbers));
        }
    }

    #[test]
    fn malformed_owners_and_unknown_users_are_refused() {
        for text in [":", "a:", "a:b:c", "a b"] {
            assert!(Owner::try_from(text.to_owned()).is_err(), "{text}");
        }
        let unknown = Owner::try_from("no-such-user".to_owned()).unwrap();
        assert!(unknown.numbers().unwrap_err().contains("no user \"no-such-user\""));
    }
}
