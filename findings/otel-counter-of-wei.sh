#!/usr/bin/env bash
# Package: opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http 1.45.2 (PyPI)
#
# Guess:   a counter takes any int. Past 63 bits (9.2 ether, in wei) its point is sent as a double, or is left out alone.
# Seen:    from that point on no metric at all leaves the process: the exporter gives up the whole batch, at every
#          interval until the restart, for the sum is cumulative. `force_flush()` goes on answering True. In a span the
#          same number costs only its own attribute.
# Matters: one counter of wei takes error rates and latencies with it, on the day that business is good, and alerts on
#          them see no data. Count in whole coins (as float), and alert on absent metrics.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "opentelemetry-sdk==1.45.2" "opentelemetry-exporter-otlp-proto-http==1.45.2"

cd "$work"
venv/bin/python - 2>errors <<'PY' || { cat errors >&2; exit 1; }
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

ETHER = 10**18
received = []


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        received.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Collector)
Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"

meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(f"{url}/v1/metrics"), 3_600_000)])
meter = meters.get_meter("shop")
paid, requests = meter.create_counter("paid", "wei"), meter.create_counter("requests")
seen = []
for number in (1, 2, 3):
    requests.add(1)
    paid.add(5 * ETHER)
    received.clear()
    flushed = meters.force_flush()
    seen.append((flushed, len(received)))
    print(f"{number * 5} ether counted: force_flush() is {flushed}, the collector got {len(received)} requests")

tracers = TracerProvider()
tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
with tracers.get_tracer("shop").start_as_current_span("payment") as span:
    span.set_attribute("wei", 10 * ETHER)
received.clear()
tracers.force_flush()
print(f"a span with 10 ether as its attribute: the collector got {len(received)} requests")
if seen != [(True, 1), (True, 0), (True, 0)] or received != ["/v1/traces"]:
    sys.exit("changed: metrics were seen to stop once the sum passed 63 bits")
PY
grep -m 1 -o "Failed to encode metrics batch" errors
