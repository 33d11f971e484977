//! Values that are written as text: durations, sizes, addresses and file modes.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::Policy;

/// A value that the configuration writes as text in quotes.
pub(super) trait Written: Sized {
    /// The name of the type with an article, for error messages.
    const NAME: &'static str;
    /// An example of the text, for error messages.
    const EXAMPLE: &'static str;

    /// Reads a value from text. Returns `None` if the text is invalid.
    fn read(text: &str) -> Option<Self>;
}

/// Declares [`Written`] types. Each has a name, an example, a function that reads text, and a function that shows a
/// value. `Debug` shows the text in quotes, as in the file.
macro_rules! written {
    ($($(#[doc = $doc:literal])* $type:ident($inner:ty): $name:literal, $example:literal, $read:expr, $show:expr;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(in crate::app) struct $type($inner);

        impl $type {
            pub(in crate::app) fn get(self) -> $inner {
                self.0
            }
        }

        impl Written for $type {
            const NAME: &'static str = $name;
            const EXAMPLE: &'static str = $example;

            fn read(text: &str) -> Option<Self> {
                let read: fn(&str) -> Option<$inner> = $read;
                read(text).map(Self)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let show: fn($inner) -> String = $show;
                write!(f, "\"{}\"", show(self.0))
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(WrittenVisitor(PhantomData))
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                written_schema::<Self>()
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let show: fn($inner) -> String = $show;
                serializer.serialize_str(&show(self.0))
            }
        }
    )*};
}

written! {
    /// A duration, written `"250ms"`, `"10s"` or `"1h 30m"`.
    HumanDuration(Duration): "a duration", r#""10s""#,
        |text| humantime::parse_duration(text).ok(),
        |duration| humantime::format_duration(duration).to_string();
    /// A duration, or `"never"`.
    Lifetime(Duration): "a duration or \"never\"", r#""1h" or "never""#,
        |text| if text == "never" { Some(Policy::NEVER) } else { humantime::parse_duration(text).ok() },
        |lifetime| match lifetime {
            Policy::NEVER => "never".to_owned(),
            duration => humantime::format_duration(duration).to_string(),
        };
    /// A number of bytes, written `"4KiB"`, `"8MiB"` or `"1500B"`.
    Size(usize): "a size", r#""8MiB""#,
        |text| text.parse::<ByteSize>().ok().and_then(|size| usize::try_from(size.as_u64()).ok()),
        show_size;
    /// An address to listen on.
    Address(SocketAddr): "an IP address with a port",
        r#""127.0.0.1:8125" or "[::]:8125"; host names are not looked up"#,
        |text| text.parse().ok(), |address| address.to_string();
    /// An IP address to listen on. Its port has a key of its own.
    Host(IpAddr): "an IP address", r#""127.0.0.1" or "::1"; host names are not looked up"#,
        |text| text.parse().ok(), |address| address.to_string();
    /// A network, or a single IP address.
    Network(IpNet): "a network", r#""10.0.0.0/8", "2001:db8::/32" or "192.0.2.7""#,
        read_network,
        |network| if network.prefix_len() == network.max_prefix_len() {
            network.addr().to_string()
        } else {
            network.to_string()
        };
    /// The mode of a file, written in octal: `"0660"`.
    FileMode(u32): "a mode in octal", r#""0660""#,
        |text| u32::from_str_radix(text, 8).ok(),
        |bits| format!("{bits:04o}");
}

/// Returns the schema of a value that is written as text.
fn written_schema<T: Written>() -> Schema {
    json_schema!({"type": "string", "description": format!("{}, such as {}", T::NAME, T::EXAMPLE)})
}

/// Reads a network. Refuses bits beyond the prefix, because `10.0.0.1/8` may be meant as one address or as a network.
fn read_network(text: &str) -> Option<IpNet> {
    let network = text.parse().or_else(|_| text.parse().map(|address: IpAddr| address.into())).ok()?;
    (IpNet::trunc(&network) == network).then_some(network)
}

/// Addresses to listen on, written as one address or as a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) struct Addresses(Vec<Address>);

impl Addresses {
    pub(in crate::app) fn get(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|address| address.get()).collect()
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AddressesVisitor)
    }
}

impl JsonSchema for Addresses {
    fn schema_name() -> Cow<'static, str> {
        "Addresses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let address = written_schema::<Address>();
        json_schema!({"anyOf": [address, {"type": "array", "items": address}]})
    }
}

/// One address is written as text, so that the output of `tallyd check` looks like the usual input.
impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [address] => address.serialize(serializer),
            addresses => addresses.serialize(serializer),
        }
    }
}

struct AddressesVisitor;

impl<'de> Visitor<'de> for AddressesVisitor {
    type Value = Addresses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in quotes, such as {}, or a list of them", Address::NAME, Address::EXAMPLE)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Addresses, E> {
        WrittenVisitor(PhantomData).visit_str(text).map(|address| Addresses(vec![address]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Addresses, A::Error> {
        let mut addresses = Vec::new();
        while let Some(address) = items.next_element()? {
            addresses.push(address);
        }
        Ok(Addresses(addresses))
    }
}

/// Shows a size in the largest unit that divides it.
fn show_size(bytes: usize) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let whole = units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or((1, "B"));
    format!("{}{name}", bytes / unit)
}

struct WrittenVisitor<T>(PhantomData<T>);

impl<T: Written> Visitor<'_> for WrittenVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in quotes, such as {}", T::NAME, T::EXAMPLE)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let refuse = || {
            de::Error::custom(format_args!("{text:?} is not {}; write one such as {}", T::NAME, T::EXAMPLE))
        };
        T::read(text).ok_or_else(refuse)
    }
}
