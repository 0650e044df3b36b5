"""Addresses one or two letters away, against a naive oracle."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.people.unknown_leaver import edit_distance, nearest_addresses


@cache
def naive(one: str, other: str) -> int:
    """The definition, by recursion."""
    if not one or not other:
        return len(one) + len(other)
    if one[0] == other[0]:
        return naive(one[1:], other[1:])
    return 1 + min(naive(one[1:], other), naive(one, other[1:]), naive(one[1:], other[1:]))


def oracle(address: str, known: list[str], limit: int) -> tuple[str, ...]:
    def distance(other: str) -> int:
        (local, _, domain), (other_local, _, other_domain) = address.rpartition("@"), other.rpartition("@")
        return naive(local, other_local) + naive(domain, other_domain)

    near = sorted({(distance(other), other) for other in known if 1 <= distance(other) <= 2})
    return tuple(other for _, other in near[:limit])


WORDS = st.text(alphabet="ab\u00e4\u0436.", max_size=6)
ADDRESSES = st.builds("{}@{}".format, WORDS, WORDS)


@given(WORDS, WORDS, st.integers(0, 4))
def test_the_distance_is_the_naive_one_up_to_its_bound(one, other, most):
    assert edit_distance(one, other, most) == min(naive(one, other), most + 1)


@given(ADDRESSES, st.lists(ADDRESSES, max_size=12), st.integers(0, 4))
def test_the_nearest_are_those_of_the_oracle(address, known, limit):
    assert nearest_addresses(address, known, limit) == oracle(address, known, limit)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ana.slva@example.com", ("ana.silva@example.com",)),
        ("ana.silva@exampel.com", ("ana.silva@example.com",)),
        ("ana.silvas@example.co", ("ana.silva@example.com",)),
        ("ana.silva@example.com", ()),
        ("a.silva@example.com", ("ana.silva@example.com",)),
        ("silva.ana@example.com", ()),
        ("nobody", ()),
    ],
)
def test_slips_of_real_kinds(address, expected):
    known = ["ana.silva@example.com", "ben@example.com", "ana.silva@example.com", "chi@example.org"]
    assert nearest_addresses(address, known) == expected


def test_the_nearer_come_first_then_the_alphabet_and_no_more_than_asked_for():
    known = ["anna@x.com", "anne@x.com", "ann@x.com", "an@x.com", "andy@x.com"]
    assert nearest_addresses("anni@x.com", known, limit=4) == ("ann@x.com", "anna@x.com", "anne@x.com", "an@x.com")
    assert nearest_addresses("anni@x.com", known) == ("ann@x.com", "anna@x.com", "anne@x.com")
    assert nearest_addresses("anni@x.com", known, limit=0) == ()
