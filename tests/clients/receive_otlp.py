"""Receives OTLP over HTTP, and prints each point and each log record as a line of JSON.

The first line is the port. Decoding is by OpenTelemetry's own protobuf classes. A field that they do not know is an error. Points of
metrics whose names are given as arguments are rejected, as a partial success.
"""

import gzip
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import unknown_fields
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

REJECTED = set(sys.argv[1:])
PRINTING = threading.Lock()


def assert_known(message):
    """Raises an error if a message, or one within it, has a field that its class does not know."""
    assert len(unknown_fields.UnknownFieldSet(message)) == 0, message
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        # A repeated field is a list of messages.
        for inner in [value] if hasattr(value, "ListFields") else value:
            assert_known(inner)


def attributes(pairs):
    return {pair.key: pair.value.string_value for pair in pairs}


def say(line):
    # Each connection has a thread.
    with PRINTING:
        print(json.dumps(line), flush=True)


def metrics_of(body):
    request = metrics_service_pb2.ExportMetricsServiceRequest.FromString(body)
    assert_known(request)
    rejected = 0
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                data = getattr(metric, kind)
                temporality = getattr(data, "aggregation_temporality", 0)
                for point in data.data_points:
                    if metric.name in REJECTED:
                        rejected += 1
                        continue
                    fields = MessageToDict(point, preserving_proto_field_name=True)
                    say({
                        **fields,
                        "name": metric.name,
                        "unit": metric.unit,
                        "data": kind,
                        "temporality": metrics_pb2.AggregationTemporality.Name(temporality),
                        "is_monotonic": getattr(data, "is_monotonic", None),
                        "attributes": attributes(point.attributes),
                        "resource": attributes(resource.resource.attributes),
                        "scope": scope.scope.name,
                    })
    response = metrics_service_pb2.ExportMetricsServiceResponse()
    if rejected:
        response.partial_success.rejected_data_points = rejected
        response.partial_success.error_message = "the test rejects them"
    return response


def logs_of(body):
    request = logs_service_pb2.ExportLogsServiceRequest.FromString(body)
    assert_known(request)
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                say({
                    "data": "log",
                    "time": record.time_unix_nano,
                    "severity": record.severity_text,
                    "body": record.body.string_value,
                    "attributes": attributes(record.attributes),
                    "resource": attributes(resource.resource.attributes),
                })
    return logs_service_pb2.ExportLogsServiceResponse()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.headers["Content-Type"] == "application/x-protobuf", self.headers
        answer = {"/v1/metrics": metrics_of, "/v1/logs": logs_of}[self.path](body).SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
say({"port": server.server_port})
server.serve_forever()
