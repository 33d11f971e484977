//! Reports what the process takes from the machine, with the names of Prometheus' client libraries. Also knows the machine's
//! name.

use procfs::process::{LimitValue, Process, Stat};
use procfs::{CurrentSI, KernelStats};

use crate::model::{Counter, Gauge, Source, Telemetry};

/// Reads the figures of the process at the end of each interval.
#[derive(Debug)]
struct ProcessReport {
    process: Process,
    /// The CPU time, in milliseconds.
    cpu: Counter,
    /// The CPU time at the latest report, in clock ticks.
    ticks: u64,
    resident: Gauge,
    size: Gauge,
    threads: Gauge,
    open_files: Gauge,
}

/// Returns the name of this machine.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Registers the figures of the process. If `/proc` cannot be read, they are missing.
pub(super) fn report_to(telemetry: &Telemetry) {
    let (process, stat) = match Process::myself().and_then(|process| Ok((process.stat()?, process))) {
        Ok((stat, process)) => (process, stat),
        Err(error) => {
            tracing::warn!(%error, "/proc cannot be read; the figures of the process are missing");
            return;
        }
    };
    let gauge = |name| telemetry.gauge(name, &[]);
    if let Ok(KernelStats { btime, .. }) = KernelStats::current() {
        let since_boot = stat.starttime as f64 / procfs::ticks_per_second() as f64;
        gauge("process_start_time_seconds").set(btime as f64 + since_boot);
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        gauge("process_max_fds").set(most as f64);
    }
    telemetry.add_source(ProcessReport {
        process,
        cpu: telemetry.seconds("process_cpu_seconds", &[]),
        ticks: 0,
        resident: gauge("process_resident_memory_bytes"),
        size: gauge("process_virtual_memory_bytes"),
        threads: gauge("process_threads"),
        open_files: gauge("process_open_fds"),
    });
}

impl Source for ProcessReport {
    /// If a file cannot be read, its figures stay as they are.
    fn update(&mut self) {
        if let Ok(stat) = self.process.stat() {
            let Stat { utime, stime, vsize, rss, num_threads, .. } = stat;
            let ticks = utime + stime;
            // Rounding the total, and not each increase, loses nothing.
            let milliseconds = |ticks: u64| ticks * 1000 / procfs::ticks_per_second();
            self.cpu.add(milliseconds(ticks).saturating_sub(milliseconds(self.ticks)));
            self.ticks = ticks;
            self.resident.set((rss * procfs::page_size()) as f64);
            self.size.set(vsize as f64);
            self.threads.set(num_threads as f64);
        }
        if let Ok(files) = self.process.fd_count() {
            self.open_files.set(files as f64);
        }
    }
}
