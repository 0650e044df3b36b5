"""A message that is plainly right is read without the model; the model says the same of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.wire import SCHEMA, _plainly
from shared.wire_schema import HrMessage

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", " a", "a\n", "\ud800", "\u200b", "\x1ca", "a\u3000", "x" * 256, "x" * 257]),
    st.none(),
    st.integers(),
)
MOMENTS = st.one_of(
    st.none(),
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    st.from_regex(r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](Z|[+-][0-9]{2}:[0-9]{2})\Z"),
    st.sampled_from(["2026-11-23", 5, "2026-11-23T24:00:00Z", "20261123T080000Z", " 2026-11-23T08:00:00Z", ""]),
)
BODIES = st.fixed_dictionaries(
    {"schema": st.just(SCHEMA), "event_id": TEXTS, "type": st.sampled_from(["joiner", "renamed", "x", None, []]), "user": TEXTS},
    optional={
        "occurred_at": MOMENTS,
        "effective_time": MOMENTS,
        "reason": TEXTS,
        "new_user": TEXTS,
        "attributes": st.one_of(st.none(), st.dictionaries(st.text(max_size=4), st.integers(), max_size=70)),
    },
)  # fmt: skip


@given(BODIES)
def test_what_is_read_without_the_model_the_model_reads_alike(body):
    plain = _plainly(body)
    if plain is None:
        return
    said = HrMessage.model_validate(body)
    for name in ("event_id", "type", "user", "occurred_at", "effective_time", "attributes", "reason", "new_user"):
        assert getattr(said, name) == getattr(plain, name)


def test_an_everyday_message_is_plain():
    body = {
        "schema": SCHEMA, "event_id": "e", "type": "joiner", "user": "ana@example.com",
        "occurred_at": "2026-11-16T10:02:11Z", "attributes": {"department": "risk", "groups": ["g@example.com"]},
    }  # fmt: skip
    assert _plainly(body) is not None
