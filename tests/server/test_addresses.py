"""Who a client is, behind proxies, and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws402.errors import ConfigurationError
from ws402.server.addresses import Counts, TrustedProxies, group, query_value


def headers(forwarded: str | None) -> dict[str, str]:
    return {} if forwarded is None else {"X-Forwarded-For": forwarded}


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ([], "10.0.0.1", "203.0.113.1", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", None, "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "203.0.113.1", "203.0.113.1"),
        (["10.0.0.0/8"], "203.0.113.9", "198.51.100.1", "203.0.113.9"),
        (["10.0.0.0/8"], "10.0.0.1", "198.51.100.1, 203.0.113.1", "203.0.113.1"),
        (["10.0.0.0/8"], "10.0.0.1", "198.51.100.1, 203.0.113.1, 10.0.0.2", "203.0.113.1"),
        (["10.0.0.0/8"], "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (["10.0.0.0/8"], "10.0.0.1", "203.0.113.1:4711", "203.0.113.1"),
        (["10.0.0.0/8"], "10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        (["10.0.0.0/8"], "10.0.0.1", "garbage", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "203.0.113.1, garbage", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "", "10.0.0.1"),
        (["2001:db8::/32"], "2001:db8::5", "203.0.113.1", "203.0.113.1"),
        (["10.0.0.0/8"], "unknown", "203.0.113.1", "unknown"),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", "203.0.113.1", "203.0.113.1"),
        (["::ffff:10.0.0.0/104"], "10.0.0.1", "203.0.113.1", "203.0.113.1"),
        (["10.0.0.0/8"], "10.0.0.1", "203.0.113.1, ::ffff:10.0.0.2", "203.0.113.1"),
        (["10.0.0.0/8"], "10.0.0.1", "::ffff:203.0.113.1", "203.0.113.1"),
        (["10.0.0.0/8"], "10.0.0.1", '"[2001:db8::1]:4711"', "2001:db8::1"),
        ([], "::ffff:203.0.113.9", None, "203.0.113.9"),
        ([], "fe80::1%eth0", None, "fe80::1%eth0"),
    ],
)
def test_the_nearest_untrusted_hop_is_the_client(
    trusted: list[str], peer: str, forwarded: str | None, client: str
) -> None:
    assert TrustedProxies(trusted).client(peer, headers(forwarded).get) == client


@pytest.mark.parametrize(
    ("peer", "proto", "host", "expected"),
    [
        ("10.0.0.1", "https", "shop.example", "https://shop.example"),
        ("10.0.0.1", "HTTPS", "shop.example", "https://shop.example"),
        ("10.0.0.1", "https,http", "shop.example, inner.example", "https://shop.example"),
        ("10.0.0.1", " https , https", None, "https://direct.example"),
        ("10.0.0.1", "wss", None, "https://direct.example"),
        ("10.0.0.1", "WS", None, "http://direct.example"),
        ("::ffff:10.0.0.1", "https", None, "https://direct.example"),
        ("10.0.0.1", "gopher", None, "http://direct.example"),
        ("10.0.0.1", "", "", "http://direct.example"),
        ("10.0.0.1", "https", "shop.example/x", "https://localhost"),
        ("203.0.113.9", "https", "shop.example", "http://direct.example"),
    ],
)
def test_what_a_trusted_proxy_says_of_the_address_is_read_as_proxies_write_it(
    peer: str, proto: str, host: str | None, expected: str
) -> None:
    told = {"Host": "direct.example", "X-Forwarded-Proto": proto}
    if host is not None:
        told["X-Forwarded-Host"] = host
    assert TrustedProxies(["10.0.0.0/8"]).base_url(peer, told.get, secure=False) == expected


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="TRUSTED_PROXIES"):
        TrustedProxies(["proxy.example"])


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_limits_count_by_subscriber(address: str, expected: str) -> None:
    assert group(address) == expected


@given(st.lists(st.sampled_from(["take", "give"]), max_size=60), st.integers(1, 5))
def test_counts_never_pass_the_limit_nor_leak(steps: list[str], limit: int) -> None:
    counts, held = Counts(limit), 0
    for step in steps:
        if step == "take":
            taken = counts.take("a")
            assert taken == (held < limit)
            held += taken
        elif held:
            counts.give("a")
            held -= 1
    for _ in range(held):
        counts.give("a")
    assert counts._counts == {}


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("resourceId=ticker", "ticker"),
        ("userId=a&resourceId=b", "b"),
        ("resourceId=a%20b%26c", "a b&c"),
        ("resourceId=a+b", "a b"),
        ("resourceId=first&resourceId=second", "first"),
        ("resourceId", ""),
        ("resourceIdX=1", ""),
        ("%72esourceId=a", "a"),
        ("", ""),
        ("&&=&resourceId==x", "=x"),
    ],
)
def test_query_values(query: str, value: str) -> None:
    assert query_value(query, "resourceId") == value
