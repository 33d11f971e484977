//! Simulates tallyd's core from a seed, with everything that can go wrong around it.
//!
//! ```text
//!            simulated                 |                 real                   |        simulated
//!                                      |                                        |
//!  clients --> buffers of the kernel ---> shards --> flusher --> snapshot --> queues --> exporters --> disks
//!  random       bounded; receivers     |  registry   schedule                   |  totals, page        full, broken,
//!  lines        stall                  |  gauges     aggregator ------------> keeper --> state file    stalled
//!                  |                   |                 |                      |                         |
//!                  v                   |                 v                      |                         v
//!            plain model, plain registry, twin     rows and counts equal?       |      plain page, plain state equal?
//! ```
//!
//! One thread runs all of this. Clocks, network and disks change only when the simulation changes them. So a seed gives the
//! same run every time. The keys of hashes are random, but no result depends on them.
//!
//! In each step, one thing happens: clients send, a receiver reads or stalls, an exporter works or stalls, the state is
//! written, a disk fails, the page is scraped, settings are reloaded, the wall clock jumps, or the machine is suspended.
//! Sometimes tallyd stops or crashes, or the machine loses its power in the middle of a write. The next life starts from the
//! state file, with other settings.
//!
//! | file | what it holds |
//! |---|---|
//! | `clock`, `kernel`, `clients`, `settings`, `exporters`, `disk` | the simulated parts |
//! | `world` | what outlives a life of tallyd |
//! | `machine`, `saving` | the receivers and the keeper of the state, each with the witnesses that follow it |
//! | `expected`, `plain_registry`, `plain_page`, `plain_state` | what tallyd must do, in its simplest form |
//! | `life` | the steps from a start to a stop or a crash, and the law of accounting at the end |
//!
//! The simulation checks:
//!
//! - after each interval: rows, events and counts equal those of the plain model; another number of receivers gives the same
//!   rows; the interval has its true length and end
//! - after each page: it is valid; its totals are the sums of what the exporter got; its percentiles are those of the values
//!   in the window; between two scrapes, no counter falls
//! - after each write of the state: the file has the new state, or the old one if the disk failed
//! - at a start: series, gauges, totals and windows continue from the latest written state; after a stop that wrote its
//!   state, nothing is missing
//! - at the end of a life: each datagram was read or dropped; each sample was delivered, counted as undelivered, or known to
//!   wait; the lengths of the intervals add up to the time; failed writes are counted
//!
//! `TALLYD_SEED=17 cargo test --test in_process simulation` repeats one seed, `TALLYD_SEEDS=100000` runs more of them.

mod clients;
mod clock;
mod disk;
mod expected;
mod exporters;
mod kernel;
mod life;
mod machine;
mod plain_page;
mod plain_registry;
mod plain_state;
mod saving;
mod settings;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use fastrand::Rng;

use life::{Life, Tally};
use world::World;

/// The steps of a run. `TALLYD_STEPS` sets fewer.
const STEPS: u64 = 150;

/// The seeds of a run of all tests.
const SEEDS: u64 = 1000;

/// Runs a seed. Returns what happened in each life. Panics if a law does not hold.
fn run(seed: u64, steps: u64) -> Vec<Tally> {
    let mut rng = Rng::with_seed(seed);
    let mut world = World::new(&mut rng);
    let mut lives = Vec::new();
    let mut life = Life::start(&mut rng, &mut world);
    for _ in 0..steps {
        life.step(&mut rng, &mut world);
        if rng.u8(..50) == 0 {
            let crashes = rng.bool();
            lives.push(life.finish(&mut rng, &mut world, crashes));
            world.rest(&mut rng);
            life = Life::start(&mut rng, &mut world);
        }
    }
    lives.push(life.finish(&mut rng, &mut world, false));
    lives
}

/// Returns the number in an environment variable.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Runs a seed. If a law does not hold, returns how to repeat it with few steps.
fn try_run(seed: u64, steps: u64) -> Result<Vec<Tally>, String> {
    let attempt = |steps| catch_unwind(AssertUnwindSafe(|| run(seed, steps)));
    attempt(steps).map_err(|panic| {
        let (mut passes, mut fails, mut why) = (0, steps, panic);
        while passes + 1 < fails {
            let middle = passes.midpoint(fails);
            match attempt(middle) {
                Ok(_) => passes = middle,
                Err(panic) => (fails, why) = (middle, panic),
            }
        }
        format!(
            "seed {seed} fails after {fails} steps: {}\nrepeat it with\n  TALLYD_SEED={seed} TALLYD_STEPS={fails} cargo test \
             --test in_process simulation",
            text_of(&*why)
        )
    })
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without text")
}

/// Adds up what happened in several lives.
fn sum<'a>(lives: impl IntoIterator<Item = &'a Tally>) -> Tally {
    let mut sum = Tally::new();
    for (name, count) in lives.into_iter().flatten() {
        *sum.entry(name.clone()).or_default() += count;
    }
    sum
}

#[test]
fn every_law_holds_for_every_seed() {
    let steps = number("TALLYD_STEPS").unwrap_or(STEPS);
    let only = number("TALLYD_SEED");
    let end = only.map_or_else(|| number("TALLYD_SEEDS").unwrap_or(SEEDS), |seed| seed + 1);
    let next = AtomicU64::new(only.unwrap_or(0));
    let run_some = || {
        let mut lives = Vec::new();
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= end {
                return Ok(sum(&lives));
            }
            // After a failure, no more seeds are started.
            lives.push(sum(&try_run(seed, steps).inspect_err(|_| next.store(end, Relaxed))?));
        }
    };
    let results: Vec<Result<Tally, String>> = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run_some)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let total = sum(&results
        .into_iter()
        .map(|result| result.unwrap_or_else(|why| panic!("{why}")))
        .collect::<Vec<_>>());
    println!("{total:#?}");
    if only.is_none() {
        // A law that nothing puts to the test proves nothing.
        let missing: Vec<_> = total.iter().filter(|(_, count)| **count == 0).collect();
        assert!(missing.is_empty(), "{missing:?} never happened");
    }
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    for seed in 0..5 {
        assert_eq!(run(seed, STEPS), run(seed, STEPS));
    }
}
