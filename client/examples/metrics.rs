//! A small application that is instrumented with the crate `metrics`. Its metrics go to tallyd.
//!
//! `cargo run -p tallyd-client --features metrics --example metrics` sends to 127.0.0.1:8125, unless
//! `TALLYD_CLIENT_STATSD_ADDRESS` names another address.

use std::error::Error;
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use tallyd_client::Config;

fn main() -> Result<(), Box<dyn Error>> {
    tallyd_client::configure(&Config::from_env()?.merged_over(Config::new().prefix("shop")))?;
    metrics::set_global_recorder(tallyd_client::recorder()?)?;

    // From here on, nothing knows of tallyd.
    for order in 0..100 {
        gauge!("orders.open").increment(1);
        sell(if order % 3 == 0 { "us" } else { "eu" });
        gauge!("orders.open").decrement(1);
    }

    tallyd_client::flush();
    println!("{} samples were lost", tallyd_client::lost());
    Ok(())
}

/// Takes a few milliseconds, as a database would.
fn sell(region: &'static str) {
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(5));
    counter!("orders", "region" => region).increment(1);
    histogram!("order_duration_seconds", "region" => region).record(start.elapsed());
}
