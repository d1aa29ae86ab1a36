"""What a program turns on first: logs, traces, error reports."""

from __future__ import annotations

import logging
import sys

import click

from ws402.observability import logs, sentry, tracing
from ws402.outgoing import tell_unused_proxies
from ws402.settings.observability import ObservedSettings

log = logging.getLogger("ws402")


def start(settings: ObservedSettings, component: str) -> None:
    """For the whole life of the process. Raises ConfigurationError."""
    logs.configure(settings, component)
    sentry.configure(settings, component)
    tracing.configure(component)
    tell_unused_proxies()


def announce(settings: ObservedSettings, line: str) -> None:
    """Say that the program is ready: to people as it is, else as a log record, so that every line is JSON."""
    if logs.is_json(settings, sys.stdout):
        log.log(max(logging.INFO, log.getEffectiveLevel()), line)
    else:
        click.echo(line)
