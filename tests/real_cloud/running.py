"""The run from its first check to its report: refuses a shared project, asks the questions in order, cleans up whatever happens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from real_cloud.asking import PREFIX, Cloud, LateError, Place, Run
from real_cloud.cleaning import clean_up
from real_cloud.ledger import Resource
from real_cloud.prices import AS_OF, estimate, forgotten_a_day
from real_cloud.questions import QUESTIONS, Question
from real_cloud.report import Answer, Asked, Verdict, report

from shared.domain.things.errors import BenchkeeperError

_RECORDS = "records/"
_AROUND_MINUTES = 5  # deleting what was made


def occupants(place: Place, cloud: Cloud) -> list[str]:
    """Return what says that the project is in use: other Workbench instances, buckets with records, and what could not be checked."""
    found: list[str] = []
    try:
        token = ""
        while True:
            page = cloud.ask(
                "notebooks", "GET", f"/v2/projects/{place.project}/locations/-/instances", pageToken=token or None
            )
            names = [str(each["name"]) for each in page.get("instances", [])]
            found += [f"the Workbench instance {name.rpartition('/')[2]}" for name in names if f"/{PREFIX}" not in name]
            found += [
                f"the zone {name.rpartition('/')[2]}, which does not answer" for name in page.get("unreachable", [])
            ]
            token = str(page.get("nextPageToken", ""))
            if not token:
                break
        buckets = cloud.ask("storage", "GET", "/storage/v1/b", project=place.project, maxResults=1000)
        for bucket in [str(each["name"]) for each in buckets.get("items", [])]:
            listed = cloud.ask("storage", "GET", f"/storage/v1/b/{bucket}/o", prefix=_RECORDS, maxResults=1)
            if listed.get("items"):
                found.append(f"Benchkeeper's records in the bucket {bucket}")
    except BenchkeeperError as error:
        found.append(f"something that could not be checked: {error.detail}")
    return found


def skipped(question: Question, *, has_person: bool, has_viewer: bool) -> str:
    """Return why the question is not asked in this run; empty if it is."""
    if question.needs_person and not has_person:
        return "It needs somebody at a browser: --with-person."
    return "It needs a second account: --viewer ADDRESS." if question.needs_viewer and not has_viewer else ""


def plan_text(questions: Sequence[Question]) -> str:
    """Return what the run will do, how long it takes and what it costs; lines of at most 80 characters."""
    minutes = _AROUND_MINUTES + sum(question.minutes for question in questions)
    lines = estimate(minutes)
    return "\n".join(
        [
            f"{len(questions)} questions, about {minutes:.0f} minutes. The run makes and removes one",
            "Workbench instance, one snapshot and one serverless Spark session.",
            "",
            *(f"  {line.what:<30} {line.amount:>9.1f}  ${line.dollars:5.2f}" for line in lines),
            f"  {'together':<30} {'':>9}  ${sum(line.dollars for line in lines):5.2f}",
            "",
            f"List prices as remembered on {AS_OF}, rounded up. What nobody removes costs",
            f"about ${forgotten_a_day():.2f} a day.",
        ]
    )


def ask_all(run: Run) -> list[tuple[Asked, Answer]]:
    """Ask the questions, clean up and write the report, whatever happens; return the answers.

    An error of the cloud is an answer ("unknown"). Any other error, and an interrupt, goes on to the caller after the clean-up.
    """
    begun = run.clock.now()
    answers: list[tuple[Asked, Answer]] = []
    try:
        for question in QUESTIONS:
            asked = question.asked
            why_not = skipped(question, has_person=run.ask_person is not None, has_viewer=bool(run.viewer))
            if why_not:
                answers.append((asked, Answer(why_not, Verdict.NOT_ASKED)))
                continue
            run.say(f"Asking {asked.name} ({question.minutes:.0f} min)")
            answer = _answered(question, run)
            answers.append((asked, answer))
            run.say(f"  {answer.verdict}: {answer.says}")
    finally:
        left: list[Resource] = run.ledger.left()
        try:
            left = clean_up(run.ledger, run.cloud, run.clock, run.say)
        finally:
            _write(run, answers, begun, left)
    return answers


def _answered(question: Question, run: Run) -> Answer:
    try:
        return question.ask(run)
    except BenchkeeperError as error:
        return Answer(f"Not found out: {error.detail}", Verdict.UNKNOWN)
    except LateError as error:
        return Answer(f"Not found out: {error}.", Verdict.UNKNOWN)


def _write(run: Run, answers: Sequence[tuple[Asked, Answer]], begun: datetime, left: Sequence[Resource]) -> None:
    """Write the report; a part that is still personal is blacked out, as a report without it is better than none."""
    text = run.scrub.text(report(answers, begun=begun, ended=run.clock.now(), left=[each.by_hand for each in left]))
    for part in run.scrub.leaks(text):
        text = text.replace(part, "█")
    (run.folder / "report.md").write_text(text, encoding="utf-8")
