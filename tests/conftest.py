"""Loads every module of `tests/fixtures`, so that a fixture is added by adding a file there."""

from pathlib import Path

pytest_plugins = [
    f"tests.fixtures.{path.stem}" for path in sorted((Path(__file__).parent / "fixtures").glob("[!_]*.py"))
]
