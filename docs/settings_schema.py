"""Tables of settings as JSON Schema, for the chart's values.schema.json: what it takes is what the programs take."""

# ruff: noqa: INP001 - a script's module, not a package

from __future__ import annotations

import typing
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal

import annotated_types
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ws402 import settings

PLAIN: Final[dict[Any, str]] = {int: "integer", float: "number", str: "string", Path: "string", bool: "boolean"}

AMOUNT: Final = {"$ref": "#/definitions/amount"}

CHECKED_BY_TEMPLATES: Final = {
    "host", "port", "gateway_host", "gateway_port", "metrics_host", "metrics_port", "provider", "resources",
    "resources_file", "gateway_url", "vault", "aws", "kubernetes_identity", "evm_networks", "solana_networks",
    "gateway_ca_file", "gateway_token_file", "gateway_client_cert_file", "gateway_client_key_file",
    "gateway_tls_cert_file", "gateway_tls_key_file", "gateway_tls_client_ca_file",
}  # fmt: skip
"""What the chart sets by values of its own: known here, so that its templates refuse it with a sentence."""


def process(kind: type[BaseModel], comments: dict[tuple[str, str], str]) -> dict[str, Any]:
    """`server.settings` or `gateway.settings`. A null leaves the program's default."""
    properties: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        if is_secret(field) or name in CHECKED_BY_TEMPLATES:
            properties[name] = {}
        else:
            properties[name] = _with_null(_schema(field))
        properties[name]["description"] = comment(kind, name, comments)
    return properties


def entry(kind: type[BaseModel], comments: dict[tuple[str, str], str]) -> dict[str, Any]:
    """An entry of `resources` or `networks`, without its secrets."""
    return {
        name: {**_schema(field), "description": comment(kind, name, comments)}
        for name, field in kind.model_fields.items()
        if not is_secret(field)
    }


def comment(kind: type[BaseModel], name: str, comments: dict[tuple[str, str], str]) -> str:
    """The sentence below a setting."""
    found = (comments[base.__name__, name] for base in kind.mro() if (base.__name__, name) in comments)
    return next(found, "")


def is_secret(field: FieldInfo) -> bool:
    """Whether its value must not be seen."""
    return SecretStr in _parts(field.annotation)


def _parts(kind: Any) -> list[Any]:
    return [kind, *(part for each in typing.get_args(kind) for part in _parts(each))]


def _schema(field: FieldInfo) -> dict[str, Any]:
    made = _type(field.annotation)
    for each in field.metadata:
        match each:
            case annotated_types.Ge(ge=bound):
                made["minimum"] = bound
            case annotated_types.Gt(gt=bound):
                made["exclusiveMinimum"] = bound
            case annotated_types.Le(le=bound):
                made["maximum"] = bound
            case _:
                if pattern := getattr(each, "pattern", None):
                    made["pattern"] = pattern
    return made


def _type(kind: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in {typing.Union, UnionType}:
        (one,) = (each for each in arguments if each is not NoneType)
        return _type(one)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": _entry(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": AMOUNT}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {"type": "object"}
    return {"type": PLAIN[kind]}


def _entry(kind: Any) -> dict[str, Any]:
    """What is in a list: of a table, its settings."""
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return _type(kind)
    properties = {name: _schema(field) for name, field in kind.model_fields.items()}
    needed = [name for name, field in kind.model_fields.items() if field.is_required()]
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": needed}


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    return {**schema, "type": [schema["type"], "null"]}


def apply(schema: dict[str, Any], comments: dict[tuple[str, str], str]) -> None:
    """Writes the settings into the chart's schema: those of the programs whole; in `resources` and `networks` what is
    not there by hand."""
    values = schema["properties"]
    for name, kind in (("server", settings.ServerSettings), ("gateway", settings.GatewaySettings)):
        table = values[name]["properties"]["settings"]
        table.update(type="object", additionalProperties=False, properties=process(kind, comments))
    networks = values["networks"]["properties"]
    for items, each, tokens in (
        (values["resources"]["items"], settings.ResourceSettings, None),
        (networks["evm"]["items"], settings.EvmNetworkSettings, settings.TokenSettings),
        (networks["solana"]["items"], settings.SolanaNetworkSettings, settings.SplTokenSettings),
    ):
        _complete(items, entry(each, comments))
        if tokens is not None:
            _complete(items["properties"]["tokens"]["items"], entry(tokens, comments))


def _complete(items: dict[str, Any], known: dict[str, Any]) -> None:
    for name, made in known.items():
        if name in items["properties"]:
            items["properties"][name]["description"] = made["description"]
        else:
            items["properties"][name] = made
