"""The Cloud Functions v2 API. A deploy is real: the archive is unpacked and runs on the embedded cloud, which pushes messages to it."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import py_compile
import secrets
import zipfile
from pathlib import Path
from typing import Any

from emulator.admin import functions_rules as rules
from emulator.admin.ground import Ask, Ground, Handler, Json
from emulator.admin.run import Run
from emulator.errors import ApiError
from emulator.host import Deployment

_META = "type.googleapis.com/google.cloud.functions.v2.OperationMetadata"
_FUNCTION = "type.googleapis.com/google.cloud.functions.v2.Function"
_STAGES = ("BUILD", "SERVICE", "TRIGGER")
_UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH
_ACK_DEADLINE_S = 10  # Eventarc's value for its subscriptions; retries and retention are the host's defaults


_compiled: dict[bytes, bytes] = {}  # a module's digest -> what the interpreter keeps of it


def _compile(folder: Path) -> None:
    """Compile the modules of an unpacked archive, each text once per process, because all functions of all deployments have the same modules."""
    for module in folder.rglob("*.py"):
        digest = hashlib.sha256(module.read_bytes()).digest()
        kept = Path(importlib.util.cache_from_source(str(module)))
        if digest in _compiled:
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(_compiled[digest])
        elif py_compile.compile(str(module), str(kept), quiet=2, invalidation_mode=_UNCHECKED):
            _compiled[digest] = kept.read_bytes()


class Functions:
    """A service with the deployed functions, stored by full name.

    `environment` is added to the variables of each function: the endpoints of the embedded cloud.
    """

    def __init__(self, ground: Ground, run: Run, *, folder: Path, environment: dict[str, str]) -> None:
        self._ground = ground
        self._run = run
        self._folder = folder
        self._environment = environment
        self.by_name: dict[str, Json] = {}
        self.uploads: dict[str, bytes] = {}
        self.archives: dict[str, list[str]] = {}
        self.folders: dict[str, Path] = {}
        self._operations: dict[str, Json] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method id."""
        functions = "cloudfunctions.projects.locations.functions"
        return {
            f"{functions}.generateUploadUrl": self.upload_url,
            f"{functions}.create": self.create,
            f"{functions}.patch": self.patch,
            f"{functions}.get": lambda ask: self._find(ask.of("name")),
            f"{functions}.list": self.list,
            f"{functions}.delete": self.delete,
            "cloudfunctions.projects.locations.runtimes.list": self.runtimes,
            "cloudfunctions.projects.locations.operations.get": self.operation,
            # `gcloud functions list` also calls the first generation's API, which has no functions here.
            "v1:cloudfunctions.projects.locations.list": self.locations,
            "v1:cloudfunctions.projects.locations.functions.list": lambda _ask: {},
        }

    def locations(self, ask: Ask) -> Json:
        """Answer `locations.list` with two common regions, and all regions that have functions."""
        del ask
        regions = {"europe-west1", "us-central1"} | {name.split("/")[3] for name in self.by_name}
        parent = f"projects/{self._ground.project}/locations"
        return {"locations": [{"name": f"{parent}/{region}", "locationId": region} for region in sorted(regions)]}

    def runtimes(self, ask: Ask) -> Json:
        """Answer `runtimes.list`."""
        del ask
        rows = [{"name": name, "displayName": name, "stage": "GA", "environment": "GEN_2"} for name in rules.RUNTIMES]
        return {"runtimes": rows}

    def upload_url(self, ask: Ask) -> Json:
        """Answer `functions.generateUploadUrl` with a URL for one PUT of a zip, and the zip's name for the deploy."""
        region, key = ask.of("parent").rpartition("/")[2], f"{secrets.token_hex(16)}.zip"
        self.uploads[key] = b""
        bucket = f"gcf-v2-uploads-{self._ground.number}.{region}.cloudfunctions.appspot.com"
        return {"uploadUrl": f"{ask.base_url}/_upload/{key}", "storageSource": {"bucket": bucket, "object": key}}

    def create(self, ask: Ask) -> Json:
        """Answer `functions.create`. An error of the deploy itself is the operation's error, and leaves a FAILED function."""
        function_id = ask.query.get("functionId", "")
        rules.check_id(function_id)
        name = f"{ask.of('parent')}/functions/{function_id}"
        with self._ground.lock:
            if name in self.by_name:
                raise ApiError("ALREADY_EXISTS", f"Could not create Cloud Function {name}. A Cloud Function with this name already exists.")  # fmt: skip
            made = rules.masked({"name": name, "environment": "GEN_2"}, {**ask.body, "name": name}, "")
            rules.check(made, self._ground)
            made |= {"createTime": self._ground.now(), "state": "DEPLOYING"}
            self.by_name[name] = made
        return self._deploy(made, before=None, verb="create")

    def patch(self, ask: Ask) -> Json:
        """Answer `functions.patch`. A failed deploy leaves the function unchanged, but adds a message about the failure."""
        name = ask.of("name")
        with self._ground.lock:
            before = self._find(name)
            if before["state"] == "DEPLOYING":
                raise ApiError(
                    "ABORTED", f"An operation on function {name} is already in progress. Please try again later."
                )
            made = rules.masked(before, {**ask.body, "name": name}, ask.query.get("updateMask", ""))
            rules.check(made, self._ground)
            before["state"] = "DEPLOYING"
        return self._deploy(made, before=before, verb="update")

    def _deploy(self, made: Json, *, before: Json | None, verb: str) -> Json:
        """Deploy the function and return the operation, which has the error if the deploy failed.

        This runs outside the lock, because it takes a second or two.
        """
        name = made["name"]
        try:
            source = self._unpack(made)
            self._start(made, source)
        except ApiError as error:
            message = {"severity": "ERROR", "type": "CloudRunServiceNotReady", "message": error.message}
            with self._ground.lock:
                kept = before if before is not None else made
                kept |= {"state": "FAILED" if before is None else "ACTIVE", "stateMessages": [message]}
                self.by_name[name] = kept
            return self._operation(made, verb, error=error)
        with self._ground.lock:
            made |= {"state": "ACTIVE", "updateTime": self._ground.now()}
            made.pop("stateMessages", None)
            self._fill(made)
            self.by_name[name] = made
        return self._operation(made, verb)

    def _unpack(self, made: Json) -> Path:
        key = made["buildConfig"].get("source", {}).get("storageSource", {}).get("object", "")
        data = self.uploads.get(key)
        if not data:
            raise rules.bad(f"Build failed: the source archive {key!r} was not uploaded.")
        folder = self._folder / f"source-{self._ground.next_id()}"
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = archive.namelist()
                archive.extractall(folder)
        except zipfile.BadZipFile as error:
            raise rules.bad("Build failed: the source archive is no zip.") from error
        _compile(folder)
        if not (folder / "main.py").is_file():
            raise rules.bad("Build failed: missing main.py and GOOGLE_FUNCTION_SOURCE not specified.")
        self.archives[made["name"]], self.folders[made["name"]] = sorted(names), folder
        return folder

    def _start(self, made: Json, source: Path) -> None:
        """Start the function. If that fails, raise the operation's error (code 3), as in github.com/firebase/firebase-tools/issues/7369."""
        short, service = made["name"].rpartition("/")[2], made.get("serviceConfig", {})
        trigger = made.get("eventTrigger", {})
        deployment = Deployment(
            name=short,
            source=str(source),
            entry_point=made["buildConfig"]["entryPoint"],
            topic=trigger.get("pubsubTopic", ""),
            environment={**service.get("environmentVariables", {}), **self._environment},
            signature="cloudevent" if trigger else "http",
            retry=trigger.get("retryPolicy") == "RETRY_POLICY_RETRY",
            threads=int(service.get("maxInstanceRequestConcurrency") or 1),
            ack_deadline=None if self._subscribed(short) else _ACK_DEADLINE_S,
        )
        embedded = self._ground.embedded
        try:
            embedded.functions.deploy(deployment, base_url=embedded.url)
        except ApiError as error:
            raise ApiError(
                "INVALID_ARGUMENT",
                f"Could not create or update Cloud Run service {short}, Container Healthcheck failed. Revision "
                f"'{short}-00001-abc' is not ready and cannot serve traffic. The user-provided container "
                "failed to start and listen on the port defined provided by the PORT=8080 environment variable within the "
                f"allocated timeout. Logs for this revision might contain more information.\n{error.message}",
            ) from error

    def _subscribed(self, short: str) -> bool:
        return self.subscription(short) in self._ground.embedded.pubsub.subscriptions

    def subscription(self, short: str) -> str:
        """Return the full name of the subscription that feeds a function."""
        return f"projects/{self._ground.project}/subscriptions/eventarc-{short}"

    def _fill(self, made: Json) -> None:
        """Set the fields of a function that only the service sets."""
        ground, name = self._ground, made["name"]
        _, _, _, region, _, short = name.split("/")
        default = f"{ground.number}-compute@developer.gserviceaccount.com"
        service = made.setdefault("serviceConfig", {})
        first = {
            "timeoutSeconds": 60,
            "availableMemory": "256M",
            "maxInstanceCount": 100,
            "ingressSettings": "ALLOW_ALL",
        }
        first |= {"serviceAccountEmail": default, "maxInstanceRequestConcurrency": 1}
        for key, value in first.items():
            service.setdefault(key, value)
        service.setdefault("availableCpu", "0.1666" if service["maxInstanceRequestConcurrency"] == 1 else "1")
        revision = int(service.get("revision", f"{short}-00000-x").split("-")[-2]) + 1
        service |= {
            "service": f"projects/{ground.project}/locations/{region}/services/{short}",
            "uri": f"https://{short}-abcdefghij-ew.a.run.app",
            "revision": f"{short}-{revision:05}-abc",
            "allTrafficOnLatestRevision": True,
        }
        made["url"] = f"https://{region}-{ground.project}.cloudfunctions.net/{short}"
        build = made["buildConfig"]
        build["build"] = f"projects/{ground.number}/locations/{region}/builds/{secrets.token_hex(8)}"
        build.setdefault("dockerRepository", f"projects/{ground.project}/locations/{region}/repositories/gcf-artifacts")
        build.setdefault("dockerRegistry", "ARTIFACT_REGISTRY")
        build.setdefault("serviceAccount", f"projects/{ground.project}/serviceAccounts/{default}")
        trigger = made.get("eventTrigger")
        if trigger:
            trigger.setdefault("retryPolicy", "RETRY_POLICY_DO_NOT_RETRY")
            trigger.setdefault("triggerRegion", region)
            trigger.setdefault("serviceAccountEmail", default)
            trigger["trigger"] = self._run.trigger_of(name) or (
                f"projects/{ground.project}/locations/{region}/triggers/{short}-{ground.next_id():06}"
            )
        self._run.put(region, short, made, subscription=self.subscription(short))

    def list(self, ask: Ask) -> Json:
        """Answer `functions.list`; `locations/-` lists the functions of all locations."""
        parent = ask.of("parent")
        prefix = parent.removesuffix("-") if parent.endswith("/-") else f"{parent}/functions/"
        found = [function for name, function in sorted(self.by_name.items()) if name.startswith(prefix)]
        return {"functions": found} if found else {}

    def delete(self, ask: Ask) -> Json:
        """Answer `functions.delete`: delete the function with its service, trigger and subscription."""
        name = ask.of("name")
        with self._ground.lock:
            function = self._find(name)
            del self.by_name[name]
        _, _, _, region, _, short = name.split("/")
        embedded = self._ground.embedded
        if any(row["name"] == short for row in embedded.functions.listing()):
            embedded.functions.delete(short)
        self._run.forget(region, short)
        return self._operation(function, "delete")

    def operation(self, ask: Ask) -> Json:
        """Answer `operations.get`."""
        name = ask.of("name")
        if name not in self._operations:
            raise ApiError("NOT_FOUND", f"Operation {name} was not found.")
        return self._operations[name]

    def _operation(self, function: Json, verb: str, *, error: ApiError | None = None) -> Json:
        parent = function["name"].partition("/functions/")[0]
        name = f"{parent}/operations/operation-{self._ground.next_id():013}"
        stages: list[Json] = [{"name": stage, "state": "COMPLETE"} for stage in _STAGES]
        metadata = {
            "@type": _META, "target": function["name"], "verb": verb, "apiVersion": "v2", "stages": stages,
            "operationType": f"{verb.upper()}_FUNCTION", "createTime": self._ground.now(),
        }  # fmt: skip
        outcome: dict[str, Any] = {"response": {"@type": _FUNCTION, **function}}
        if verb == "delete":
            outcome = {"response": {"@type": "type.googleapis.com/google.protobuf.Empty"}}
            del metadata["stages"]
        if error is not None:
            outcome = {"error": {"code": error.number, "message": error.message}}
        self._operations[name] = {"name": name, "metadata": metadata, "done": True, **outcome}
        return {"name": name, "metadata": metadata}

    def _find(self, name: str) -> Json:
        if name not in self.by_name:
            raise ApiError("NOT_FOUND", f"Resource '{name}' was not found")
        return self.by_name[name]
