"""Deeply nested JSON is told before a decoder follows it."""

from __future__ import annotations

import json

import pytest

from ws402.nesting import MAX_DEPTH, too_deep


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("kind", [str, str.encode])
def test_the_bound_is_exact(kind: type[str]) -> None:
    assert not too_deep(kind(nested(MAX_DEPTH)))
    assert too_deep(kind(nested(MAX_DEPTH + 1)))
    assert too_deep(kind('{"a":' * (MAX_DEPTH + 1)))


def test_broad_json_is_not_deep() -> None:
    assert not too_deep(json.dumps([{"a": []}] * 1000))
    assert not too_deep("[]" * 1000)


@pytest.mark.parametrize("text", [nested(100), '"' + nested(100), "\\", "\\" + '"' + nested(100), "\ud800[" * 100])
def test_brackets_within_strings_are_text(text: str) -> None:
    assert not too_deep(json.dumps([text] * 10))


def test_a_string_that_never_ends_hides_nothing_that_a_decoder_would_follow() -> None:
    assert not too_deep('["' + nested(100))
    assert too_deep(nested(100) + '"')
