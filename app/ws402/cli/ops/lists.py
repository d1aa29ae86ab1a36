"""What all lists of `ws402 ops` share: what is searched for, page by page, and shown anew while one watches."""

from __future__ import annotations

import functools
import shlex
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

TIMES: Final = 10_000
"""How often a watched list is shown at most."""
_FORMS: Final = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z")

Command = TypeVar("Command", bound=Callable[..., Any])


_MOMENT: Final = click.DateTime(list(_FORMS))
limited = click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="Most rows.")
of_network = click.option("--network", help="Of this network only.")
_SEARCH: Final = (
    of_network,
    click.option("--payer", help="Of this payer's address only."),
    click.option("--tx", help="Of this transaction only: a payment's, or a refund's."),
    click.option("--resource", help="Of this resource only."),
    click.option("--since", type=_MOMENT, help="From this day or time on (ISO 8601, UTC)."),
    click.option("--until", type=_MOMENT, help="Before this day or time."),
    click.option("--before", help="Go on from where the page before ended; it prints the whole command."),
    limited,
)


def searched(*leave_out: str) -> Callable[[Command], Command]:
    """The options of a search, but some, as one argument `search` of the command."""

    def decorate(work: Command) -> Command:
        @functools.wraps(work)
        def command(*args: Any, **given: Any) -> Any:
            names = ("network", "payer", "tx", "resource", "since", "until", "before", "limit")
            search = {name: _told(given.pop(name, None)) for name in names}
            return work(*args, search=search, **given)

        made: Any = command
        for option in reversed(_SEARCH):
            with_option: Any = option(made)
            if with_option.__click_params__[-1].name in leave_out:
                with_option.__click_params__.pop()
            made = with_option
        result: Command = made
        return result

    return decorate


def _told(value: Any) -> Any:
    """As the gateway is asked: times in ms since the epoch, UTC where they say nothing else."""
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000)
    return value


def watched(work: Command) -> Command:
    """A command that can be shown again and again."""

    @click.option("--watch", type=click.FloatRange(min=0.2), help="Show it anew every so many seconds, until Ctrl-C.")
    @click.option(
        "--times",
        type=click.IntRange(1, TIMES),
        default=TIMES,
        show_default=True,
        help="With --watch: at most.",
    )
    @functools.wraps(work)
    def command(*args: Any, watch: float | None, times: int, **given: Any) -> None:
        if watch is None:
            work(*args, **given)
            return
        status = 0
        for number in range(times):
            if number:
                time.sleep(watch)
            click.clear()  # only where somebody looks
            click.echo(f"{datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}, every {watch:g} s")
            try:
                work(*args, **given)
            except SystemExit as end:  # such as that it is not ready: that is what one waits for
                status = int(end.code or 0)
            else:
                status = 0
        sys.exit(status)

    made: Any = command
    return made  # type: ignore[no-any-return]


def tell_next(context: click.Context, answer: dict[str, Any]) -> None:
    """How the next page is asked for, as a whole command, on standard error: what is piped stays a list. Programs that
    read JSON have `next`.
    """
    if (cursor := answer.get("next")) is not None and not context.obj.as_json:
        click.echo(f"more: {again(context, before=cursor)}", err=True)


def again(context: click.Context, **changed: Any) -> str:
    """The command that runs now, with some options changed. What came from the environment comes from there again."""
    words = ["ws402", "ops"]
    chain: list[click.Context] = []
    at: click.Context | None = context
    while at is not None and at.info_name != "ops":
        chain.insert(0, at)
        at = at.parent
    if at is not None:
        words += _given(at)
    for each in chain:
        words += [each.info_name or "", *_given(each, changed if each is context else {})]
    return shlex.join(words)


def _given(context: click.Context, changed: dict[str, Any] | None = None) -> list[str]:
    words: list[str] = []
    for param in context.command.params:
        name = param.name or ""
        if changed and name in changed:
            words += [param.opts[0], str(changed[name])]
        elif context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = context.params[name]
            if isinstance(param, click.Argument):
                words.append(str(value))
            elif isinstance(param, click.Option) and param.is_flag:
                words.append(param.opts[0])
            elif isinstance(value, datetime):
                words += [param.opts[0], value.strftime("%Y-%m-%dT%H:%M:%S%z") + ("" if value.tzinfo else "Z")]
            else:
                words += [param.opts[0], str(value)]
    return words
