"""Compiled contracts and their deployment data. `DemoToken.json` is built from `DemoToken.sol` by `build.mjs`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from eth_abi.abi import encode

FOLDER: Final = Path(__file__).parent


def load_artifact(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """A compiled contract: its `abi` and `bytecode` (hex with 0x). Raises FileNotFoundError."""
    artifact: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return artifact


def deploy_data(artifact: dict[str, Any], arguments: Sequence[Any] = ()) -> bytes:
    """The data of a transaction that creates the contract with these constructor arguments."""
    constructors = [each for each in artifact["abi"] if each["type"] == "constructor"]
    types = [each["type"] for each in constructors[0]["inputs"]] if constructors else []
    return bytes.fromhex(artifact["bytecode"].removeprefix("0x")) + encode(types, arguments)
