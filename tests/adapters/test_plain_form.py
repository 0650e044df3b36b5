"""What is recognised without protobuf is what protobuf accepts, and has the form that protobuf gives it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.cloud.dataproc import plain_form as module
from shared.cloud.dataproc.message_check import _message, canonical, problem_of
from shared.cloud.dataproc.plain_form import plain_form
from shared.cloud.dataproc.types import CLUSTER, SESSION_TEMPLATE, TYPES, fields, message_type

MASTERS = sorted((Path(__file__).resolve().parents[2] / "config/templates").glob("*.yaml"))
KNOWN = fields()
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 2**31 - 1, 2**31, -(2**31) - 1, 2**53, 2**63 - 1, 2**63, 10**400, 0.0, -0.0, 0.5, 1.0, 1e300,
    float("nan"), float("inf"), "", "0", "-0", "1", "01", "+1", " 1", "1.0", "1e3", "٣", "true", "a", "ñ", "\ud800", "\x00",
    "9223372036854775807", "9223372036854775808", "1_0", "s", "0s", "-0s", "1s", "01s", "1.5s", "1.50s", "-1s", "7200s", "7200", "2h",
    "99999999999s", "999999999999s", "٣s", "1970-01-01T00:00:00Z", "2026-12-01T18:00:00Z", "2026-12-01T18:00:00.5Z",
    "2026-12-01T18:00:00.500Z", "2026-12-01T18:00:00.000Z", "2026-12-01T18:00:00.500000Z", "2026-12-01T18:00:00.123456Z",
    "2026-12-01T18:00:00.123456789Z", "2026-12-01T18:00:00+01:00", "2026-02-30T18:00:00Z", "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-12-01T24:00:00Z", "2026-12-01T23:59:60Z", "2026-12-01t18:00:00Z",
    [], [None], [[]], ["a"], [1], {}, {"a": "b"}, {"a": None}, {1: "b"}, {"": ""}, {"\udfff": "b"}, (), ("a",), b"a",
)  # fmt: skip


def of_protobuf(data: dict[str, Any], name: str, *, ignore_unknown: bool) -> str:
    """The data as protobuf writes it; protobuf's own error if it refuses."""
    message = json_format.ParseDict(copy.deepcopy(data), message_type(name)(), ignore_unknown_fields=ignore_unknown)
    return json.dumps(json_format.MessageToDict(message), sort_keys=True)


RIGHT: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(),
    "bool": st.booleans(),
    "int32": st.integers(-1, 2**31 - 1),
    "int64": st.integers(-1, 2**63 - 1) | st.integers(-1, 10**17).map(str),
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6),
    "duration": st.integers(-(10**11), 10**11).map(lambda seconds: f"{seconds}s"),
    "timestamp": st.builds(
        lambda when, nanos: f"{when.replace(microsecond=0).isoformat()}.{nanos}Z",
        st.datetimes(),
        st.text("0123456789", min_size=1, max_size=9),
    ),
}


@st.composite
def values_of(draw: st.DrawFn, field: dict[str, Any], depth: int) -> Any:
    """A value for a field, one time in ten an odd one."""
    kind, many = field["is"], field.get("many")
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(ODD))
    if kind in KNOWN["messages"]:
        one = messages(kind, depth - 1) if depth else st.just({})
    elif kind in KNOWN["enums"]:
        one = st.sampled_from(KNOWN["enums"][kind]) | st.sampled_from((0, 1, 99, "1", "NO_SUCH", "jupyter"))
    else:
        one = RIGHT.get(kind, st.integers())
    if many == "list":
        return draw(st.lists(one, max_size=3))
    return draw(st.dictionaries(st.text(max_size=3), one, max_size=3) if many == "map" else one)


def messages(name: str, depth: int = 4) -> st.SearchStrategy[dict[str, Any]]:
    """Some fields of a message, with values that are right, odd and wrong; sometimes a second spelling or a field that nobody has."""
    known = KNOWN["messages"][name]
    if not known:
        return st.sampled_from(({}, {"noSuchField": 1}))
    spelled = [f"{each[:3]}_{each[3:].lower()}" for each in known] + [
        "project_id",
        "[a.b]",
        "noSuchField",
        "no such",
        "",
    ]

    @st.composite
    def made(draw: st.DrawFn) -> dict[str, Any]:
        chosen = draw(st.lists(st.sampled_from(sorted(known)), max_size=4, unique=True))
        found = {each: draw(values_of(known[each], depth)) for each in chosen}
        if draw(st.integers(0, 9)) == 0:
            found[draw(st.sampled_from(spelled))] = draw(st.sampled_from(ODD))
        return found

    return made()


def check(data: dict[str, Any], name: str, *, ignore_unknown: bool) -> bool:
    before = copy.deepcopy(data)
    found = plain_form(data, name, ignore_unknown=ignore_unknown)
    assert repr(data) == repr(before)
    if found is None:
        return False
    assert json.dumps(found) == of_protobuf(data, name, ignore_unknown=ignore_unknown), data
    if not ignore_unknown and name in TYPES:
        assert list(_message(data, message_type(name).DESCRIPTOR, ())) == [], (
            data
        )  # the check of masters is stricter than protobuf
    return True


@settings(max_examples=400)
@given(st.sampled_from(TYPES).flatmap(lambda name: st.tuples(messages(name), st.just(name))), st.booleans())
def test_what_is_plain_is_accepted_and_written_so_by_protobuf(case, ignore_unknown):
    data, name = case
    check(data, name, ignore_unknown=ignore_unknown)


@pytest.mark.parametrize("name", sorted(KNOWN["messages"]))
def test_each_value_in_each_field(name, monkeypatch):
    """Every message of the table alone, each of its fields with every odd value: nothing is plain that protobuf refuses or changes."""
    kind = type(message_type(CLUSTER)()).DESCRIPTOR.file.pool.FindMessageTypeByName(f"google.cloud.dataproc.v1.{name}")
    monkeypatch.setitem(globals(), "message_type", lambda _: _class_of(kind))
    plain = 0
    for field, about in KNOWN["messages"][name].items():
        values = [*ODD, *KNOWN["enums"].get(about["is"], ()), *([{}], [{}, {}]) * (about.get("many") == "list")]
        plain += sum(check({field: value}, name, ignore_unknown=ignore) for value in values for ignore in (True, False))
    assert plain or not KNOWN["messages"][name]


def _class_of(descriptor: Any) -> Any:
    return message_factory.GetMessageClass(descriptor)


def test_no_message_has_itself_in_it_and_no_group_has_a_fields_name():
    """A message in itself would need protobuf's bound of nesting here; protobuf takes a group's name and a field's for one."""
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above
        if name not in done:
            done.add(name)
            for field, about in KNOWN["messages"][name].items():
                assert field not in {each.get("one_of") for each in KNOWN["messages"][name].values()}
                if about["is"] in KNOWN["messages"]:
                    walk(about["is"], (*above, name))

    for name in TYPES:
        walk(name, ())


@pytest.mark.parametrize("path", MASTERS, ids=lambda path: path.stem)
def test_the_shipped_templates_are_plain(path):
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    name = CLUSTER if "config" in data else SESSION_TEMPLATE
    assert check(data, name, ignore_unknown=False)


def test_without_the_table_protobuf_judges_alone(monkeypatch):
    data = {"clusterName": "a", "config": {"workerConfig": {"numInstances": 2}}}
    with_table = canonical(data, CLUSTER), problem_of(data, CLUSTER)
    monkeypatch.setattr(module, "fields", lambda: {"messages": {}, "enums": {}})
    assert plain_form(data, CLUSTER) is None
    assert (canonical(data, CLUSTER), problem_of(data, CLUSTER)) == with_table
    assert with_table[1] is None
