//! Tests the demo of the example application.

use std::process::Command;

use tallyd_harness::http::free_address;
use tallyd_harness::process::{ROOT, without_variables_except_cargos};

#[test]
#[ignore = "needs prometheus and promtool; run make test"]
fn demo_prints_the_percentiles_and_counts_that_prometheus_has() {
    let [statsd, page, prometheus] = [(); 3].map(|()| free_address().to_string());
    let mut demo = Command::new(format!("{ROOT}/examples/demo.sh"));
    let output = without_variables_except_cargos(&mut demo)
        .arg("6")
        .envs([("STATSD", statsd), ("PAGE", page), ("PROMETHEUS", prometheus)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("0 samples were lost"), "{said}");
    let value = |series: &str| -> f64 {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(series)?.strip_prefix(" => "));
        line.unwrap_or_else(|| panic!("no {series} in {said}")).trim().parse().unwrap()
    };
    // Most calls take 5 to 20 ms. One in twenty takes up to 200 ms.
    assert!((0.005..0.03).contains(&value("{quantile=\"0.5\"}")), "{said}");
    assert!((0.01..1.0).contains(&value("{quantile=\"0.99\"}")), "{said}");
    let all = said.lines().find_map(|line| line.split_once(" résumés were processed")).unwrap().0;
    let by_source = ["{source=\"mail\"}", "{source=\"upload\"}"].map(value);
    assert_eq!(by_source.iter().sum::<f64>(), all.parse::<f64>().unwrap(), "{said}");
}
