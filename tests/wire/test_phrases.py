"""Statuses are called the same under every Python."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from ws402.protocol.phrases import phrase


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "Bad Request"),
        (402, "Payment Required"),
        (404, "Not Found"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (416, "Range Not Satisfiable"),
        (422, "Unprocessable Content"),
        (429, "Too Many Requests"),
        (431, "Request Header Fields Too Large"),
        (503, "Service Unavailable"),
    ],
)
def test_a_status_has_its_name_of_rfc_9110(status: int, name: str) -> None:
    assert phrase(status) == name


def test_every_status_has_one() -> None:
    assert all(phrase(each) for each in HTTPStatus)
    with pytest.raises(ValueError, match="299"):
        phrase(299)
