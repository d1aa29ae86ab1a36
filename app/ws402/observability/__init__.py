"""What an operator sees of a running gateway or server: metrics, traces, logs, errors."""
