//! Tests that each panel of the dashboard shows data.

use std::fs;

use serde_json::Value;
use tallyd_harness::scraped::start;
use tallyd_harness::tls::Authority;
use tallyd_harness::{wait_for, wait_until};
use tempfile::TempDir;

use crate::grafana::{Board, Chosen, any_of};

fn dashboard() -> Value {
    serde_json::from_str(include_str!("../../dashboards/tallyd.json")).unwrap()
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn every_panel_of_the_dashboard_shows_data() {
    let directory = TempDir::new().unwrap();
    Authority::new("tests").issue("localhost").write(directory.path(), "server");
    let web = directory.path().join("web.yml");
    fs::write(&web, "tls_server_config: {cert_file: server.crt, key_file: server.key}\n").unwrap();
    // With a stream listener and a certificate, tallyd has all of its telemetry.
    let own = ["flush.interval=500ms", "listeners.tcp.enabled=true", "listeners.tcp.bind=127.0.0.1:0"];
    let (summary, summary_address) = start(&own);
    let web = format!("exporters.prometheus.web_config_file={}", web.display());
    let histogram = ["exporters.prometheus.timings=histogram", &web];
    let (histogram, histogram_address) = start(&[&own[..], &histogram].concat());
    let names = ["exporters.prometheus.naming=statsd_exporter"];
    let (plain, plain_address) = start(&[&own[..], &names].concat());
    let targets = [("http", summary_address), ("https", histogram_address), ("http", plain_address)];
    let board = Board::start(dashboard(), &targets);
    let send = |outcomes: &[&str]| {
        let calls = outcomes.iter().map(|outcome| format!("\napi.latency:5:90|ms|#outcome:{outcome}"));
        let calls: String = calls.collect();
        for daemon in [&summary, &histogram, &plain] {
            // The dashboard does not offer names of node_exporter. It does not count a call without an outcome as an
            // error. Names with several series, and those in rejected lines, are among the largest.
            daemon.send(format!("orders:1|c|#shop:a\norders:1|c|#shop:b\nwrong:x|c\nnode.disk:1|c\nnode.disk:1|ms\napi.latency:30|ms{calls}"));
        }
    };

    wait_until(|| {
        send(&["ok"]);
        board.offers("instance", &Chosen::new()).len() == 3
    });
    let both = vec![summary_address.to_string(), histogram_address.to_string()];
    let prometheus = ["api_latency_seconds", "orders_total"];
    let [all, of_summaries, of_histograms, of_plain_names] = [
        (both, prometheus),
        (vec![summary_address.to_string()], prometheus),
        (vec![histogram_address.to_string()], prometheus),
        (vec![plain_address.to_string()], ["api_latency", "orders"]),
    ]
    .map(|(instances, [timing, counter])| {
        let instances = any_of(&instances);
        let mut chosen = Chosen::from([
            ("instance", instances),
            ("tag", "instance".to_owned()),
            ("value", ".*".to_owned()),
        ]);
        for (variable, value) in [("timing", timing), ("counter", counter)] {
            // The dashboard offers none of Prometheus' own metrics.
            wait_until(|| {
                send(&["ok"]);
                board.offers(variable, &chosen) == [value]
            });
            chosen.insert(variable, value.to_owned());
        }
        chosen
    });

    let send_ok = || send(&["ok"]);
    assert_all_panels_show_data(&board, &all, [&of_summaries, &of_histograms, &of_plain_names], send_ok);
    assert_a_tag_narrows(&board, &all, send_ok);

    let values = |outcomes: &[&str], title: &str, number: usize, chosen: &Chosen| -> Vec<f64> {
        let panel = board.panels().find(|panel| panel["title"] == title).unwrap();
        wait_for(|| {
            send(outcomes);
            let shown = board.shows(&panel["targets"][number], chosen);
            Some(shown.into_iter().map(|(_, value)| value).collect::<Vec<_>>())
                .filter(|values| !values.is_empty())
        })
    };
    // The highest percentile of a summary is a value. The highest percentile of a histogram lies in the bucket of that
    // value.
    let percentiles = values(&["ok"], "$timing: percentiles", 0, &of_summaries);
    // With more than aggregation.exact_values values in an interval, it has an error of up to 1 %.
    assert!((percentiles.into_iter().fold(0.0, f64::max) - 0.09).abs() < 0.0009);
    for chosen in [&all, &of_histograms] {
        let [highest] = values(&["ok"], "$timing: percentiles", 4, chosen)[..] else { panic!() };
        assert!(highest > 0.05 && highest <= 0.1, "{highest}");
    }
    let share = |outcomes: &[&str], outcome: usize, chosen: &Chosen| {
        let [share] = values(outcomes, "$timing: errors", outcome, chosen)[..] else { panic!() };
        share
    };
    let [error, panic, dropped] = [0, 1, 2];
    // Without calls of an outcome, its share is 0, not unknown.
    for chosen in [&all, &of_summaries, &of_histograms] {
        assert_eq!([error, panic, dropped].map(|outcome| share(&["ok"], outcome, chosen)), [0.0; 3]);
    }
    let wait_for_share = |outcomes: &[&str], outcome| {
        wait_for(|| Some(share(outcomes, outcome, &all)).filter(|share| *share > 0.0 && *share < 0.5));
    };
    // A cancelled future is not an error.
    wait_for_share(&["ok", "dropped"], dropped);
    assert_eq!([error, panic].map(|outcome| share(&["ok"], outcome, &all)), [0.0; 2]);
    wait_for_share(&["ok", "error", "panic"], error);
    wait_for_share(&["ok", "error", "panic"], panic);
}

/// Asserts that each query of each panel shows data on some page, and each panel on every page.
fn assert_all_panels_show_data(board: &Board, all: &Chosen, pages: [&Chosen; 3], send: impl Fn()) {
    for panel in board.panels() {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().unwrap();
        // Each query returns series, and the series have all labels of its legend.
        for target in targets {
            let legend = target["legendFormat"].as_str().unwrap();
            let labels: Vec<_> =
                legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()).collect();
            let shown = wait_for(|| {
                send();
                Some(board.shows(target, all)).filter(|shown| !shown.is_empty())
            });
            for (series, _) in &shown {
                assert!(labels.iter().all(|label| series[label].is_string()), "{title}: {series}");
            }
        }
        for page in pages {
            // Only one page has a certificate.
            if title == "Certificate" && page != pages[1] {
                continue;
            }
            wait_until(|| {
                send();
                targets.iter().any(|target| !board.shows(target, page).is_empty())
            });
        }
    }
}

/// Asserts that the panels of applications show only series with the chosen tag.
fn assert_a_tag_narrows(board: &Board, all: &Chosen, send: impl Fn()) {
    let of_tag = |tag: &str, value: &str| {
        let mut chosen = all.clone();
        chosen.extend([("tag", tag.to_owned()), ("value", value.to_owned())]);
        chosen
    };
    assert_eq!(board.offers("value", &of_tag("shop", "")), ["a", "b"]);
    let orders = board.panels().find(|panel| panel["title"] == "$counter: rate").unwrap();
    let rate = |chosen: &Chosen| -> f64 {
        board.shows(&orders["targets"][0], chosen).iter().map(|(_, rate)| rate).sum()
    };
    wait_until(|| {
        send();
        let [of_one, of_both] = [of_tag("shop", "a"), of_tag("shop", "a|b")].map(|chosen| rate(&chosen));
        of_one > 0.0 && (of_both - 2.0 * of_one).abs() < of_one / 2.0
    });
}
