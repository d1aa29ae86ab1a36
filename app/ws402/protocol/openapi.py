"""OpenAPI 3.1 documents from tables of calls and the wire's own types: one way for the gateway and for servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ws402 import __version__
from ws402.protocol import ErrorResponse

AMOUNTS: Final = "Amounts are whole smallest units: numbers up to 2^53-1, strings of digits above."
_TEMPLATE: Final = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call: `request` None for GET, `answer` None for a free object, `scope` None when no key is needed.

    `query`: a Struct of the query string's fields. `refusals`: statuses of errors. `kind`: the answer's media type.
    """

    path: str
    summary: str
    request: Any = None
    answer: Any = None
    scope: str | None = "payments"
    refusals: tuple[int, ...] = ()
    query: Any = None
    kind: str = "application/json"
    other: Mapping[int, Any] | None = None
    """Statuses whose body is no error but of this type, such as a probe's 503."""

    @property
    def id(self) -> str:
        """Its name for programs."""
        words = self.path.replace("{", "").replace("}", "").replace(".", "_").replace("-", "_")
        return words.strip("/").replace("/", "_") or "root"


def document(title: str, description: str, operations: Sequence[Operation], *, key: str | None) -> dict[str, Any]:
    """Build it. `key` describes what callers show as a bearer token, if they do."""
    kinds = [kind for each in operations for kind in _kinds(each)]
    schemas, components = msgspec.json.schema_components([*kinds, ErrorResponse], ref_template=_TEMPLATE)
    of_kind = dict(zip([*map(str, kinds), str(ErrorResponse)], schemas, strict=True))
    paths: dict[str, Any] = {}
    for each in operations:
        made: dict[str, Any] = {
            "summary": each.summary,
            "operationId": each.id,
            "responses": _responses(each, of_kind),
        }
        if parameters := _parameters(each, components):
            made["parameters"] = parameters
        if each.scope:
            made["security"] = [{"key": [each.scope]}]
        if each.request:
            made["requestBody"] = {"required": True, **_content(of_kind[str(each.request)])}
        paths.setdefault(each.path, {})["post" if each.request else "get"] = made
    for each in operations:
        if each.query is not None:
            components.pop(each.query.__name__, None)
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__, "description": description},
        "paths": paths,
        "components": {"schemas": components},
    }
    if key is not None:
        found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": key}}
    return found


def _kinds(operation: Operation) -> list[Any]:
    found = [operation.request, operation.answer, operation.query, *(operation.other or {}).values()]
    return [kind for kind in found if kind is not None]


def _responses(operation: Operation, of_kind: Mapping[str, Any]) -> dict[str, Any]:
    answer = of_kind[str(operation.answer)] if operation.answer else {"type": "object"}
    if operation.kind != "application/json":
        answer = {"type": "string"}
    found: dict[str, Any] = {"200": {"description": "Done.", **_content(answer, operation.kind)}}
    refusals = {*operation.refusals, *((400,) if operation.query is not None else ())}
    for status in sorted(refusals):
        found[str(status)] = {"description": "Refused.", **_content(of_kind[str(ErrorResponse)])}
    for status, kind in (operation.other or {}).items():
        found[str(status)] = {"description": "Not now.", **_content(of_kind[str(kind)])}
    return found


def _parameters(operation: Operation, components: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those of the path, then those of the query string."""
    named = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in named
    ]
    if operation.query is not None:
        schema = components[operation.query.__name__]
        for name, each in schema["properties"].items():
            wanted = name in schema.get("required", ())
            found.append({"name": name, "in": "query", "required": wanted, "schema": _without_null(each)})
    return found


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A query string has no null: a field is left out instead."""
    found = {name: value for name, value in schema.items() if name != "default" or value is not None}
    if "anyOf" in found:
        choices = [each for each in found.pop("anyOf") if each.get("type") != "null"]
        found |= choices[0] if len(choices) == 1 else {"anyOf": choices}
    return found


def _content(schema: Any, kind: str = "application/json") -> dict[str, Any]:
    return {"content": {kind: {"schema": schema}}}
