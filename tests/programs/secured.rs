//! Tests the secured endpoint with curl and Prometheus.

use std::fs;
use std::process::{Command, Stdio};

use tallyd_harness::process::{Running, spawn};
use tallyd_harness::secured::{SECRET, Secured, TLS, start};

#[test]
#[ignore = "needs curl; run make test"]
fn curl_gets_the_page_only_with_authority_password_and_certificate() {
    let require = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    let Secured { daemon: _daemon, address, site } =
        start(&format!("{TLS}{require}basic_auth_users:\n  ann: {SECRET}\n"), &[]);
    let [certificate, key] = site.authority.issue("curl").write(site.directory(), "curl");
    let curl = |options: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}"]).args(options);
        let output = spawn(
            command.arg(format!("https://{address}/metrics")).stdout(Stdio::piped()).stderr(Stdio::null()),
        );
        String::from_utf8(output.wait_with_output().unwrap().stdout).unwrap()
    };
    let ca = site.path("ca.crt");
    let trusting = ["--cacert", ca.to_str().unwrap()];
    let known = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let all = [&trusting[..], &known, &["-u", "ann:secret"]].concat();
    assert_eq!(curl(&all), "200");
    assert_eq!(curl(&[&all[..], &["--http2"]].concat()), "200");
    assert_eq!(curl(&[&all[..], &["--tls-max", "1.2"]].concat()), "200");
    assert_eq!(curl(&[&trusting[..], &known, &["-u", "ann:wrong"]].concat()), "401");
    assert_eq!(curl(&[&trusting[..], &["-u", "ann:secret"]].concat()), "000");
    assert_eq!(curl(&[&known[..], &["-u", "ann:secret"]].concat()), "000");
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn prometheus_scrapes_over_tls_as_a_user() {
    let Secured { mut daemon, address, site } =
        start(&format!("{TLS}basic_auth_users:\n  ann: {SECRET}\n"), &[]);
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: tallyd\n  scheme: https\n  \
         tls_config: {{ca_file: ca.crt}}\n  basic_auth: {{username: ann, password: secret}}\n  \
         static_configs:\n  - targets: ['{address}']\n"
    );
    fs::write(site.path("prometheus.yml"), config).unwrap();
    let mut command = Command::new("prometheus");
    command
        .args(["--web.listen-address=127.0.0.1:0", "--log.level=error"])
        .arg(format!("--config.file={}", site.path("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", site.path("data").display()))
        .stdin(Stdio::null());
    let prometheus = Running(spawn(&mut command));
    for _ in 0..3 {
        daemon.wait_for_next(|row| {
            row["name"] == "tallyd.scrapes"
                && row["tags"]["format"] == "openmetrics"
                && row["value"].as_f64() > Some(0.0)
        });
    }
    drop(prometheus);
    let finished = daemon.stop();
    let refused = finished.named("tallyd.http_requests").filter(|row| row["tags"]["code"] != "200");
    assert_eq!(refused.map(|row| row["value"].as_f64().unwrap()).sum::<f64>(), 0.0);
    assert_eq!(
        finished.sum("tallyd.http_connections_opened", "value"),
        1.0,
        "Prometheus keeps its connection"
    );
}
