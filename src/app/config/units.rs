//! Durations, sizes and modes of files as people write them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration, written `"250ms"`, `"10s"` or `"1h 30m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(Duration);

impl HumanDuration {
    /// The duration.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let duration = humantime::parse_duration(&text);
        duration
            .map(Self)
            .map_err(|error| de::Error::custom(format!("{text:?} is no duration such as \"10s\": {error}")))
    }
}

/// A number of bytes, written `"4KiB"`, `"8MiB"` or `"1500B"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(ByteSize);

impl Size {
    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::try_from(self.0.as_u64()).unwrap_or(usize::MAX)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.bytes();
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let whole = units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
        let (unit, name) = whole.unwrap_or((1, "B"));
        serializer.collect_str(&format_args!("{}{name}", bytes / unit))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let size = text.parse();
        size.map(Self)
            .map_err(|error| de::Error::custom(format!("{text:?} is no size such as \"8MiB\": {error}")))
    }
}

/// An address to listen on, written `"127.0.0.1:8125"` or `"[::]:8125"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Address(SocketAddr);

impl Address {
    /// The address.
    #[must_use]
    pub fn get(self) -> SocketAddr {
        self.0
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| {
            de::Error::custom(format!(
                "{text:?} is no IP address with a port such as \"127.0.0.1:8125\" or \"[::]:8125\"; names are not looked up"
            ))
        })
    }
}

/// An IP address to listen on at some port, written `"127.0.0.1"` or `"::"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Host(IpAddr);

impl Host {
    /// The address.
    #[must_use]
    pub fn get(self) -> IpAddr {
        self.0
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| {
            de::Error::custom(format!(
                "{text:?} is no IP address such as \"127.0.0.1\" or \"::1\"; names are not looked up"
            ))
        })
    }
}

/// The mode of a file, written in octal: `"0660"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// Its bits, at most `0o777`.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match u32::from_str_radix(&text, 8) {
            Ok(bits) if bits <= 0o777 => Ok(Self(bits)),
            _ => Err(de::Error::custom(format!("{text:?} is no mode such as \"0660\", in octal"))),
        }
    }
}
