"""What a history may begin with besides a duel: something that takes its time, and meets whatever is drawn after it.

Each affair gets the history that is drawn (`history.Draw`); what it leaves in `wanted` are the entries that come next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kit.machine import GROUPS
from kit.spark_machine import SPARK

if TYPE_CHECKING:
    from kit.simulator.history import Draw

_DUE, _IDLE, _DRIFT = {"entry": "due"}, {"entry": "idle"}, {"entry": "drift"}
_STOCKOUT = {"code": "UNAVAILABLE", "message": "ZONE_RESOURCE_POOL_EXHAUSTED in zone"}
_UNREADABLE = {
    "call": "storage.objects.get",
    "error": {"code": "PERMISSION_DENIED"},
    "times": 40,
    "resource": "*records/*",
}


def _news(draw: Draw, kind: str, groups: list[str] | None) -> dict[str, Any]:
    when = {"profile": "absent", "said_ago": 0, "holds_in": 0}
    return {"entry": "news", "user": draw.person, "kind": kind, "groups": groups, **when}


def _leaver(draw: Draw) -> dict[str, Any]:
    return _news(draw, "leaver", None)


def _joiner(draw: Draw) -> dict[str, Any]:
    return _news(draw, "joiner", [GROUPS[1]])


def _wake(draw: Draw) -> dict[str, Any]:
    return {"entry": "wake", "user": draw.person}


def hold(draw: Draw) -> None:
    """A leaver's data is put on hold, perhaps for longer than every retention, released, and put on hold again."""
    draw.stand("rests" if draw.rng.random() < 0.5 else "over", draw.pick(GROUPS[:2]))
    release = {"entry": "release", "user": draw.person}
    first, second, third = ({**release, "entry": "hold", "reason": f"case {number}"} for number in (1, 2, 3))
    draw.begin(first)
    draw.wanted = [_DUE, _DUE, second, _joiner(draw), release, _DUE, _leaver(draw), third]
    if draw.rng.random() < 0.5:
        draw.minutes(2)
        draw.step({"advance": 86_400 * draw.pick((31, 61, 91))})
        draw.wanted = [_DUE, _DUE, release, _DUE, _joiner(draw), release]


def image(draw: Draw) -> None:
    """A deployment brings another image, perhaps other zones first; it waits for a word, and goes in waves, or back."""
    draw.stand("runs", GROUPS[1])
    zones = {"zones": [f"europe-west1-{zone}" for zone in "dcb"]} if draw.rng.random() < 0.3 else {}
    draw.step({"deploy": f"image{draw.count}", **zones})
    draw.begin(_DRIFT)
    draw.turns(draw.pick((20, 4000)), until_done=draw.rng.random() < 0.7)
    decide = {"entry": "decide", "back": draw.rng.random() < 0.3}
    draw.begin(decide)
    draw.minutes(draw.pick((0, 1, 2, 4, 7)))
    other = draw.pick((_leaver(draw), _joiner(draw)))
    draw.wanted = [_DUE, _DRIFT, _wake(draw), decide, other, _DUE, _DRIFT]


def letter(draw: Draw) -> None:
    """A message fails for long, for the record cannot be read; Pub/Sub hands it over as a letter, perhaps twice at once."""
    if draw.rng.random() < 0.5:
        draw.stand("runs", draw.pick(GROUPS[:2]))
    draw.step({"fault": _UNREADABLE})
    draw.begin(draw.pick((_leaver(draw), _joiner(draw))))
    park = {"entry": "park", "of": f"e{draw.count}"}
    draw.finish()
    draw.step({"advance": draw.pick((600, 3600, 86_400))})
    if draw.rng.random() < 0.5:
        for _ in range(2):
            draw.begin(park)
            draw.until_stored(f"e{draw.count}", "dead-letters/")
        first, second = f"e{draw.count - 1}", f"e{draw.count}"
        if draw.rng.random() < 0.5:  # one is stored and marked before the other is stored
            draw.step({"finish_one": first})
        draw.shuffle([first, second], 40)
    else:
        draw.begin(park)
    other = draw.pick((_leaver(draw), _joiner(draw)))
    draw.wanted = [_IDLE, other, {"entry": "replay"}, _DUE, park, _IDLE]


def zone(draw: Draw) -> None:
    """One zone or two are sold out for as long as the history lasts, and somebody gets an instance, or another one, in the next."""
    draw.stand(draw.pick(("runs", "over")), GROUPS[0])
    for name in "bc"[: draw.pick((1, 1, 2))]:
        where = {"resource": f"*zones/europe-west1-{name}*", "times": 0, "operation_error": _STOCKOUT}
        draw.step({"fault": {"call": "notebooks.CreateInstance", **where}})
    draw.begin(_joiner(draw))
    draw.minutes(draw.pick((0, 1, 3, 5, 8)))
    draw.wanted = [_DUE, _wake(draw), _leaver(draw), _DUE, _DUE, _joiner(draw), _DUE]


def hint(draw: Draw) -> None:
    """Two entries write the same due hint; the sweep removes the one's, and then the other one writes it again."""
    draw.begin(_joiner(draw))
    draw.begin(_news(draw, "mover", [GROUPS[0]]))
    held = [name for name in sorted(draw.roots()) if draw.until_stored(name, "due/")]
    if len(held) > 1:
        draw.step({"finish_one": held[0]})
        for _ in range(3):
            draw.step({"advance": 60})
            draw.alone(_DUE)
        draw.step({"finish_one": held[1]})


def cluster(draw: Draw) -> None:
    """Passes that were planned for one try meet the cluster of another, which runs or is deleted."""
    draw.stand("runs", draw.pick(GROUPS[:2]))
    click = {"entry": "click", "user": draw.person, "template": draw.pick(SPARK[1:])}
    start, stop, wake = {**click, "kind": "START_CLUSTER"}, {**click, "kind": "DELETE_CLUSTER"}, _wake(draw)
    draw.alone(start)
    held = [name for _ in range(3) if (name := draw.held(wake, "clusters", "create"))]
    # Meanwhile one is refused while the notebook is stopped, and the next try is another one to Dataproc; or it is wanted no more, and
    # then anew.
    if draw.rng.random() < 0.7:
        draw.step({"fault": {"call": "dataproc.CreateCluster", "error": {"code": "UNAVAILABLE"}}})
        draw.alone({"entry": "click", "user": draw.person, "kind": "STOP"})
    else:
        draw.alone(stop)
    for entry in (wake, start):
        draw.alone(entry)
    draw.step({"advance": 120})
    draw.alone(wake)
    if draw.rng.random() < 0.5:
        draw.step({"advance": 240})
        draw.alone(stop)
        held += [name for name in [draw.held(wake, "clusters", "delete")] if name]
    draw.shuffle(held, 14)


def sessions(draw: Draw) -> None:
    """Three sweeps make the same templates of sessions."""
    held = [name for _ in range(3) if (name := draw.held(_DRIFT, "sessionTemplates", "create"))]
    draw.shuffle(held, 16)


def restore(draw: Draw) -> None:
    """A pass that was to bring the files back comes late, when another one has done so and a third one changes the instance."""
    draw.stand("back", GROUPS[0])
    wake, late = _wake(draw), ""
    while not late and draw.count < 60:
        late = draw.held(wake, "instances", "restore")
        if not late:
            draw.step({"advance": 60})
    draw.alone(wake)
    for _ in range(7):
        draw.step({"advance": 60})
        draw.step({"outside": draw.person, "what": "label"})
        other = draw.held(wake, "instances", "update")
        if other:
            draw.shuffle([late, other], 6)
            break


def refusing(draw: Draw) -> None:
    """A bucket of the product refuses everything for as long as the history lasts; a leaver is cut at once all the same."""
    draw.stand("runs", draw.pick(GROUPS[:2]))
    bucket = draw.pick(("audit", "audit", "inbox", "letters"))
    error = {"code": draw.pick(("PERMISSION_DENIED", "UNAVAILABLE"))}
    draw.step({"fault": {"call": "storage.objects.*", "resource": f"*-{bucket}*", "error": error, "times": 0}})
    draw.alone(_leaver(draw))
    draw.step({"is_cut": draw.person})
    draw.minutes(draw.pick((0, 2)))
    draw.step({"advance": draw.pick((60, 3600, 86_400 * 2))})
    click = {"entry": "click", "user": draw.person, "kind": "START"}
    draw.wanted = [_DRIFT, _joiner(draw), click, _DUE, _leaver(draw), _IDLE, _DUE]


AFFAIRS: tuple[Callable[[Draw], None], ...] = (hold, image, letter, zone, hint, cluster, sessions, restore, refusing)
