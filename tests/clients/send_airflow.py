"""Sends metrics like Airflow, for tests/programs/clients_page.rs. Usage: send_airflow.py CONFIG

Creates Airflow's own loggers from the same settings that Airflow reads. A whole Airflow is too large for a test.
"""

import sys
from configparser import ConfigParser

import statsd
from airflow.sdk._shared.observability.metrics.datadog_logger import get_dogstatsd_logger
from airflow.sdk._shared.observability.metrics.statsd_logger import get_statsd_logger

config = ConfigParser()
config.read(sys.argv[1])
metrics = config["metrics"]

address = {"host": metrics["statsd_host"], "port": metrics.getint("statsd_port")}
# Airflow's default.
disabled = metrics.get("statsd_disabled_tags", "job_id,run_id")

if metrics.getboolean("statsd_datadog_enabled", fallback=False):
    logger = get_dogstatsd_logger(
        **address,
        namespace=metrics["statsd_prefix"],
        tags_in_string=metrics["statsd_datadog_tags"],
        statsd_disabled_tags=disabled,
    )
    # The defaults, except that the client sends no telemetry.
    logger.dogstatsd.disable_telemetry()
elif metrics.getboolean("statsd_on"):
    influxdb = metrics.getboolean("statsd_influxdb_enabled", fallback=False)
    logger = get_statsd_logger(
        **address,
        prefix=metrics["statsd_prefix"],
        stats_class=statsd.StatsClient,
        influxdb_tags_enabled=influxdb,
        statsd_influxdb_enabled=influxdb,
        statsd_disabled_tags=disabled,
    )

task = {"dag_id": "shop", "task_id": "sell", "run_id": "manual__1"}
for _ in range(3):
    logger.incr("task.start", tags=task)
logger.gauge("executor.open_slots", 32)
logger.timing("task.duration", 1234.5, tags=task)
