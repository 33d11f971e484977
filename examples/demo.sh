#!/usr/bin/env bash
# Runs the example application with tallyd and a real Prometheus, and prints the results of some PromQL queries. Needs
# prometheus, promtool and curl. Takes half a minute after the build, and stops all programs that it starts.
#
#   examples/demo.sh [SECONDS]
#
# The variables STATSD, PAGE and PROMETHEUS set other addresses, if the default ones are in use.
set -euo pipefail
cd "$(dirname "$0")/.."

for program in prometheus promtool curl; do
    if ! type -P "$program" >/dev/null; then
        echo "examples/demo.sh needs $program; on Debian: apt-get install prometheus curl" >&2
        exit 1
    fi
done

seconds=${1:-20}
statsd=${STATSD:-127.0.0.1:18125}
page=${PAGE:-127.0.0.1:19102}
prometheus=${PROMETHEUS:-127.0.0.1:19090}
directory=$(mktemp -d)
started=()
finish() {
    for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
    wait
    rm -rf "$directory"
}
trap finish EXIT

echo 'Building tallyd and the example. The first time this takes minutes.'
cargo build --quiet --bin tallyd --example resume_pipeline
target=${CARGO_TARGET_DIR:-target}/debug

cat >"$directory/prometheus.yml" <<YAML
global: {scrape_interval: 1s}
scrape_configs:
- job_name: tallyd
  static_configs:
  - targets: ["$page"]
YAML

"$target/tallyd" --set listeners.udp.bind="$statsd" --set flush.interval=1s --set exporters.console.enabled=false \
    --set exporters.prometheus.start_http_server=true --set exporters.prometheus.port="${page#*:}" \
    --set logging.level=warn &
started+=($!)
prometheus --config.file="$directory/prometheus.yml" --storage.tsdb.path="$directory/data" \
    --web.listen-address="$prometheus" --log.level=error &
started+=($!)

# Wait until both listen: a datagram sent before that would be lost.
for server in "$page/-/healthy" "$prometheus/-/ready"; do
    curl --silent --fail --output /dev/null --retry 100 --retry-delay 1 --retry-all-errors --retry-max-time 30 "http://$server"
done

echo "For $seconds seconds the pipeline sends to tallyd, and Prometheus scrapes tallyd every second."
TALLYD_CLIENT_STATSD_ADDRESS=udp://$statsd "$target/examples/resume_pipeline" --seconds "$seconds"
# The last samples are on the page after the interval and in Prometheus after the next scrape.
sleep 3

ask() {
    printf '\n%s\n  %s\n' "$1" "$2"
    promtool query instant "http://$prometheus" "$2" | sed 's/^/  /; s/ @\[.*//'
}
ask 'Résumés by source:' 'sum by (source) (ResumeParser_resumes_processed_total)'
ask 'Latency of the model in seconds: percentiles of the latest interval (one second):' \
    'max by (quantile) (last_over_time(LanguageModel_call_latency_seconds{outcome="ok"}[10s]))'
ask 'Mean latency of the model in seconds, over the whole run:' \
    'sum(LanguageModel_call_latency_seconds_sum) / sum(LanguageModel_call_latency_seconds_count)'
ask 'Share of model calls that failed:' \
    'sum(LanguageModel_call_latency_seconds_count{outcome="error"}) / sum(LanguageModel_call_latency_seconds_count)'
ask 'Share of claimed skills that were found:' \
    'sum(ResumeParser_skills_found_total) / sum(ResumeParser_skills_claimed_total)'
ask 'Calls of each function, by outcome:' \
    'sum by (__name__, outcome) ({__name__=~"ResumeParser_.+_seconds_count"})'
