//! Makes the screenshots of the documents. `docs/screenshots.sh` keeps them. A test without it only checks that they can
//! be made.

use std::fs;
use std::path::PathBuf;

use tallyd_harness::Daemon;

use super::{HAS_PERCENTILES, IS_COLLECTING, open_live, start_live};

/// The longest file, because readers download all screenshots of a page.
const MOST_BYTES: usize = 150_000;

/// The opened series.
const SERIES: &str = "#series=request.time%7Cms%7C%23route%3Acheckout";

#[test]
#[ignore = "needs chromium; run make test"]
fn screenshots_of_the_documents_can_be_made() {
    let directory = std::env::var_os("TALLYD_SCREENSHOTS").map(PathBuf::from);
    // A minute and a half gives plots with some history.
    let intervals = if directory.is_some() { 90 } else { 2 };
    let (daemon, address, mut browser) = start_live(&["exporters.console.enabled=false"]);
    send_load(&daemon, 0);
    open_live(&mut browser, address, SERIES);
    // Values that come before tallyd collects them are in no percentile of the opened series. An interval that began while the
    // first load was sent may have brought some already.
    browser.wait_until(&format!("{IS_COLLECTING} || {HAS_PERCENTILES}"));
    for interval in 0..intervals {
        let shown = browser.evaluate("document.querySelector('#card-lines .note').textContent");
        send_load(&daemon, interval);
        browser.wait_until(&format!("document.querySelector('#card-lines .note').textContent !== {shown}"));
    }
    browser.wait_until(HAS_PERCENTILES);
    for scheme in ["light", "dark"] {
        for (name, place, height) in [("live-page", "body", 750), ("live-page-series", "#opened", 745)] {
            browser.show_as(1280, height, scheme);
            browser.evaluate(&format!(
                "document.activeElement.blur(); document.querySelector('{place}').scrollIntoView()"
            ));
            // Two frames later, the plots have their new size and colors.
            browser.evaluate(
                "new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))",
            );
            let png = browser.screenshot();
            assert!(png.len() < MOST_BYTES, "{name}-{scheme}: {} bytes", png.len());
            if let Some(directory) = &directory {
                fs::create_dir_all(directory).unwrap();
                fs::write(directory.join(format!("{name}-{scheme}.png")), png).unwrap();
            }
        }
    }
}

/// Sends the lines of a small shop for one interval. The load follows a wave, and some lines are wrong.
fn send_load(daemon: &Daemon, interval: u32) {
    let mut random = fastrand::Rng::with_seed(interval.into());
    let wave = 1.0 + 0.5 * (f64::from(interval) / 8.0).sin();
    for _ in 0..(120.0 * wave) as u32 {
        let requests = ["checkout", "search", "item", "basket"].map(|route| {
            // Most requests are fast, and one in twelve waits for the database.
            let usual = 8.0 * wave * (1.0 + random.f64()).powi(3);
            let time = if random.u8(..12) == 0 { 90.0 * (1.0 + random.f64()).powi(2) } else { usual };
            format!("request.time:{time:.2}|ms|#route:{route}\nrequests:1|c|#route:{route}")
        });
        let (user, size, length) = (random.u32(..4000), random.u8(..20), random.u8(..50));
        daemon.send(requests.join("\n"));
        daemon.send(format!("users.active:{user}|s\nbasket.size:{size}|h\nqueue.length:{length}|g"));
    }
    if interval % 7 == 3 {
        daemon.send("requests:one|c|#route:search\nrequest.time:12|sec|#route:item\nbasket.size:nan|h");
    }
}
