"""The neutral HR schema as a model, for messages that are not plainly right: `shared.wire` imports it only then."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.wire import MAX_ATTRIBUTES, MAX_EVENT_ID, Type


class HrMessage(BaseModel):
    """The neutral schema. Unknown fields beside these are ignored, unknown attributes are kept."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True, strict=False)

    schema_: Literal["workbench.lifecycle/v1"] = Field(alias="schema")
    event_id: str = Field(min_length=1, max_length=MAX_EVENT_ID)
    type: Type
    user: str
    occurred_at: AwareDatetime | None = None
    effective_time: AwareDatetime | None = None
    attributes: dict[str, Any] = Field(default_factory=dict, max_length=MAX_ATTRIBUTES)
    reason: str = ""
    new_user: str | None = None
