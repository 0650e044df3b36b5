"""The questions of a deployment to the project and to the directory, asked with gcloud's login before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.deploy.failures import DeployError, NotThereError
from cli.deploy.gcloud import Call, Gcloud
from cli.groups import NotSeenError
from shared.compute_live import NoAnswerError


class Questions:
    """A client that asks the project and the directory with gcloud's login.

    If gcloud is missing or too old, `compute` has no answer, and `check` raises the error. The caller runs `check`
    after it has reported the faults of the files.
    """

    def __init__(self, gcloud: Gcloud) -> None:
        self._gcloud = gcloud
        self._looked = False
        self._unusable: DeployError | None = None

    def check(self) -> None:
        """Raise `DeployError` if gcloud is missing or too old."""
        if not self._looked:
            self._looked = True
            try:
                self._gcloud.check()
            except DeployError as error:
                self._unusable = error
        if self._unusable is not None:
            raise self._unusable

    def compute(self, path: str) -> bool:
        """Return True if Compute Engine has a resource at the path.

        Raise `NoAnswerError` if the answer is neither yes nor no.
        """
        try:
            self.check()
            self._gcloud.call(Call("compute", "GET", path))
        except NotThereError:
            return False
        except DeployError as error:
            raise NoAnswerError(error.cause) from error
        return True

    def directory(self, path: str) -> Mapping[str, Any] | None:
        """Return Cloud Identity's answer to a GET; None for 404. Raise `NotSeenError` if Cloud Identity refuses or does not answer."""
        try:
            found: Mapping[str, Any] = self._gcloud.call(Call("cloudidentity", "GET", path.removeprefix("/")))
        except NotThereError:
            return None
        except DeployError as error:
            raise NotSeenError(error.cause) from error
        return found
