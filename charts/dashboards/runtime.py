"""Processes: saturation, memory, logs."""

from charts.dashboards.parts import Dashboard, Row, graph, quantiles

DASHBOARD = Dashboard(
    "runtime",
    "Runtime",
    "What the processes use, and whether they have more work than time.",
    (
        Row(
            "Saturation",
            (
                graph(
                    "Event-loop lag",
                    "How much later than planned the loop woke.",
                    *quantiles("ws402_event_loop_lag_seconds", "instance"),
                    unit="s",
                    thresholds=((0.25, "red"),),
                    alert="WS402EventLoopSaturated",
                ),
                graph(
                    "CPU",
                    "Cores used by each process.",
                    ("sum by (instance) (rate(process_cpu_seconds_total[$r]))", "{{instance}}"),
                ),
                graph(
                    "Memory",
                    "Resident.",
                    ("sum by (instance) (process_resident_memory_bytes)", "{{instance}}"),
                    unit="bytes",
                ),
                graph(
                    "Open files",
                    "File descriptors, sockets included.",
                    ("sum by (instance) (process_open_fds)", "{{instance}}"),
                ),
                graph(
                    "Garbage collections",
                    "By generation.",
                    (
                        "sum by (instance, generation) (rate(python_gc_collections_total[$r]))",
                        "{{instance}} {{generation}}",
                    ),
                    unit="ops",
                ),
            ),
        ),
        Row(
            "Life",
            (
                graph(
                    "Started",
                    "Seconds since each process started; a saw is a crash loop.",
                    ("time() - max by (instance) (process_start_time_seconds)", "{{instance}}"),
                    unit="s",
                    alert="WS402CrashLooping",
                ),
                graph(
                    "Log records",
                    "At warning and above.",
                    ("sum by (instance, level) (rate(ws402_log_records_total[$r]))", "{{instance}} {{level}}"),
                    unit="ops",
                ),
                graph(
                    "Spans",
                    "That the OTLP endpoint took.",
                    ("sum by (instance) (rate(ws402_spans_exported_total[$r]))", "{{instance}}"),
                    unit="ops",
                ),
            ),
        ),
    ),
)
