"""The program `python -m cli.deploy`, which `./deploy.sh gcp` and `./deploy.sh destroy` run once everything is installed."""

from __future__ import annotations

import re
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from cli.deploy.archive import Archive, of_the_original, stage
from cli.deploy.data import Deployment, load_deployment
from cli.deploy.destroy import make_destroy_plan
from cli.deploy.failures import DeployError, NoLoginError
from cli.deploy.first import domains_of_groups, settings_path, settings_text
from cli.deploy.gcloud import Gcloud, NothingThere
from cli.deploy.kinds import apis, secrets
from cli.deploy.plan import make_plan
from cli.deploy.policy import impact_lines
from cli.deploy.questions import Questions
from cli.deploy.run import carry_out
from cli.deploy.show import Screen, complain
from cli.deploy.signals import STOPPED, stopped_by_signals
from cli.deploy.step import Mark, Step
from cli.deploy.target import Target
from cli.groups import look_at, warning
from cli.notes import notes
from cli.output import PlainGroup, agreed, console
from cli.output import complain as complain_text
from shared.checking import check_all
from shared.cloud.http.clock import SystemClock
from shared.faults import ConfigFault
from shared.settings import ConfigError, Settings, config_dir_from, load_settings

_DIRECTORY = "cloudidentity.googleapis.com"
_FAILED, _WRONG_USE = 1, 2
_NO_NUMBER = "PROJECT_NUMBER"  # in a plan against nothing


def _shaped(pattern: str, valid: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """Return a callback that refuses a value that does not match the pattern, because the value becomes part of commands.

    `valid` describes the valid values in the error.
    """

    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        if value is not None and re.fullmatch(pattern, value) is None:
            raise click.BadParameter(f"'{value}' is not valid. Valid: {valid}.")
        return value

    return check


@click.group(cls=PlainGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Deploy Benchkeeper to Google Cloud, or remove it."""


_COMMON: list[Callable[[Any], Any]] = [
    click.option(
        "--project",
        required=True,
        callback=_shaped(
            r"[a-z][a-z0-9-]{4,28}[a-z0-9]", "6 to 30 lower-case letters, digits and hyphens, such as acme-analytics"
        ),
        metavar="P",
        help="The project's id.",
    ),
    click.option(
        "--region",
        callback=_shaped(r"[a-z]+-[a-z]+\d+", "a region such as europe-west1"),
        metavar="R",
        help="The region of functions and environments, for example europe-west1.",
    ),
    click.option(
        "--env",
        default="prod",
        callback=_shaped(r"[a-z0-9][a-z0-9_-]{0,30}", "lower-case letters, digits, - and _, such as prod"),
        show_default=True,
        metavar="NAME",
        help="Reads config/settings.NAME.yaml.",
    ),
    click.option("--dry-run", is_flag=True, help="Print the plan and change nothing."),
    click.option("--verbose", "-v", is_flag=True, help="Print every command, and unchanged resources."),
    click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation."),
]


def _common(command: Any) -> Any:
    for decorate in reversed(_COMMON):
        command = decorate(command)
    return command


@main.command()
@click.option(
    "--organization",
    callback=_shaped(r"\d{6,20}", "digits only, such as 123456789012"),
    metavar="N",
    help="The organization's number. News about groups and accounts comes from its logs.",
)
@_common
def gcp(
    project: str, region: str | None, env: str, organization: str | None, *, dry_run: bool, verbose: bool, yes: bool
) -> None:
    """Create everything that config/deploy/ and the settings ask for; safe to run again."""
    run = _Run(project, region, env, organization=organization, dry_run=dry_run, verbose=verbose, yes=yes)
    _guarded(run, run.deploy, verbose=verbose)


@main.command()
@_common
def destroy(project: str, region: str | None, env: str, *, dry_run: bool, verbose: bool, yes: bool) -> None:
    """Remove what `gcp` created. The bucket, the environments and their data stay."""
    run = _Run(project, region, env, organization=None, dry_run=dry_run, verbose=verbose, yes=yes)
    _guarded(run, run.destroy, verbose=verbose)


class _Run:
    """The run of one `gcp` or `destroy` command: its options, the screen and gcloud.

    `so_far` is the sentence about the changes made so far, printed if the run is interrupted.
    """

    def __init__(
        self,
        project: str,
        region: str | None,
        env: str,
        *,
        organization: str | None,
        dry_run: bool,
        verbose: bool,
        yes: bool,
    ) -> None:
        self.project, self.region, self.env, self.organization = project, region, env, organization
        self.dry_run, self.yes = dry_run, yes
        self.is_offline = False
        self.screen = Screen(console(), verbose=verbose)
        self.gcloud = Gcloud(project)
        self.questions = Questions(self.gcloud)
        self.stop = threading.Event()
        self.so_far = "Nothing was changed."
        self.notes: list[ConfigFault] = []

    def deploy(self) -> int:
        """Plan, ask and carry out the deployment; a dry run only plans. Return the exit code. Missing services are turned on first."""
        config_dir = config_dir_from()
        with tempfile.TemporaryDirectory(prefix="benchkeeper-upload-") as folder:
            new = self._new_settings(config_dir)
            with of_the_original(Path(folder) / "config", config_dir):
                try:
                    archive = stage(self.env, config_dir, Path(folder), more=new)
                except ConfigError:
                    self._checked(Path(folder) / "config")  # finds the faults of all files
                    raise
                deployment = self._deployment(archive, config_dir)
            number, off = self._looked(deployment)
            turned_on = apis.plan(off)
            if self.dry_run or not off:
                return self._plan_and_do(
                    deployment, archive, number, turned_on, off=off, new=new, config_dir=config_dir
                )
            # Turn on services first: nothing else can be read while they are off.
            self.screen.plan(turned_on, everything=False)
            if not self._agreed("Turn these services on?") or not self._carry_out(turned_on, "Services"):
                return _FAILED
            with of_the_original(archive.folder / "config", config_dir):
                self._checked(archive.folder / "config")  # now the project can be asked
            return self._plan_and_do(
                deployment, archive, number, [], off=frozenset(), new=new, config_dir=config_dir, patient=True
            )

    def _looked(self, deployment: Deployment) -> tuple[str, frozenset[str]]:
        """Return the project's number and the services that are off.

        Without a login, a dry run plans as if the project were empty; any other run raises `NoLoginError`.
        """
        try:
            with self.screen.working(f"Looking at project {self.project}"):
                return self._number(), apis.off(self.gcloud, deployment.apis)
        except NoLoginError as error:
            if not self.dry_run:
                raise
            self.gcloud, self.is_offline = NothingThere(self.project), True
            self.screen.say(
                f"{error.cause} So this plan is made as if project {self.project} were empty. {error.remedy}",
                style="yellow",
            )
            return _NO_NUMBER, frozenset(deployment.apis)

    def _plan_and_do(
        self, deployment: Deployment, archive: Archive, number: str, before: list[Step], *, off: frozenset[str],
        new: dict[str, str], config_dir: Path, patient: bool = False,
    ) -> int:  # fmt: skip
        target = Target(
            deployment=deployment,
            gcloud=self.gcloud,
            number=number,
            archive=archive,
            now=SystemClock().now(),
            off=off,
            patient=patient,
            deployer=self.gcloud.account(),
            stop=self.stop,
        )
        with self.screen.working("Comparing with the present state"):
            steps = [*self._file_steps(new), *before, *make_plan(target)]
        self.screen.plan(steps, everything=self.dry_run)
        if off:
            self.screen.say(
                f"{len(off)} services are off. Their resources count as missing until the services are on.", style="dim"
            )
        if not self.is_offline:
            self._warn_of_groups(deployment)
            with self.screen.working("Computing the effect of the files on people"):
                told = list(impact_lines(deployment.settings, self.gcloud))
            for line in told:
                self.screen.say(line, style="yellow")
        for note in notes(deployment.settings):
            self.screen.say(note, style="yellow")
        for said in self.notes:
            original = replace(said, file=said.file.replace(str(archive.folder / "config"), str(config_dir)))
            self.screen.say(f"Note: {original}", style="yellow")
        if self.dry_run or not any(step.acts for step in steps):
            return 0
        if not self._agreed("Do this?"):
            return _FAILED
        for name, text in new.items():
            (config_dir / name).write_text(text, encoding="utf-8")
        return 0 if self._carry_out(steps, "Deployed") else _FAILED

    def destroy(self) -> int:
        """Plan, ask and carry out the removal; a dry run only plans. Return the exit code. Raise `DeployError` without a settings file."""
        config_dir = config_dir_from()
        if not settings_path(config_dir, self.env).exists():
            raise DeployError(
                f"There is no config/settings.{self.env}.yaml: it is not known what was deployed.",
                "Name the environment with --env.",
            )
        # A removal does not need valid templates: they are only checked before something is created from them.
        settings = load_settings(env=self.env, config_dir=config_dir, environ={}, trust_checked=False)
        deployment = load_deployment(self._about_us(settings))
        with self.screen.working(f"Looking at project {self.project}"):
            # An earlier deployment may have made secrets, whatever the settings say now; a service that is off has none.
            looked_at = {**deployment.apis, secrets.API: "secrets"}
            number, off = self._number(), apis.off(self.gcloud, looked_at)
            nothing = Archive(config_dir, "")  # nothing is uploaded
            target = Target(
                deployment=deployment, gcloud=self.gcloud, number=number, archive=nothing, now=SystemClock().now(), off=off,
                stop=self.stop,
            )  # fmt: skip
            steps = make_destroy_plan(target)
        self.screen.plan(steps, everything=True)
        if self.dry_run or not any(step.acts for step in steps):
            return 0
        if not self._agreed("Remove all of this?"):
            return _FAILED
        return 0 if self._carry_out(steps, "Taken down") else _FAILED

    # ---- parts

    def _new_settings(self, config_dir: Path) -> dict[str, str]:
        """Return the settings file to be written, as {name: text}; empty if it exists. Raise `DeployError` if `--region` is needed for it."""
        path = settings_path(config_dir, self.env)
        if path.exists():
            return {}
        if self.region is None:
            raise DeployError(
                f"There is no config/{path.name} yet.",
                "Use --region, for example --region europe-west1, to create it.",
            )
        domains = domains_of_groups(path.parent)
        return {path.name: settings_text(self.project, self.region, self.organization, domains)}

    def _file_steps(self, new: dict[str, str]) -> list[Step]:
        return [
            Step(
                key=f"file config/{name}",
                mark=Mark.CREATE,
                because="created once: keep it with your configuration",
            )
            for name in new
        ]

    def _deployment(self, archive: Archive, config_dir: Path) -> Deployment:
        deployment = load_deployment(
            self._about_us(self._checked(archive.folder / "config")), folder=config_dir / "deploy"
        )
        known = deployment.options.organization
        if self.organization is not None and self.organization != known:
            name = f"config/settings.{self.env}.yaml"
            said = f"it has {known or 'no organization'}, but the option is --organization {self.organization}"
            hint = f'Add it there: deployment: {{organization: "{self.organization}"}}'
            raise ConfigError([ConfigFault(name, 0, "deployment.organization", said, hint)])
        groups = [*(a.group for a in deployment.settings.catalog.assignments), *deployment.data_roles]
        unchanged = [group for group in groups if group.endswith("@example.com")]
        if unchanged:
            self.screen.say(
                f"config/profiles.yaml still names the example's groups ({', '.join(unchanged)}): replace them with your groups first.",
                style="yellow",
            )
        return deployment

    def _warn_of_groups(self, deployment: Deployment) -> None:
        """Print a warning for each assigned group that gives access to no user, or a note that the groups were not looked up."""
        assigned = [each.group for each in deployment.settings.catalog.assignments]
        if _DIRECTORY not in deployment.apis:
            if assigned:
                text = "The assigned groups were not looked up, because the project does not use Cloud Identity"
                self.screen.say(f"{text}. To check them, run benchkeeper validate-config --directory.", style="dim")
            return
        with self.screen.working("Looking up the assigned groups"):
            odd = list(look_at(assigned, self.questions.directory))
        for group, fault in odd:
            self.screen.say(warning(group, fault), style="yellow")

    def _checked(self, config_dir: Path) -> Settings:
        """Return the settings, checked with everything that depends on them: templates, their sizes, the project's offers.

        The offers are read from the project itself, before anything is changed. Until Compute Engine is on, the shipped
        table is used. Raise `ConfigError` with all faults.
        """
        with self.screen.working("Asking the project for the values in the files"):
            found = check_all(env=self.env, config_dir=config_dir, environ={}, ask=lambda _: self.questions.compute)
        self.notes = found.notes
        if found.settings is None:
            raise ConfigError(found.faults)
        return found.settings

    def _about_us(self, settings: Settings) -> Settings:
        """Return the same settings. Raise `ConfigError` if they are for another project or region than those on the command line."""
        name = f"config/settings.{self.env}.yaml"
        faults = []
        if settings.project != self.project:
            hint = f"Name another environment with --env, or change the file. The option is --project {self.project}."
            faults.append(ConfigFault(name, 0, "project", f"it is for project {settings.project}", hint))
        if self.region is not None and settings.region != self.region:
            hint = f"An environment cannot change its region: name another with --env. The option is --region {self.region}."
            faults.append(ConfigFault(name, 0, "zones", f"it is for region {settings.region}", hint))
        if faults:
            raise ConfigError(faults)
        return settings

    def _number(self) -> str:
        self.questions.check()
        described = self.gcloud.read("projects", "describe", self.project, project=False)
        return str(described["projectNumber"])

    def _agreed(self, question: str) -> bool:
        if self.yes:
            return True
        if not sys.stdin.isatty():
            raise DeployError(
                "The question cannot be asked, because stdin is not a terminal.",
                "Use --yes to go ahead, or --dry-run to see only the plan.",
            )
        return agreed(question)

    def _carry_out(self, steps: list[Step], verb: str) -> bool:
        steps = [step for step in steps if step.kind != "file"]
        self.screen.begin(steps)
        self.so_far = "The changes made so far are listed above."
        with stopped_by_signals(self.stop):
            outcome = carry_out(
                steps, self.gcloud, started=self.screen.started, ended=self.screen.ended, stop=self.stop
            )
        self.screen.outcome(outcome, verb=verb)
        return not outcome.failed and not outcome.left and not self.stop.is_set()


def _guarded(run: _Run, work: Callable[[], int], *, verbose: bool) -> None:
    screen = Screen(console(stderr=True), verbose=verbose)
    try:
        code = work()
    except ConfigError as error:
        for fault in error.faults:
            complain_text(str(fault))
        code = _WRONG_USE
    except (KeyboardInterrupt, click.Abort):
        screen.say(f"Stopped. {run.so_far}", style="red")
        code = STOPPED
    except DeployError as error:
        complain(error, screen)
        if verbose and error.said:
            screen.quote(error.said)
        code = _FAILED
    sys.exit(code)


if __name__ == "__main__":
    main(prog_name="./deploy.sh")
