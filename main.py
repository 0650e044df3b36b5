"""The root module of the deployment, in which Cloud Functions looks for the functions.

The decorated functions are re-exported unchanged.

A function is imported on first access, because a cold start needs only one of the five functions. The modules of the other four
are a tenth of all imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from functions.dead_letter import dead_letter
    from functions.hub import hub
    from functions.lifecycle import lifecycle
    from functions.notify import notify
    from functions.tick import tick

__all__ = ["dead_letter", "hub", "lifecycle", "notify", "tick"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"functions.{name}"), name)
