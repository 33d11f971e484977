//! Counts the UDP errors of the whole machine, which the kernel does not count by socket.

use std::fs;

use enum_map::{Enum, EnumMap};
use strum::VariantArray;

use crate::model::{FetchedCounter, Named, Source, Telemetry};

/// The reason why the kernel dropped a datagram. Each drop has exactly one. Telemetry shows the names, so they are an
/// interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum UdpError {
    /// The receive buffer of a socket was full.
    ReceiveBuffer,
    /// The checksum was wrong.
    Checksum,
    /// The memory for UDP was exhausted (`net.ipv4.udp_mem`).
    Memory,
    /// Something else, such as a socket filter.
    Other,
}

/// The totals of each error since the machine started. A column that this kernel lacks is `None`.
type Totals = EnumMap<UdpError, Option<u64>>;

/// The error counters of one IP version.
#[derive(Debug)]
struct MachineErrors {
    /// The file with the kernel's counters. The path works in a sandbox that shows only processes in `/proc`.
    path: &'static str,
    /// Reads the counter with this name from the text of the file.
    read: fn(text: &str, name: &str) -> Option<u64>,
    latest: Totals,
    counters: EnumMap<UdpError, FetchedCounter>,
}

/// Registers the counters of errors since now, one for each reason and IP version.
pub(super) fn register(telemetry: &Telemetry) {
    let files: [(_, _, fn(&str, &str) -> Option<u64>); 2] =
        [("ipv4", "/proc/self/net/snmp", read_snmp), ("ipv6", "/proc/self/net/snmp6", read_snmp6)];
    for (family, path, read) in files {
        let counters = EnumMap::from_fn(|error: UdpError| {
            telemetry.fetched_counter("machine_udp_errors", &[("error", error.name()), ("family", family)])
        });
        let mut errors = MachineErrors { path, read, latest: Totals::default(), counters };
        errors.latest = errors.totals();
        telemetry.add_source(errors);
    }
}

impl MachineErrors {
    fn totals(&self) -> Totals {
        fs::read_to_string(self.path).map_or_else(|_| Totals::default(), |text| totals(&text, self.read))
    }
}

impl Source for MachineErrors {
    fn update(&mut self) {
        for (error, total) in self.totals() {
            match (total, self.latest[error]) {
                (Some(total), Some(latest)) => self.counters[error].add(total.saturating_sub(latest)),
                // The errors before the first reading are not counted.
                (Some(_), None) => self.counters[error].add(0),
                (None, _) => self.counters[error].set_unknown(),
            }
            self.latest[error] = total.or(self.latest[error]);
        }
    }
}

/// Returns the totals by reason. The kernel counts every error in `InErrors`, and some also in a counter of their own.
fn totals(text: &str, read: fn(&str, &str) -> Option<u64>) -> Totals {
    let mut totals = Totals::default();
    totals[UdpError::ReceiveBuffer] = read(text, "RcvbufErrors");
    totals[UdpError::Checksum] = read(text, "InCsumErrors");
    totals[UdpError::Memory] = read(text, "MemErrors");
    let named: u64 = totals.values().flatten().sum();
    totals[UdpError::Other] = read(text, "InErrors").map(|all| all.saturating_sub(named));
    totals
}

/// Reads a counter of UDP over IPv4. Each protocol has a line of names and a line of numbers.
fn read_snmp(text: &str, name: &str) -> Option<u64> {
    let mut udp = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, numbers) = (udp.next()?, udp.next()?);
    let (_, number) = names.split(' ').zip(numbers.split(' ')).find(|(other, _)| *other == name)?;
    number.parse().ok()
}

/// Reads a counter of UDP over IPv6. Each counter has a line.
fn read_snmp6(text: &str, name: &str) -> Option<u64> {
    let mut udp = text.lines().filter_map(|line| line.strip_prefix("Udp6")?.strip_prefix(name));
    udp.find_map(|number| number.strip_prefix([' ', '\t'])?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNMP: &str = "Tcp: InErrs\nTcp: 7\nUdp: InDatagrams InErrors RcvbufErrors InCsumErrors MemErrors\nUdp: 90 20 9 5 2\n\
                        UdpLite: InErrors\nUdpLite: 8\n";
    const SNMP6: &str =
        "Ip6InErrors     \t1\nUdp6InErrors    \t4\nUdp6RcvbufErrors  \t3\nUdpLite6InErrors\t8\n";

    #[test]
    fn each_error_has_one_reason_and_missing_columns_are_absent() {
        let ipv4 = totals(SNMP, read_snmp).into_array();
        assert_eq!(ipv4, [Some(9), Some(5), Some(2), Some(4)]);
        assert_eq!(totals(SNMP6, read_snmp6).into_array(), [Some(3), None, None, Some(1)]);
        assert_eq!(totals("", read_snmp), Totals::default());
    }

    #[test]
    fn only_errors_since_the_start_count_and_unreadable_ones_are_absent() {
        let read = |path, latest| {
            let mut errors = MachineErrors { path, read: read_snmp, latest, counters: EnumMap::default() };
            errors.update();
            errors.counters.map(|_, counter| counter.pending()).into_array()
        };
        let before = totals(&fs::read_to_string("/proc/self/net/snmp").unwrap(), read_snmp);
        let other_tests_may_fill_buffers = read("/proc/self/net/snmp", before);
        assert!(other_tests_may_fill_buffers[UdpError::Checksum as usize].is_some());
        assert_eq!(read("/proc/self/net/snmp", Totals::default())[UdpError::Other as usize], Some(0));
        assert_eq!(read("/none", before), [None; 4]);
    }
}
