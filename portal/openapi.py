"""The OpenAPI 3.1 description of the page, made from the tables of its routes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from portal.csrf import SCRIPT, SCRIPT_HEADER
from portal.roles import NEEDED
from portal.routes import FORM, HTML, JSON, Access, Param, Place, Route

_PROBLEM = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string"},
        "request": {"type": "string"},
    },
    "required": ["title", "status", "detail", "reason", "request"],
}
_SIGNED_IN = {
    401: "The request has no valid signed header of Identity-Aware Proxy.",
    429: "Too many requests; see Retry-After.",
}
_READ = {503: "Google Cloud did not answer; see Retry-After."}
_CHANGE = {400: "Not a form.", 403: "The form is out of date.", 413: "Too large."}
_SCRIPT = {400: "Not JSON.", 413: "Too large."}
_FROM_SCRIPT = {
    "name": SCRIPT_HEADER,
    "in": "header",
    "description": "Marks the request as sent by a script. A browser does not send this header to another site.",
    "required": True,
    "schema": {"type": "string", "enum": [SCRIPT]},
}
_EMPTY = {"required": True, "content": {JSON: {"schema": {"type": "object"}}}}
_ROLE = {403: "The user has no role that allows this.", 503: "The role could not be read."}
_CONVERTER = re.compile(r"<(?:[a-z]+(?:\([^)]*\))?:)?([a-z_]+)>")


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI description of these routes, as a JSON object."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(path_of(route.rule), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Benchkeeper hub",
            "version": "1",
            "description": "All routes of the hub page. Identity-Aware Proxy authenticates the user and signs the identity. "
            "A POST is a form of the page with that form's token; below /api/ it is JSON from a script with the "
            f"header {SCRIPT_HEADER}: {SCRIPT}.",
        },
        "security": [{"iap": []}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": _PROBLEM},
            "securitySchemes": {
                "iap": {"type": "apiKey", "in": "header", "name": "x-goog-iap-jwt-assertion"},
            },
        },
    }


def path_of(rule: str) -> str:
    """Return Flask's `/spark/<template>/start` as OpenAPI's `/spark/{template}/start`."""
    return _CONVERTER.sub(r"{\1}", rule)


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": {str(status): _response(route, status, text) for status, text in _answers(route).items()},
    }
    if route.access is Access.ANYONE:
        operation["security"] = []
    parameters = [_parameter(param) for param in route.params if param.place is not Place.FORM]
    if route.takes == JSON:
        parameters.append(_FROM_SCRIPT)
    if parameters:
        operation["parameters"] = parameters
    if route.takes == JSON:
        operation["requestBody"] = _EMPTY
    elif route.method == "POST":
        operation["requestBody"] = _form([param for param in route.params if param.place is Place.FORM])
    return operation


def _answers(route: Route) -> dict[int, str]:
    """Return all statuses of a route: those common to its kind, then its own, which take precedence."""
    common: dict[int, str] = {}
    if route.access is not Access.ANYONE:
        common |= {**_SIGNED_IN, **_READ}
    if route.method == "POST":
        common |= _SCRIPT if route.takes == JSON else _CHANGE
    if route.access in NEEDED:
        common |= _ROLE
    if any(param.place is Place.PATH for param in route.params):
        common[404] = "This person has nothing of that name."
    return dict(sorted({**common, **route.answers}.items()))


def _response(route: Route, status: int, text: str) -> dict[str, Any]:
    response: dict[str, Any] = {"description": text}
    if status in {303, 304}:
        return response
    if status < 300:  # noqa: PLR2004 - all is well
        response["content"] = {route.media: {"schema": route.schema} if route.schema is not None else {}}
        return response
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    response["content"] = {"application/problem+json": problem, HTML: {}}
    return response


def _parameter(param: Param) -> dict[str, Any]:
    return {
        "name": param.name,
        "in": param.place.value,
        "description": param.text,
        "required": param.required or param.place is Place.PATH,
        "schema": dict(param.schema),
    }


def _form(fields: list[Param]) -> dict[str, Any]:
    token = {"type": "string", "description": "The form's token, equal to that in the cookie."}
    properties = {"csrf": token, **{field.name: {**field.schema, "description": field.text} for field in fields}}
    schema = {
        "type": "object",
        "properties": properties,
        "required": ["csrf", *(field.name for field in fields if field.required)],
    }
    return {"required": True, "content": {FORM: {"schema": schema}}}
