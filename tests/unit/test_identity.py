"""Names are total, valid and stable, for every address that somebody may have."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.identity import (
    MAX_NAMING,
    account_email,
    account_id_for,
    instance_id_for,
    label_value,
    next_instance_id,
    parse_email,
    parse_user_key,
    user_key_for,
    user_key_of_instance,
    without_addresses,
)

# Workbench takes ids like Compute's names; 48 leaves room for the data disk's "-data-workspace".
INSTANCE_ID = re.compile(r"[a-z][a-z0-9-]*[a-z0-9]")
LABEL = re.compile(r"[a-z0-9_-]{0,63}")

NASTY = [
    ("ana.silva@example.com", "ana-silva"),
    ("  Ana.Silva@Example.COM\t", "ana-silva"),
    ("Ñandú.O'Neil+test@sub.example.co", "nandu-oneil-test"),
    ("Ñandú O'Neil+test@sub.example.co", "nandu-oneil-test"),
    ("o\u2019brien@example.com", "obrien"),
    ('"q"uoted@example.com', "quoted"),
    ("first_last@example.com", "first-last"),
    ("..dots..@example.com", "dots"),
    ("-dash-@example.com", "dash"),
    ("+@example.com", "user"),
    ("_@example.com", "user"),
    ("7of9@example.com", "u-7of9"),
    ("1@example.com", "u-1"),
    ("\u5f20\u4f1f@example.cn", "user"),
    ("\u0438\u0432\u0430\u043d@\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444", "user"),
    ("stra\u00dfe@example.de", "strae"),
    ("\U0001f600@example.com", "user"),
    ("x\U0001f600y@example.com", "xy"),
    ("\u212bngstr\u00f6m@example.se", "angstrom"),
    ("\uff21\uff22@example.jp", "ab"),
    ("a" * 64 + "@example.com", "a" * 28),
    ("a" * 27 + ".b@example.com", "a" * 27),
    ("user@my_host.example.com", "user"),
    ("user@xn--bcher-kva.example", "user"),
    ("user@b\u00fccher.example", "user"),
    ("user@\u092d\u093e\u0930\u0924.\u092d\u093e\u0930\u0924", "user"),
    ("a/b@example.com", "a-b"),
    ("../../etc@example.com", "etc"),
    ("a\\b@example.com", "a-b"),
    ("a:b#c@example.com", "a-b-c"),
    ("${x}@example.com", "x"),
    ("{{ x }}@example.com", "x"),
]

REFUSED = [
    (None, "NoneType"),
    (7, "int"),
    (b"ana@example.com", "bytes"),
    (["ana@example.com"], "list"),
    ("", "no name"),
    ("   ", "no name"),
    ("ana", "no name"),
    ("@example.com", "no name"),
    ("ana@", "no valid domain"),
    ("ana@localhost", "no valid domain"),
    ("ana@example..com", "no valid domain"),
    ("ana@.example.com", "no valid domain"),
    ("ana@example.com.", "no valid domain"),
    ("ana@-example.com", "no valid domain"),
    ("ana@exa mple.com", "no valid domain"),
    ("ana@example.com, ben@example.com", "stray @"),
    (f"ana@{'x' * 64}.com", "no valid domain"),
    ("ana@ben@example.com", "stray @"),
    ("a\u00a0na@example.com", "stray @ or white space"),
    ("ana @example.com", "stray @ or white space"),
    ("a\u3000na@example.com", "stray @ or white space"),
    ("ana\n@example.com", "control"),
    ("ana\x00@example.com", "control"),
    ("ana\u202e@example.com", "control"),
    ("ana\u200b@example.com", "control"),
    ("ana\u2028x@example.com", "control"),
    ("ana\ud800@example.com", "control"),
    ("ana@exa\u00admple.com", "control"),
    ("a" * 243 + "@example.com", "longer"),
    ("\u00e9" * 122 + "@example.com", "longer"),
]


@pytest.mark.parametrize(("raw", "readable"), NASTY)
def test_nasty_addresses_get_valid_readable_names(raw, readable):
    email = parse_email(raw)
    instance_id = instance_id_for(email)
    assert INSTANCE_ID.fullmatch(instance_id)
    assert len(instance_id) <= 48
    assert len(f"{instance_id}-data-workspace") <= 63
    digest = hashlib.sha256(email.encode()).hexdigest()[:12]
    assert instance_id == f"nb-{readable}-{digest}"
    assert LABEL.fullmatch(user_key_for(email))


@pytest.mark.parametrize(("raw", "why"), REFUSED)
def test_what_is_no_address_is_refused_and_says_why_without_repeating_it(raw, why):
    with pytest.raises(InvalidMessageError, match=why) as caught:
        parse_email(raw)
    assert "ana@" not in caught.value.detail


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ana@Example.com", "ana@example.com"),
        ("  ana@example.com ", "ana@example.com"),
        ("n\u0303andu@example.com", "\u00f1andu@example.com"),
        ("A\u030angstrom@example.com", "\u00e5ngstrom@example.com"),
    ],
)
def test_spellings_of_one_address_are_one_person(one, other):
    assert user_key_for(parse_email(one)) == user_key_for(parse_email(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann@a.com", "ann@b.com"),
        ("a.nn@a.com", "an.n@a.com"),
        ("ann+x@a.com", "ann@a.com"),
        ("a-b@a.com", "a.b@a.com"),
        ("a" * 60 + "1@a.com", "a" * 60 + "2@a.com"),
        ("\u5f20@a.com", "\u4f1f@a.com"),
        ("\u0430nn@a.com", "ann@a.com"),  # a Cyrillic a
        ("o'neil@a.com", "oneil@a.com"),
    ],
)
def test_near_equal_addresses_are_different_people(one, other):
    assert user_key_for(parse_email(one)) != user_key_for(parse_email(other))
    assert instance_id_for(parse_email(one)) != instance_id_for(parse_email(other))


_LOCAL = st.text(
    st.characters(exclude_characters="@", exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Cn"]), max_size=70
)
_DOMAIN = st.sampled_from(["example.com", "sub.Example.co", "b\u00fccher.example", "\u03a3\u03a3.gr", "x-y.example"])


@given(st.one_of(st.builds("{}@{}".format, _LOCAL, _DOMAIN), st.text(max_size=80)))
@example("\u0130@example.com")
@example("\u03a3\u03a3@example.com")
@example("\u1e9e@example.com")
@example("\u0345\u0300@example.com")
def test_every_text_is_a_stable_valid_name_or_a_refusal(raw):
    try:
        email = parse_email(raw)
    except InvalidMessageError:
        return
    assert parse_email(email) == email
    key = user_key_for(email)
    instance_id = instance_id_for(email)
    assert INSTANCE_ID.fullmatch(instance_id)
    assert len(instance_id) <= 48
    assert parse_user_key(key) == key
    assert user_key_of_instance(instance_id) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ana",
        "ana-0123456789a",
        "ana-0123456789abc",
        "Ana-0123456789ab",
        "ana-0123456789AB",
        "-0123456789ab",
        "../x-0123456789ab",
        "ana/x-0123456789ab",
        "a" * 29 + "-0123456789ab",
        "ana-0123456789ab\n",
        "nb ana-0123456789ab",
    ],
)
def test_only_user_keys_are_user_keys(text):
    with pytest.raises(InvalidMessageError):
        parse_user_key(text)
    assert user_key_of_instance(f"nb-{text}") is None


def test_other_names_are_nobodys_instance():
    assert user_key_of_instance("ana-0123456789ab") is None
    assert user_key_of_instance("my-notebook") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("CC-4410", "cc-4410"),
        ("R&D / Paris", "r-d-paris"),
        ("", ""),
        ("---", ""),
        ("\u00c9quipe_1", "equipe_1"),
        ("\U0001f600", ""),
        ("a" * 62 + "-b", "a" * 62),
    ],
)
def test_label_values_are_readable(text, value):
    assert label_value(text) == value


@given(st.text(max_size=200))
def test_every_text_is_a_valid_label_value(text):
    assert LABEL.fullmatch(label_value(text))
    assert label_value(label_value(text)) == label_value(text)


ACCOUNT_ID = re.compile(r"[a-z]([a-z0-9-]{4,28}[a-z0-9])")  # IAM: 6 to 30 characters
LONGEST = user_key_for(parse_email("a" * 64 + "@example.com"))


@pytest.mark.parametrize(
    ("naming", "suffix"),
    [(2, "-2"), (3, "-3"), (999, "-999"), (1000, "-2"), (1001, "-3"), (1997, "-999"), (1998, "-2")],
)
def test_a_replacement_has_the_next_name_and_the_names_start_again(naming, suffix):
    assert next_instance_id(LONGEST, naming) == f"nb-{LONGEST}{suffix}"


@given(st.emails().map(lambda raw: f"x{raw}"), st.integers(2, 5 * MAX_NAMING))
def test_every_name_of_a_replacement_is_valid_and_leads_back_to_its_person(raw, naming):
    try:
        email = parse_email(raw)
    except InvalidMessageError:
        return
    name = next_instance_id(user_key_for(email), naming)
    assert INSTANCE_ID.fullmatch(name)
    assert len(name) <= 48
    assert user_key_of_instance(name) == user_key_for(email)
    # The former is there while the next is made: neither has the other's name.
    assert name != instance_id_for(email)
    assert name != next_instance_id(user_key_for(email), naming + 1)


@pytest.mark.parametrize("suffix", ["-0", "-01", "-1000", "-", "-x", "--2", "-2-3"])
def test_no_other_suffix_is_ours(suffix):
    assert user_key_of_instance(f"nb-ana-0123456789ab{suffix}") is None


@pytest.mark.parametrize(
    ("key", "account"),
    [
        ("ana-silva-0123456789ab", "nb-ana-silva-0123456789ab"),
        ("a" * 28 + "-0123456789ab", "nb-" + "a" * 13 + "-0123456789ab"),
        ("abcdefghijkl-mn-0123456789ab", "nb-abcdefghijkl-0123456789ab"),  # no two dashes in a row
        ("u-0123456789ab", "nb-u-0123456789ab"),
    ],
)
def test_an_account_has_what_fits_of_the_name_and_all_digits(key, account):
    assert account_id_for(key) == account
    assert account_email(account_id_for(key), "p") == f"{account}@p.iam.gserviceaccount.com"


@given(st.text(max_size=80).map(lambda text: f"{text}@example.com"))
def test_every_person_has_a_valid_account_name_of_their_own(raw):
    try:
        key = user_key_for(parse_email(raw))
    except InvalidMessageError:
        return
    account = account_id_for(key)
    assert ACCOUNT_ID.fullmatch(account)
    assert "--" not in account
    assert account[-12:] == key[-12:]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("No user ana.silva@example.com here", "No user <address> here"),
        ("'ana@example.com' and <ben@example.com>", "'<address>' and <<address>>"),
        ("nothing @ all", "nothing @ all"),
        ("plain", "plain"),
    ],
)
def test_what_others_wrote_goes_to_logs_without_addresses(text, clean):
    assert without_addresses(text) == clean
