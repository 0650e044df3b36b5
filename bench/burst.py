"""The rate of joiners in a burst, from Pub/Sub push to saved records, compared with a loop of `gcloud workbench instances create`.

The whole system runs as `./deploy.sh local --no-examples` starts it. The time is measured from the first publish until
every joiner's record exists. The baseline creates instances on the same embedded cloud with one `--async` command for
each person, as people do by hand.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta

from benching import (
    arguments,
    embedded_cloud,
    header,
    judge,
    news,
    object_names,
    percentile,
    publish,
    pubsub_message,
    say,
    wait_until,
)

from cli.local.system import LocalSystem

_BY_HAND = 20


def burst(system: LocalSystem, count: int) -> float:
    """Publish `count` joiners. Return the joiners per second, from the first publish until all records are listed.

    Raise `RuntimeError` if records are missing after ten minutes.
    """
    moment = datetime.now(UTC) - timedelta(days=1)
    messages = [pubsub_message(news("joiner", f"burst.{number}@example.com", moment)) for number in range(count)]
    begun = time.perf_counter()
    publish(system, system.settings.topic_lifecycle, messages)
    arrived = wait_until(lambda: len(object_names(system, "records/")) >= count, patience_s=600, every_s=0.25)
    took = time.perf_counter() - begun
    records = object_names(system, "records/")
    if not arrived:
        raise RuntimeError(f"only {len(records)} of {count} records after {took:.0f} s; see {system.log_file}")
    saved = [datetime.fromisoformat(record["timeCreated"]) for record in records]
    waits = [(moment - min(saved)).total_seconds() for moment in saved]
    say(
        f"{count:,} joiners: all records saved after {took:.1f} s = {count / took:.1f} a second; "
        f"half after {percentile(waits, 0.5):.1f} s, 99 % after {percentile(waits, 0.99):.1f} s"
    )
    return count / took


def by_hand(system: LocalSystem, numbers: range) -> float | None:
    """Return the seconds that a loop of gcloud takes to request these instances; None without gcloud.

    Raise `RuntimeError` if a command fails.
    """
    if shutil.which("gcloud") is None:
        return None
    with tempfile.TemporaryDirectory(prefix="benchkeeper-gcloud-") as folder:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "CLOUDSDK_CONFIG": folder,
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CORE_PROJECT": system.settings.project,
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_NOTEBOOKS": f"{system.url}/",
        }
        begun = time.perf_counter()
        for number in numbers:
            command = [
                "gcloud", "workbench", "instances", "create", f"by-hand-{number}", "--async",
                f"--location={system.settings.zones[0]}", "--machine-type=e2-standard-4",
                "--vm-image-project=cloud-notebooks-managed", "--vm-image-family=workbench-instances",
            ]  # fmt: skip
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"gcloud refused: {done.stderr.strip()[-500:]}")
        took = time.perf_counter() - begun
    say(f"{len(numbers)} by hand with gcloud: {took:.1f} s = {len(numbers) / took:.2f} a second")
    return took


def main() -> None:
    asked = arguments(__doc__)
    count, commands = (200, 5) if asked.quick else (1_000, _BY_HAND)
    header(f"Burst of {count:,} joiners")
    with embedded_cloud(speed=1, functions=True) as system:
        before = by_hand(system, range(commands // 2))
        rate = burst(system, count)
        after = by_hand(system, range(commands // 2, commands))
    if before is None or after is None:
        say("gcloud is not installed: there is nothing to compare with")
        return
    judge("RATIO joiners a second / gcloud loop", rate / (commands / (before + after)), 20, at_least=True)


if __name__ == "__main__":
    main()
