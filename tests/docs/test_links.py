"""Links in the documents lead somewhere, and what they say is laid out is laid out so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "examples" / "README.md",
    ROOT / "sdk" / "js" / "README.md",
]


def anchors(text: str) -> set[str]:
    """The anchors that headings get where the documents are shown."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text(), flags=re.DOTALL)  # code has no links
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        assert not target.startswith("http"), f"{target}: the documents stand on nothing from outside"
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), target


def test_every_part_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    parts = [
        part for row in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE) for part in re.findall(r"`([\w./]+)`", row)
    ]
    named = [part for part in parts if part.endswith(("/", ".py"))]
    assert len(named) > 10
    assert [part for part in named if not (ROOT / "app" / "ws402" / part).exists()] == []


def test_no_part_is_missing_from_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    package = ROOT / "app" / "ws402"
    folders = {path.name for path in package.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert [name for name in sorted(folders) if f"`{name}/`" not in text] == []
