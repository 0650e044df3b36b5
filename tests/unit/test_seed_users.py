"""User lists in every form that they come in: who is listed, and every bad line by its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.seed_users import read_users

NANDU = "Ñandú O'Neil+test@sub.example.co"
ANA, BEN = "ana.silva@example.com", "ben@example.com"

HCL = f"""
# people = ["nobody@example.com"]
project_id = "acme"  // not a list
networking_tags = ["hub", "spark"] /* people = [
"x" ] */
notebook_users_list = [
  "{ANA}",  # the first
  "{NANDU}",
]
more = toset(["{BEN}"])
"""


def people(file: str, text: str) -> list[tuple[str, int]]:
    read = read_users(file, text.encode())
    assert read.faults == ()
    return [(p.user, p.line) for p in read.people]


def faults(file: str, text: str | bytes) -> list[str]:
    read = read_users(file, text.encode() if isinstance(text, str) else text)
    return [str(fault) for fault in read.faults]


LOWER = NANDU.lower()


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("users.txt", f"{ANA}\n\n# a remark\n  {NANDU}  \n", [(ANA, 1), (LOWER, 4)]),
        ("users", f"\ufeff{ANA}\r\n{BEN}\r\n", [(ANA, 1), (BEN, 2)]),
        ("users.csv", f'name,Email\nAna,{ANA}\n"O\'Neil, Ñ",{NANDU}\n', [(ANA, 2), (LOWER, 3)]),
        ("users.csv", f"{ANA}\r\n{BEN}\r\n", [(ANA, 1), (BEN, 2)]),
        ("users.csv", f"7,{ANA}\n8,{BEN}\n", [(ANA, 1), (BEN, 2)]),
        ("users.json", json.dumps([ANA, NANDU]), [(ANA, 1), (LOWER, 1)]),
        ("users.json", json.dumps({"users": [{"email": ANA}, BEN]}, indent="\t"), [(ANA, 3), (BEN, 6)]),
        ("users.yaml", f"- {ANA}\n- email: {BEN}\n  team: x\n", [(ANA, 1), (BEN, 2)]),
        ("users.yml", f"region: x\nnotebook_users_list:\n  - {ANA}\nothers: [{BEN}]\n", [(ANA, 3), (BEN, 4)]),
        ("prod.tfvars", HCL, [(ANA, 7), (LOWER, 8), (BEN, 10)]),
        ("prod.tfvars", HCL.replace("\n", "\r\n"), [(ANA, 7), (LOWER, 8), (BEN, 10)]),
        ("main.tf", f'module "x" {{\n  source = "./m"\n  notebook_users_list = ["{ANA}"]\n}}\n', [(ANA, 3)]),
        ("prod.tfvars.json", json.dumps({"notebook_users_list": [ANA]}), [(ANA, 1)]),
    ],
)
def test_who_is_listed_and_where(file, text, expected):
    assert people(file, text) == expected


@pytest.mark.parametrize(
    ("file", "text", "place", "words"),
    [
        ("u.txt", f"{ANA}\nben.example.com\n", "u.txt:2:", "has no name before an @"),
        ("u.txt", f"{ANA} # the first", "u.txt:1:", "no valid domain"),
        ("u.txt", "", "u.txt:", "names nobody"),
        ("u.txt", b"a@example.com\n\xff\n", "u.txt:2:", "not UTF-8"),
        ("u.csv", "a,b\n1,2\n", "u.csv:1:", "which column"),
        ("u.csv", f"email,mail\n{ANA},{BEN}\n", "u.csv:1:", "which column"),
        ("u.csv", f'email\n"{ANA}\n', "u.csv:2:", "not CSV"),
        ("u.csv", f"name,email\nAna,{ANA}\nBen\n", "u.csv:3:", "has no name before an @"),
        ("u.json", '["a@example.com",]', "u.json:1:", "not JSON"),
        ("u.json", '{"users": 3}', "u.json:1:", "has no list"),
        ("u.json", '[["a@example.com"]]', "u.json:1:", "an address is needed here"),
        ("u.yaml", "a: [\n", "u.yaml:2:", "not YAML"),
        ("u.yaml", "- a@example.com\n- {team: x}\n", "u.yaml:2:", "an address is needed here"),
        ("u.tfvars", 'networking_tags = ["x"]\n', "u.tfvars:", "has no list of addresses"),
        ("u.tfvars", 'notebook_users_list = [\n  "a@example.com"\n  "b@example.com"\n]', "u.tfvars:3:", "is not an address"),
        ("u.tfvars", "notebook_users_list = [\n  var.boss,\n]", "u.tfvars:2:", "is not an address"),
        ("u.tfvars", 'notebook_users_list = ["${var.boss}@example.com"]', "u.tfvars:1:", "is not an address"),
        ("u.tfvars", 'notebook_users_list = [\n"a@example.com",\n', "u.tfvars:1:", "does not end"),
        ("u.tfvars", 'notebook_users_list = ["a@example.com]\n', "u.tfvars:1:", "a text does not end"),
        ("u.tfvars", 'notebook_users_list = ["a"]\n', "u.tfvars:1:", "has no name before an @"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_its_place(file, text, place, words):
    (fault,) = faults(file, text)
    assert fault.startswith(place)
    assert words in fault


def test_every_bad_line_is_named_at_once_and_the_good_ones_are_read():
    read = read_users("u.txt", f"x\n{ANA}\ny\n".encode())
    assert [fault.line for fault in read.faults] == [1, 3]
    assert [person.user for person in read.people] == [ANA]


def test_somebody_who_stands_there_twice_counts_once_and_is_said():
    read = read_users("u.txt", f"{ANA}\nANA.SILVA@EXAMPLE.COM\n{BEN}\n".encode())
    assert [(p.user, p.line) for p in read.people] == [(ANA, 1), (BEN, 3)]
    assert [(p.user, p.line) for p in read.repeated] == [(ANA, 2)]


@given(st.binary(max_size=200), st.sampled_from(["u.txt", "u.csv", "u.json", "u.yaml", "u.tfvars"]))
def test_any_bytes_are_read_or_refused_with_a_place(raw, file):
    read = read_users(file, raw)
    assert read.people or read.faults
    assert all(fault.file == file for fault in read.faults)


@given(
    st.text(st.sampled_from('ab@. ,"[]{}=#/*\n\\:-'), max_size=60),
    st.sampled_from(["u.csv", "u.json", "u.yaml", "u.tf"]),
)
def test_any_text_is_read_or_refused_with_a_place(text, file):
    read = read_users(file, text.encode())
    assert read.people or read.faults
