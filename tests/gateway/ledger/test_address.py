"""URLs of databases: as providers show them, as people write them, and wrongly."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from ws402.errors import ConfigurationError
from ws402.gateway.ledger.address import read
from ws402.gateway.ledger.database import Database


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h/d", {"user": "u", "password": "p", "host": ["h"], "port": [5432], "database": "d"}),
        ("postgres://u:p%40%2F%23%3F@h:1/d", {"password": "p@/#?"}),
        ("postgresql://u:a@b@h/d", {"password": "a@b", "host": ["h"]}),
        ("postgresql://u:a:b@h/d", {"user": "u", "password": "a:b"}),
        ("postgresql://u:p+q@h/d", {"password": "p+q"}),
        ("postgresql://h/d?user=u&password=a%26b+c", {"user": "u", "password": "a&b+c"}),
        ("postgresql+asyncpg://u@h/d", {"user": "u"}),
        ("postgresql://u@a:1,b:2,c/d", {"host": ["a", "b", "c"], "port": [1, 2, 5432]}),
        ("postgresql://u@a,b/d?port=7", {"host": ["a", "b"], "port": [7, 7]}),
        ("postgresql://u@[::1]:6/d", {"host": ["::1"], "port": [6]}),
        ("postgresql://u@%2Fvar%2Frun/d", {"host": ["/var/run"]}),
        ("postgresql://u@/d?host=/tmp&port=9", {"host": ["/tmp"], "port": [9]}),
        ("postgresql://h/d?connect_timeout=5", {"timeout": 5.0}),
        ("postgresql://h/d?connect_timeout=0", {"timeout": 10.0}),
        ("postgresql://h/d?application_name=shop", {"server_settings": {"application_name": "shop"}}),
        ("postgresql://h/d", {"server_settings": {"application_name": "ws402"}, "target_session_attrs": "read-write"}),
        ("postgresql://h/d?target_session_attrs=any", {"target_session_attrs": "read-write"}),
        ("postgresql://h/d?target_session_attrs=primary", {"target_session_attrs": "primary"}),
        ("postgresql://h/d?sslmode=require&channel_binding=prefer", {"dsn": "postgresql://?sslmode=require"}),
        ("postgresql://h/d?gssencmode=disable", {"database": "d"}),
    ],
)
def test_what_a_url_says_is_understood(url: str, expected: dict[str, Any]) -> None:
    found = read(url).arguments
    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("-c%20statement_timeout%3D5s", {"statement_timeout": "5s"}),
        ("-cwork_mem%3D1MB%20--lock_timeout%3D2s", {"work_mem": "1MB", "lock_timeout": "2s"}),
        ("-c%20search_path%3D%22a%20b%22", {"search_path": "a b"}),
    ],
)
def test_options_are_settings_of_each_session(options: str, settings: dict[str, str]) -> None:
    assert read(f"postgresql://h/d?options={options}").settings == settings


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("channel_binding=require", "channel_binding"),
        ("keepalives_idle=30", "keepalives_idle"),
        ("pgbouncer=true", "pgbouncer"),
        ("target_session_attrs=standby", "target_session_attrs"),
        ("connect_timeout=soon", "connect_timeout"),
        ("sslmode=always", "sslmode"),
        ("sslrootcert=/nowhere/ca.crt", "sslrootcert"),
        ("sslmode=require&sslrootcert=system", "sslrootcert"),
        ("options=-d%205", "options"),
        ("options=%22-c", "options"),
        ("sslmode=verify-full&sslrootcert=system&sslcert=/nowhere/c.crt", "sslrootcert"),
        ("port=1,2", "port"),
        ("sslmode=require&sslmode=disable", "sslmode"),
    ],
)
def test_what_is_not_offered_is_refused_by_its_name(query: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^DATABASE_URL: the parameter {named} "):
        Database(f"postgresql://u:zebra@h/d?{query}")


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("h/d?sslmode", "has parameters that are not of the form name=value"),
        ("h/d?SSL-MODE=require", "has a parameter whose name is none of libpq's"),
        ("h/d?host=[zz]", "has a host that is none"),
    ],
)
def test_what_is_no_url_is_refused_and_says_what_is_wrong_with_it(rest: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^DATABASE_URL {told}"):
        Database(f"postgresql://u:zebra@{rest}")


def test_certificates_that_the_machine_trusts_and_a_file_of_passwords_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    where = read(f"postgresql://h/d?sslmode=verify-full&sslrootcert=system&passfile={file}")
    assert isinstance(where.arguments["ssl"], ssl.SSLContext)
    assert where.arguments["passfile"] == str(file)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ws402:aa@zebraGiraffe#x/y9@127.0.0.1:1/ws402",
        "postgresql://ws402:zebra/giraffe@tail@127.0.0.1:1/ws402",
        "postgresql://ws402:q?zebraGiraffe=1@127.0.0.1:1/ws402",
        "postgresql://ws402:zebra?giraffe@127.0.0.1:1/ws402",
        "postgresql://ws402:1234/zebra@127.0.0.1/ws402",
        "postgresql://ws402:zebra%giraffe@127.0.0.1/ws402",
        "postgresql://ws402:zebra giraffe@127.0.0.1/ws402",
        "postgresql://ws402:zebra[giraffe@127.0.0.1:x/ws402",
        "postgresql://ws402:zebra\\@127.0.0.1:giraffe/ws402",
        "postgresql://[zebra:giraffe/ws402",
        "ws402:zebra@127.0.0.1/giraffe",
        "zebra://giraffe",
        "mysql://ws402:zebra@127.0.0.1/giraffe",
        "host=127.0.0.1 password=zebra dbname=giraffe",
        "sqlite://zebra:giraffe@/x",
        "sqlite:///ledger.db?zebra=giraffe",
        "zebra",
        "",
    ],
)
def test_a46_no_part_of_a_password_is_in_the_refusal_of_a_wrong_url(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Database(url)
    told = f"{caught.value} {caught.value.__cause__!r}"
    assert "DATABASE_URL" in told
    assert not [word for word in ("zebra", "Giraffe", "giraffe", "tail", "1234") if word in told]


def test_a46_an_address_shows_no_password() -> None:
    address = read("postgresql://u:zebra@h/d")
    assert "zebra" not in repr(address) + str(address) + address.name


def test_the_file_of_an_sqlite_url_is_taken_as_it_stands(tmp_path: Path) -> None:
    assert Database(f"sqlite:///{tmp_path}/a b%20c.db").name == f"sqlite:///{tmp_path}/a b%20c.db"
    with pytest.raises(ConfigurationError, match="names no file"):
        Database("sqlite:///:memory:")
