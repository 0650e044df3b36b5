"""`validate-config` and `names`: look before anything runs."""

from __future__ import annotations

from pathlib import Path

import click

from cli.context import WRONG_USE, App, guarded, output_option, pass_app, stop
from cli.deploy.data import load_deployment
from cli.output import console, print_json, table
from shared.domain.errors import BenchkeeperError
from shared.domain.identity import instance_id_for, parse_email, user_key_for
from shared.settings import ConfigError
from shared.wiring import checked_settings


@click.command(name="validate-config")
@click.option("--config-dir", type=click.Path(file_okay=False, path_type=Path), help="Default: config/.")
@output_option()
@pass_app
@guarded
def validate_config(app: App, config_dir: Path | None, output: str) -> None:
    """Check all configuration files; say everything that is wrong, with file, line and the nearest valid key."""
    try:
        settings = checked_settings(env=app.env, config_dir=config_dir)
        deployment = load_deployment(settings)
    except ConfigError as error:
        if output == "json":
            print_json(
                [
                    {"file": f.file, "line": f.line, "field": f.field, "problem": f.problem, "hint": f.hint}
                    for f in error.faults
                ]
            )
        else:
            for fault in error.faults:
                click.echo(str(fault), err=True)
            click.echo(f"{len(error.faults)} fault{'s' if len(error.faults) != 1 else ''}.", err=True)
        stop(WRONG_USE)
    if output == "json":
        print_json([])
    else:
        catalog = settings.catalog
        click.echo(
            f"The configuration of environment {settings.env} is valid: {len(catalog.profiles)} profiles, "
            f"{len(catalog.assignments)} assignments, {len(catalog.masters)} templates; "
            f"{len(deployment.functions)} functions, {len(deployment.topics)} topics, {len(deployment.jobs)} jobs to deploy."
        )


@click.command()
@click.argument("emails", nargs=-1, required=True)
@output_option("table", "json")
@guarded
def names(emails: tuple[str, ...], output: str) -> None:
    """Show the names that addresses get: user key and instance id. Asks nobody."""
    rows, wrong = [], []
    for raw in emails:
        try:
            email = parse_email(raw)
            rows.append({"email": email, "user_key": user_key_for(email), "instance_id": instance_id_for(email)})
        except BenchkeeperError as error:
            wrong.append(f"'{raw}': {error.user_message}")
    if output == "json":
        print_json(rows)
    elif rows:
        cells = [(r["email"], r["user_key"], r["instance_id"]) for r in rows]
        console().print(table([("ADDRESS", "fold"), ("USER KEY", "fold"), ("INSTANCE", "fold")], cells))
    for text in wrong:
        click.echo(text, err=True)
    if wrong:
        stop(WRONG_USE)
