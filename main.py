"""Deploy root. Cloud Functions puts this folder on `sys.path` and looks here; the decorated functions are re-exported as they are."""

from functions.dead_letter import dead_letter
from functions.hub import hub
from functions.lifecycle import lifecycle
from functions.notify import notify
from functions.tick import tick

__all__ = ["dead_letter", "hub", "lifecycle", "notify", "tick"]
