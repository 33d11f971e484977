//! Finds out how much memory tallyd may take, and reports what it takes.

use std::fs;
use std::path::Path;

use enum_map::EnumMap;
use procfs::process::Process;
use procfs::{Current, Meminfo};

use crate::model::{Gauge, Memory, MemoryPart, Named, Source, Telemetry};

/// The memory of which half is taken if neither the machine nor a control group tells its own.
const UNKNOWN: u64 = 1 << 30;

/// Returns the memory of tallyd, and reports it to `telemetry`. Without `max`, it is half of what the machine has, or of
/// what the control group may use. The other half is for the buffers of sockets, which count in the group, for the
/// cache of files, and for other programs.
pub(super) fn limited(max: Option<usize>, telemetry: &Telemetry) -> Memory {
    let max = max.unwrap_or_else(|| (available() / 2) as usize);
    tracing::info!(megabytes = max >> 20, "memory is limited");
    telemetry.gauge("memory_max_bytes", &[]).set(max as f64);
    let memory = Memory::limited(max);
    let gauge = |part: MemoryPart| telemetry.gauge("memory_bytes", &[("part", part.name())]);
    telemetry.add_source(MemoryReport { memory: memory.clone(), gauges: EnumMap::from_fn(gauge) });
    memory
}

/// Reports the memory of each part at the end of each interval.
#[derive(Debug)]
struct MemoryReport {
    memory: Memory,
    gauges: EnumMap<MemoryPart, Gauge>,
}

impl Source for MemoryReport {
    fn update(&mut self) {
        self.gauges.iter().for_each(|(part, gauge)| gauge.set(self.memory.used(part) as f64));
    }
}

/// Returns the memory of the machine, or the limit of the control group if that is lower, in bytes.
fn available() -> u64 {
    let of_machine = Meminfo::current().map_or(UNKNOWN, |info| info.mem_total);
    group_limit().map_or(of_machine, |limit| limit.min(of_machine))
}

/// Returns the lowest limit of the control groups that this process belongs to.
fn group_limit() -> Option<u64> {
    let groups = Process::myself().and_then(|process| process.cgroups()).ok()?;
    let limits = groups.into_iter().filter_map(|group| {
        let (root, file) = match group.hierarchy {
            0 => (Path::new("/sys/fs/cgroup"), "memory.max"),
            _ if group.controllers.iter().any(|name| name == "memory") => {
                (Path::new("/sys/fs/cgroup/memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        lowest_limit(root, Path::new(&group.pathname), file)
    });
    limits.min()
}

/// Returns the lowest limit of a group and of those that contain it. A container sees its own group as the root.
fn lowest_limit(root: &Path, group: &Path, file: &str) -> Option<u64> {
    let relative = group.strip_prefix("/").unwrap_or(group);
    let limits = relative.ancestors().filter_map(|group| {
        let text = fs::read_to_string(root.join(group).join(file)).ok()?;
        // Version 2 says "max" if there is no limit. Version 1 has a number that exceeds the memory of any machine.
        text.trim().parse().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_of_a_group_and_its_parents_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("system.slice/tallyd.service");
        fs::create_dir_all(&inner).unwrap();
        let limit = || lowest_limit(root.path(), Path::new("/system.slice/tallyd.service"), "memory.max");
        assert_eq!(limit(), None);
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        assert_eq!(limit(), None);
        fs::write(root.path().join("system.slice/memory.max"), "3000\n").unwrap();
        assert_eq!(limit(), Some(3000));
        fs::write(inner.join("memory.max"), "2000\n").unwrap();
        assert_eq!(limit(), Some(2000));
    }

    #[test]
    fn some_memory_is_available() {
        assert!(available() > 64 << 20, "{}", available());
    }
}
