"""Runs what a document shows. A comment before a code block says how it is run:

- `<!-- run -->`: sh or python, in order, in one folder; must end with status 0.
- `<!-- run: background -->`: sh that goes on; the next block runs once it answers.
- `<!-- config -->`: toml that must be valid settings.
- `<!-- vault -->`: sh that needs a Vault, named by VAULT_ADDR, VAULT_TOKEN and VAULT_CACERT.
- `<!-- ci -->`: commands that only CI runs; their make targets must exist.

Documents show the usual ports; the run gives each a free one, also in settings that `ws402 init` writes.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fixtures.processes import COMMAND, Process, free_port
from tests.fixtures.stack import Rpc, answers

PORTS: Final = ("8545", "8899", "4029", "4030")
_BLOCK: Final = re.compile(
    r"(?:<!-- (?P<how>[a-z]+(?:: [\w-]+)?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL
)
UNRUN: Final = {"mermaid", "text", "json", "js", "go", "yaml", "html"}
"""Pictures, output, messages and markup (which have tests of their own), and what others run."""


@dataclass(frozen=True)
class Block:
    """One code block and how to run it."""

    how: str
    language: str
    code: str


def blocks(document: Path) -> list[Block]:
    """The code blocks of a document that are commands, programs or settings."""
    found = [Block(each["how"] or "", each["language"], each["code"]) for each in _BLOCK.finditer(document.read_text())]
    return [block for block in found if block.language not in UNRUN]


class Session:
    """A folder and an environment in which a document's blocks run, one after the other."""

    def __init__(self, folder: Path, *, programs: Path = Path(COMMAND).parent) -> None:
        """`programs`: the folder with the environment's `python` and `ws402`."""
        self.folder = folder
        self._python = str(programs / "python")
        self.ports = {port: str(free_port()) for port in PORTS}
        self.environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder)}
        self._opened = ExitStack()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def run(self, block: Block) -> str:
        """Run a block; answers what it printed."""
        code = block.code
        for shown, free in self.ports.items():
            code = code.replace(shown, free)
        if block.how == "run: background":
            self._background(code)
            return ""
        program = [self._python, "-"] if block.language == "python" else ["bash", "-euo", "pipefail", "-s"]
        # What a block exports is there for the next one, as in a terminal.
        if block.language == "sh":
            code += "\nexport -p > .exported\n"
        result = subprocess.run(
            program,
            input=code,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert result.returncode == 0, f"{block.code}\nended with {result.returncode}\n{result.stdout}\n{result.stderr}"
        self._take_exports()
        if "ws402 init" in block.code:
            self._give_ports()
        return result.stdout + result.stderr

    def _take_exports(self) -> None:
        file = self.folder / ".exported"
        if file.exists():
            for name, value in re.findall(r'^declare -x (\w+)="(.*)"$', file.read_text(), re.MULTILINE):
                self.environment[name] = value

    def _give_ports(self) -> None:
        """Settings files that a command wrote have the usual ports, too."""
        for file in self.folder.glob("*.toml"):
            for shown, free in self.ports.items():
                file.write_text(file.read_text().replace(f":{shown}", f":{free}"))

    def _background(self, code: str) -> None:
        shown, port = next((shown, port) for shown, port in self.ports.items() if port in code)
        process = Process(
            f"shown-{shown}",
            ["bash", "-c", f"exec env {code.strip()}"],
            environment=self.environment,
            folder=self.folder,
            ready=lambda: answers_at(shown, f"http://127.0.0.1:{port}"),
        )
        self._opened.callback(process.stop)
        process.start()


def answers_at(shown: str, url: str) -> bool:
    """Whether the program of a usual port is ready there."""
    if shown == "8545":
        return Rpc(url).alive
    paths = {"8899": "/health", "4029": "/health/ready", "4030": "/gateway-health"}
    return answers(url + paths[shown])
