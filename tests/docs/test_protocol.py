"""What the protocol's document shows is what the code speaks."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from ws402 import protocol

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
EXAMPLES = re.findall(r"<!-- check: (\w+) -->\n```json\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_an_example_is_a_message_and_has_no_field_that_is_not(name: str, example: str) -> None:
    message = msgspec.json.decode(example, type=getattr(protocol, name))
    assert json.loads(protocol.encode(message)) == json.loads(example)


def test_every_json_block_is_checked() -> None:
    assert len(EXAMPLES) == TEXT.count("```json") > 0


def test_every_reject_code_has_a_row_with_a_remedy() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| .+? \| (.+?) \|$", TEXT, re.MULTILINE))
    assert {code.value for code in protocol.RejectCode} <= set(rows)


def test_transient_codes_are_marked() -> None:
    marked = set(re.findall(r"^\| `(\w+)` \| \*again\*", TEXT, re.MULTILINE))
    assert marked == {code.value for code in protocol.TRANSIENT_REJECTS}


def test_every_message_and_field_of_the_socket_is_named() -> None:
    for union in (protocol.ClientMessage, protocol.ServerMessage):
        for kind in union.__args__:
            row = next((line for line in TEXT.splitlines() if line.startswith(f"| `{kind.__struct_config__.tag}`")), "")
            for field in msgspec.structs.fields(kind):
                assert f"`{field.encode_name}`" in row, f"{kind.__name__}.{field.encode_name}"


def test_every_reason_for_an_end_is_named() -> None:
    for reason in protocol.EndReason:
        assert f"`{reason.value}`" in TEXT


def test_every_operation_is_shown() -> None:
    shown = set(re.findall(r'"op": "(\w+)"', TEXT))
    assert shown == {str(kind.__struct_config__.tag) for kind in protocol.AnyOp.__args__}
