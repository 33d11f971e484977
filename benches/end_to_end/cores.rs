//! Which cores the two sides run on.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::Failure;

/// The calling thread, to the scheduler.
const SELF: Pid = Pid::from_raw(0);

/// The core of the receivers, if they are pinned: with one core there is no choice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) receiver: Option<usize>,
}

impl Cores {
    /// Pins this thread, and all that it will start, to the first core that it may use, and keeps the last one for the
    /// receivers.
    pub(crate) fn take() -> Result<Self, Failure> {
        let allowed = sched_getaffinity(SELF)?;
        let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core) == Ok(true));
        let (first, last) = (cores.next(), cores.next_back());
        if let Some(first) = first.filter(|_| last.is_some()) {
            pin(first)?;
        } else {
            eprintln!("there is one core: generator and receivers share it, and the times mean little");
        }
        Ok(Self { receiver: last })
    }
}

/// Pins the calling thread, and all threads and processes that it will start.
pub(crate) fn pin(core: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(SELF, &set)
}
