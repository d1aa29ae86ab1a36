"""A policy in Vault's language: what a gateway needs of it, what one that exists grants, and how one grows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ws402.errors import ConfigurationError

Rule = tuple[str, str]
"""A path by its full name, and the right to it."""

# A gateway's own token, since it does without the policy `default`.
OWN_TOKEN: Final[tuple[Rule, ...]] = (("auth/token/renew-self", "update"), ("auth/token/revoke-self", "update"))

_BLOCK: Final = re.compile(r'[ \t]*path\s+"(?P<path>[^"]+)"\s*\{(?P<body>[^{}]*)\}[ \t]*\n?')
_RIGHTS: Final = re.compile(r"capabilities\s*=\s*\[([^\]]*)\]")
_COMMENT: Final = re.compile(r"^\s*(#|//).*$", re.MULTILINE)


def secret_rules(mount: str, path: str) -> list[Rule]:
    """What reading one secret of KV version 2 needs."""
    return [(f"{mount}/metadata/{path}", "read"), (f"{mount}/data/{path}", "read")]


def transit_rules(mount: str, key: str) -> list[Rule]:
    """What signing with one transit key needs."""
    return [(f"{mount}/keys/{key}", "read"), (f"{mount}/sign/{key}", "update")]


def written(rules: Iterable[Rule]) -> str:
    """Rules in Vault's language."""
    return "".join(f'path "{path}" {{\n  capabilities = ["{right}"]\n}}\n' for path, right in rules)


def granted(text: str) -> set[Rule]:
    """The rules that a policy's blocks grant. A block in a form that is not understood counts as none."""
    return {
        (block["path"], right.strip().strip('"'))
        for block in _BLOCK.finditer(_COMMENT.sub("", text))
        for rights in _RIGHTS.findall(block["body"])
        for right in rights.split(",")
    }


def with_rules(text: str, rules: Iterable[Rule]) -> tuple[str, list[Rule]]:
    """A policy that grants these, too, its own text untouched; and what was added. Raises ConfigurationError."""
    missing = sorted(set(rules) - granted(text))
    if missing and text.lstrip().startswith("{"):
        raise ConfigurationError(
            "The policy is written in JSON, which is not added to.", remedy=f"Add by hand:\n{written(missing)}"
        )
    head = text if not text or text.endswith("\n") else f"{text}\n"
    return head + written(missing), missing


def without_paths(text: str, paths: Iterable[str]) -> str:
    """A policy without the blocks of these paths, the rest untouched. Raises ConfigurationError."""
    gone = set(paths)
    kept = _BLOCK.sub(lambda block: "" if block["path"] in gone else block[0], text)
    if left := sorted(path for path in gone if f'"{path}"' in _COMMENT.sub("", kept)):
        raise ConfigurationError(
            f"The policy names {left[0]} in a form that is not understood.", remedy="Take it out by hand."
        )
    return kept
