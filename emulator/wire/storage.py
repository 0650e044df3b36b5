"""The routes of the Cloud Storage JSON API. Object names arrive percent-encoded; a name may contain slashes."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from emulator.errors import ApiError
from emulator.model.storage import Preconditions, Source, StorageModel
from emulator.model.storage_records import location_type
from emulator.model.storage_rules import invalid
from emulator.wire.http import Call, HttpFront, Route
from emulator.wire.storage_batch import batch
from emulator.wire.storage_media import media_response
from emulator.wire.storage_query import (
    bucket_json,
    conditions,
    flag,
    list_query,
    number,
    object_json,
    object_list,
    page_size,
    partial,
)
from emulator.wire.storage_upload import Uploads
from emulator.world import CallSpec, World

if TYPE_CHECKING:
    from collections.abc import Callable

_API = "/storage/v1"
_UPLOAD = re.compile(r"^(?:/resumable)?/upload/storage/v1/b/(?P<bucket>[^/]+)/o$")
# The permission that a method always needs (cloud.google.com/storage/docs/access-control/iam-json); the model adds
# storage.objects.delete if an object is overwritten.
_PERMISSIONS = {
    "buckets.insert": "storage.buckets.create",
    "buckets.patch": "storage.buckets.update",
    "objects.compose": "storage.objects.get,storage.objects.create",
    "objects.copy": "storage.objects.create",
    "objects.rewrite": "storage.objects.create",
    "objects.patch": "storage.objects.get,storage.objects.update",
}


def routes(world: World, model: StorageModel) -> list[Route]:
    """Return all routes of the service."""
    api = _Api(world, model)
    found = [*_bucket_routes(api), *_object_routes(api), *_upload_routes(Uploads(world, model))]
    inner = HttpFront(world, found)
    found.append(Route("POST", re.compile(r"^/batch(/storage/v1)?$"), None, lambda call: batch(call, inner)))
    return found


def _route(
    verb: str, path: str, method: str, handler: Callable[[Call], Any], *, mutates: bool = False, base: str = _API
) -> Route:
    pattern = re.compile("^" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", base + path) + "$")
    resource = "{bucket}/{object}" if "{object}" in path else "{bucket}" if "{bucket}" in path else ""
    spec = CallSpec("storage", method, mutates=mutates, permission=_PERMISSIONS.get(method, f"storage.{method}"))
    return Route(verb, pattern, spec, handler, resource)


def _bucket_routes(api: _Api) -> list[Route]:
    one = "/b/{bucket}"
    return [
        _route("GET", "/b", "buckets.list", api.list_buckets),
        Route(
            "POST",
            re.compile(f"^{_API}/b$"),
            CallSpec("storage", "buckets.insert", mutates=True, permission="storage.buckets.create"),
            api.insert_bucket,
            lambda call: str(call.json().get("name", "")),
        ),
        _route("GET", one, "buckets.get", api.get_bucket),
        _route("PATCH", one, "buckets.patch", lambda call: api.change_bucket(call, replace=False), mutates=True),
        _route("PUT", one, "buckets.update", lambda call: api.change_bucket(call, replace=True), mutates=True),
        _route("DELETE", one, "buckets.delete", api.delete_bucket, mutates=True),
        _route("POST", f"{one}/restore", "buckets.restore", api.restore_bucket, mutates=True),
        _route(
            "GET", f"{one}/iam", "buckets.getIamPolicy", lambda call: api.model.buckets.policy(call.params["bucket"])
        ),
        _route("PUT", f"{one}/iam", "buckets.setIamPolicy", api.set_policy, mutates=True),
        _route("GET", f"{one}/storageLayout", "buckets.getStorageLayout", api.storage_layout),
        _route("GET", f"{one}/managedFolders", "managedFolders.list", api.managed_folders),
        _route("GET", "/projects/{project}/serviceAccount", "projects.serviceAccount.get", api.service_account),
    ]


def _object_routes(api: _Api) -> list[Route]:
    one, to = "/b/{bucket}/o/{object}", "/b/{to_bucket}/o/{to_object}"
    return [
        _route("GET", "/b/{bucket}/o", "objects.list", api.list_objects),
        _route("GET", one, "objects.get", api.get_object),
        _route("GET", one, "objects.get", api.download, base="/download/storage/v1"),
        _route("PATCH", one, "objects.patch", lambda call: api.change_object(call, replacing=False), mutates=True),
        _route("PUT", one, "objects.update", lambda call: api.change_object(call, replacing=True), mutates=True),
        _route("DELETE", one, "objects.delete", api.delete_object, mutates=True),
        _route("POST", f"{one}/compose", "objects.compose", api.compose, mutates=True),
        _route("POST", f"{one}/restore", "objects.restore", api.restore_object, mutates=True),
        _to_route(f"{one}/copyTo{to}", "objects.copy", api.copy),
        _to_route(f"{one}/rewriteTo{to}", "objects.rewrite", api.rewrite),
    ]


def _to_route(path: str, method: str, handler: Callable[[Call], Any]) -> Route:
    """Return a route whose journal rows name the written object, not the one that is read."""
    made = _route("POST", path, method, handler, mutates=True)
    return Route(made.method, made.pattern, made.spec, made.handler, "{to_bucket}/{to_object}")


def _upload_routes(uploads: Uploads) -> list[Route]:
    # They call World.perform themselves, because only the body has the object's name.
    return [
        Route(
            "POST",
            _UPLOAD,
            None,
            lambda call: uploads.resume(call) if call.query("upload_id") else uploads.insert(call),
        ),
        Route("PUT", _UPLOAD, None, uploads.resume),
        Route("DELETE", _UPLOAD, None, uploads.cancel),
    ]


class _Api:
    """The handlers of Cloud Storage's calls except uploads; each runs under the world's lock."""

    def __init__(self, world: World, model: StorageModel) -> None:
        self._world = world
        self.model = model

    # --- buckets ---------------------------------------------------------------------------------------------------------

    def list_buckets(self, call: Call) -> dict[str, Any]:
        """Answer `buckets.list`."""
        project = call.query("project")
        if not project:
            raise ApiError("INVALID_ARGUMENT", "Required parameter: project", reason="required")
        try:
            after = base64.urlsafe_b64decode(call.query("pageToken")).decode()
        except ValueError as error:
            raise invalid(f"Invalid value for field 'pageToken': {call.query('pageToken')!r}") from error
        found, more = self.model.buckets.listing(
            project=project,
            prefix=call.query("prefix"),
            after=after,
            limit=page_size(call),
            soft_deleted=flag(call, "softDeleted"),
        )
        body: dict[str, Any] = {"kind": "storage#buckets"}
        if found:
            body["items"] = [bucket_json(call, bucket, self._world.project_number) for bucket in found]
        if more:
            body["nextPageToken"] = base64.urlsafe_b64encode(found[-1].name.encode()).decode()
        return body

    def insert_bucket(self, call: Call) -> dict[str, Any]:
        """Answer `buckets.insert`."""
        bucket = self.model.buckets.create(call.json(), project=call.query("project"))
        return bucket_json(call, bucket, self._world.project_number)

    def get_bucket(self, call: Call) -> dict[str, Any]:
        """Answer `buckets.get`."""
        if flag(call, "softDeleted"):
            gone = self.model.buckets.soft_deleted(call.params["bucket"], number(call, "generation"))
            return bucket_json(call, gone, self._world.project_number)
        bucket = self.model.buckets.get(call.params["bucket"], conditions(call))
        return bucket_json(call, bucket, self._world.project_number)

    def change_bucket(self, call: Call, *, replace: bool) -> dict[str, Any]:
        """Answer `buckets.patch` and `buckets.update`."""
        bucket = self.model.buckets.change(call.params["bucket"], call.json(), conditions(call), replace=replace)
        return bucket_json(call, bucket, self._world.project_number)

    def delete_bucket(self, call: Call) -> Response:
        """Answer `buckets.delete`."""
        self.model.buckets.delete(call.params["bucket"], conditions(call))
        return Response(b"", status=204)

    def restore_bucket(self, call: Call) -> dict[str, Any]:
        """Answer `buckets.restore`."""
        bucket = self.model.buckets.restore(call.params["bucket"], number(call, "generation"))
        return bucket_json(call, bucket, self._world.project_number)

    def set_policy(self, call: Call) -> dict[str, Any]:
        """Answer `buckets.setIamPolicy`."""
        return self.model.buckets.set_policy(call.params["bucket"], call.json())

    def storage_layout(self, call: Call) -> dict[str, Any]:
        """Answer `buckets.getStorageLayout`, which gcloud calls before a recursive delete."""
        bucket = self.model.buckets.get(call.params["bucket"])
        location = str(bucket.fields["location"])
        return {
            "kind": "storage#storageLayout",
            "bucket": bucket.name,
            "location": location,
            "locationType": location_type(location),
            "hierarchicalNamespace": {"enabled": False},
        }

    def managed_folders(self, call: Call) -> dict[str, Any]:
        """Answer `managedFolders.list` with an empty list.

        gcloud makes this call before it deletes a bucket with its content.
        """
        self.model.buckets.get(call.params["bucket"])
        return {"kind": "storage#managedFolders"}

    def service_account(self, call: Call) -> dict[str, Any]:
        """Answer `projects.serviceAccount.get` with the service agent that needs a grant on the key for CMEK."""
        del call
        address = f"service-{self._world.project_number}@gs-project-accounts.iam.gserviceaccount.com"
        return {"kind": "storage#serviceAccount", "email_address": address}

    # --- objects ---------------------------------------------------------------------------------------------------------

    def list_objects(self, call: Call) -> dict[str, Any]:
        """Answer `objects.list`."""
        page = self.model.listing(call.params["bucket"], list_query(call))
        body: dict[str, Any] = {"kind": "storage#objects"}
        if page.token:
            body["nextPageToken"] = page.token
        if page.prefixes:
            body["prefixes"] = page.prefixes
        if page.items:
            body["items"] = object_list(call, page.items)
        return partial(call, body)

    def get_object(self, call: Call) -> dict[str, Any] | Response:
        """Answer `objects.get` with metadata or content, by `alt`."""
        alt = call.query("alt", "json")
        if alt not in {"json", "media"}:
            raise invalid(f"Invalid value for parameter 'alt': '{alt}'")
        if alt == "media":
            return self.download(call)
        if flag(call, "softDeleted"):
            return object_json(call, self.model.soft_deleted(*_where(call), generation=number(call, "generation")))
        stored = self.model.get(*_where(call), generation=number(call, "generation"), conditions=conditions(call))
        return object_json(call, stored)

    def download(self, call: Call) -> Response:
        """Answer `objects.get` with `alt=media`."""
        stored = self.model.get(*_where(call), generation=number(call, "generation"), conditions=conditions(call))
        return media_response(call, stored)

    def change_object(self, call: Call, *, replacing: bool) -> dict[str, Any]:
        """Answer `objects.patch` and `objects.update`."""
        stored = self.model.change(
            *_where(call),
            call.json(),
            generation=number(call, "generation"),
            conditions=conditions(call),
            replacing=replacing,
        )
        return object_json(call, stored)

    def delete_object(self, call: Call) -> Response:
        """Answer `objects.delete`."""
        self.model.delete(*_where(call), generation=number(call, "generation"), conditions=conditions(call))
        return Response(b"", status=204)

    def restore_object(self, call: Call) -> dict[str, Any]:
        """Answer `objects.restore`."""
        self._world.need("storage.objects.create")
        stored = self.model.restore(*_where(call), generation=number(call, "generation"), conditions=conditions(call))
        return object_json(call, stored)

    def copy(self, call: Call) -> dict[str, Any]:
        """Answer `objects.copy`. The source may be in another bucket than the destination."""
        self._world.need("storage.objects.get", on=f"{call.params['bucket']}/{call.params['object']}")
        stored = self.model.copy(
            _source(call),
            call.params["to_bucket"],
            call.params["to_object"],
            body=call.json(),
            conditions=conditions(call),
            kms_key=call.query("destinationKmsKeyName"),
        )
        return object_json(call, stored)

    def rewrite(self, call: Call) -> dict[str, Any]:
        """Answer `objects.rewrite`, always completed in one call."""
        resource = self.copy(call)
        return {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": resource["size"],
            "objectSize": resource["size"],
            "done": True,
            "resource": resource,
        }

    def compose(self, call: Call) -> dict[str, Any]:
        """Answer `objects.compose`."""
        body = call.json()
        unknown = sorted(set(body) - {"kind", "destination", "sourceObjects"})
        if unknown:
            raise invalid(f'Invalid JSON payload received. Unknown name "{unknown[0]}": Cannot find field.')
        sources, destination = body.get("sourceObjects", []), body.get("destination", {})
        if not isinstance(sources, list) or not isinstance(destination, dict):
            raise invalid("Invalid argument: `sourceObjects` is a list and `destination` an object.")
        bucket, name = _where(call)
        stored = self.model.compose(
            [_component(bucket, raw) for raw in sources],
            bucket,
            name,
            body=destination,
            conditions=conditions(call),
            kms_key=call.query("kmsKeyName"),
        )
        return object_json(call, stored)


def _where(call: Call) -> tuple[str, str]:
    return call.params["bucket"], call.params["object"]


def _source(call: Call) -> Source:
    return Source(*_where(call), number(call, "sourceGeneration"), conditions(call, "ifSource"))


def _component(bucket: str, raw: Any) -> Source:
    try:
        generation = int(raw["generation"]) if raw.get("generation") else None
        match = raw.get("objectPreconditions", {}).get("ifGenerationMatch")
        wanted = Preconditions(generation_match=None if match is None else int(match))
        return Source(bucket, str(raw["name"]), generation, wanted)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise invalid(f"Invalid source object: {json.dumps(raw)[:200]}") from error
