//! Reads typed values from TOML, and reports wrong values in the user's words.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use toml::Value;

use crate::text::advice;

/// The problem with the value of a key, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The dotted key. An item of a list is `key[0]`.
    pub(super) key: String,
    pub(super) text: String,
}

impl Problem {
    pub(super) fn new(key: &str, text: impl Into<String>) -> Self {
        Self { key: key.to_owned(), text: text.into() }
    }

    /// Returns the same problem, with the name of the section before its key.
    pub(super) fn within(self, section: &str) -> Self {
        let key = if self.key.is_empty() { section.to_owned() } else { format!("{section}.{}", self.key) };
        Self { key, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Problem {}

/// Turns each of serde's errors into a sentence for users.
impl de::Error for Problem {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new("", text.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (found, expected) = (advice::found(&unexpected), expected.to_string());
        Self::new("", format!("{found}; write {}", advice::wanted(&expected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match unexpected {
            Unexpected::Signed(number) => number.to_string(),
            Unexpected::Unsigned(number) => number.to_string(),
            other => other.to_string(),
        };
        Self::new("", format!("{found} is out of range; write {}", advice::wanted(&expected.to_string())))
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new("", advice::unknown_word(word, known))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(key, advice::unknown_key(key, known))
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new("", advice::missing_key(key))
    }
}

/// A deserializer for a TOML value. Unlike the toml crate's own, it returns [`Problem`]s.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a Value);

impl IntoDeserializer<'_, Problem> for Reader<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Value::String(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Datetime(date) => {
                Err(de::Error::invalid_type(Unexpected::Other(&format!("{date} is a date")), &visitor))
            }
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.iter().map(Reader))),
            Value::Table(table) => {
                let entries = table.iter().map(|(key, value)| (key.as_str(), Reader(value)));
                visitor.visit_map(MapDeserializer::new(entries))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    /// Refuses a section that is written as a list. serde would read the items as the values of its keys.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self.0 {
            Value::Array(_) => Err(de::Error::invalid_type(Unexpected::Seq, &"a map")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self.0 {
            Value::String(word) => visitor.visit_enum(word.as_str().into_deserializer()),
            // Only text can be one of the words. The error says what anything else is.
            other => Reader(other).deserialize_any(OneOf(words, PhantomData)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

/// A visitor that refuses every value, because it expects one of these words.
struct OneOf<T>(&'static [&'static str], PhantomData<T>);

impl<T> Visitor<'_> for OneOf<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&advice::one_of(self.0))
    }
}
