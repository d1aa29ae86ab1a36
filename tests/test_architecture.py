"""The house: which part may import which. docs/architecture.md shows it; here it is checked."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APP = ROOT / "app" / "ws402"
MAX_LINES = 400
MOST_ROOMS = 14
MOST_ARROWS = 42
"""About half of the 79 imports that there were between the gateway's modules when all lay in one room."""

LEVELS = [
    {"errors", "money", "prices", "nesting", "files", "tls", "backoff", "breaker", "limits", "deadlines", "outgoing"}
    | {"loading"},
    {"protocol", "settings"},
    {"http_connection", "serving"},
    {"observability"},
    {"jobs"},
    {"keys"},
    {"chains"},
    {"gateway"},
    {"provider"},
    {"server", "client"},
    {"testing", "devchain"},
    {"demo"},
    {"cli"},
]
"""Parts of `app/ws402`, from below: each imports only what stands below it, or beside it where that makes no circle."""

ROOMS = [
    *("ledger", "auth", "usage", "watch", "intake", "refunds", "collect", "webhooks", "books", "upkeep", "service"),
    *("api", "console", "run"),
]
"""Rooms of the gateway, from below."""
CORE = [room for room in ROOMS if room not in {"auth", "api", "console", "run"}]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(APP.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in APP.rglob("*.py")}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def arrows(depth: int, below: str = "ws402") -> dict[str, set[str]]:
    """Which part imports which, by the name at `depth`."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, path in MODULES.items():
        for other in imports(path):
            mine, theirs = module.split("."), other.split(".")
            if not (module.startswith(f"{below}.") and other.startswith(f"{below}.")):
                continue
            if mine[depth] != theirs[depth]:
                found[mine[depth]].add(theirs[depth])
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A way from a part back to itself, if there is one."""
    done: set[str] = set()

    def walk(part: str, way: list[str]) -> list[str]:
        if part in way:
            return [*way[way.index(part) :], part]
        if part in done:
            return []
        for other in sorted(graph.get(part, ())):
            if found := walk(other, [*way, part]):
                return found
        done.add(part)
        return []

    return next((found for part in sorted(graph) if (found := walk(part, []))), [])


def test_parts_import_only_what_stands_below() -> None:
    level = {part: height for height, parts in enumerate(LEVELS) for part in parts}
    graph = arrows(1)
    assert set(level) == {module.split(".")[1] for module in MODULES if "." in module} - {"__init__"}
    wrong = {f"{part} -> {other}" for part, others in graph.items() for other in others if level[other] > level[part]}
    assert not wrong


def test_rooms_of_a_server_make_no_circle() -> None:
    assert circle(arrows(2, "ws402.server")) == []


def test_no_circle_between_parts() -> None:
    assert circle(arrows(1)) == []


def test_rooms_of_the_gateway_import_only_what_stands_below() -> None:
    rooms = {path.stem for path in (APP / "gateway").iterdir() if not path.name.startswith("__")}
    assert rooms == set(ROOMS)
    assert len(rooms) <= MOST_ROOMS
    graph = arrows(2, "ws402.gateway")
    wrong = {
        f"{room} -> {other}"
        for room, others in graph.items()
        for other in others
        if ROOMS.index(other) > ROOMS.index(room)
    }
    assert not wrong
    assert sum(len(others) for others in graph.values()) <= MOST_ARROWS


@pytest.mark.parametrize(
    "part", ["chains", "gateway", "keys", "observability", "protocol", "provider", "server", "settings"]
)
def test_no_circle_between_modules(part: str) -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for module, path in MODULES.items():
        if module.startswith(f"ws402.{part}."):
            graph[module] = {
                other
                for other in imports_at_start(path)
                if other.startswith(f"ws402.{part}.") and other in MODULES and other != module
            }
    assert circle(graph) == []


def imports_at_start(path: Path) -> Iterator[str]:
    """What is imported when the module is: not inside functions, nor for types only."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in MODULES else node.module


def test_the_core_knows_no_http_and_no_particular_chain() -> None:
    for module, path in MODULES.items():
        if re.match(
            r"ws402\.gateway\.(ledger|usage|watch|intake|refunds|collect|webhooks|books|upkeep|service)\b", module
        ):
            found = {each for each in imports(path) if each.startswith(("litestar", "ws402.chains", "ws402.serving"))}
            assert found <= {"ws402.chains.base", "ws402.chains.collecting"}, module


def test_the_document_shows_every_part() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    shown = set(re.findall(r"`(?:gateway/)?([a-z_0-9]+)(?:/|\.py)`", text))
    assert {part for parts in LEVELS for part in parts} | set(ROOMS) <= shown


def test_no_file_is_too_long() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in APP.rglob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > MAX_LINES} == {}
