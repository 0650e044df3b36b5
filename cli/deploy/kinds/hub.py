"""The access to the hub page: Identity-Aware Proxy before its service, the users who may open it, and its domain (docs/adr/0013)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from cli.deploy.failures import NotThereError
from cli.deploy.gcloud import Call, Command
from cli.deploy.kinds.access import Policy, granted, has
from cli.deploy.step import Mark, Step, same
from cli.deploy.target import Target

_RUN, _IAP = "run.googleapis.com", "iap.googleapis.com"
OPENER = "roles/iap.httpsResourceAccessor"
_ANNOTATION = "run.googleapis.com/iap-enabled"  # the annotation that gcloud's own `--iap` sets


def steps(target: Target, name: str, found: Mapping[str, Any] | None) -> Iterator[Step]:
    """Yield the steps for the proxy, the users who may open the page, and its domain. `found` is the function, None if it does not exist yet."""
    yield _proxy(target, name, found)
    yield from _openers(target, name, found)
    yield from _domain(target, name)


# ---- the proxy


def _proxy(target: Target, name: str, found: Mapping[str, Any] | None) -> Step:
    key, service = f"proxy {name}", _service(target, name, found)
    if _is_on(service):
        return same(key)
    mark, because = Mark.CREATE, f"people sign in at {address(target, name)}"
    if service:
        # A function that was deployed by other means has no proxy; only the proxy may call the service, so the page is closed until then.
        mark, because = Mark.CHANGE, "Identity-Aware Proxy is off, so nobody can open it"
    needs = (f"function {name}", f"caller {name}")
    return Step(key=key, mark=mark, because=because, work=[lambda: missing(target, name)], needs=needs)


def missing(target: Target, name: str) -> list[Command | Call]:
    """Return the command that turns the proxy on if it is off now, because a redeployment of the function may have turned it off."""
    if _is_on(target.gcloud.read("run", "services", "describe", name, f"--region={target.region}") or {}):
        return []
    return [("beta", "run", "services", "update", name, f"--region={target.region}", "--iap")]


def _service(target: Target, name: str, found: Mapping[str, Any] | None) -> Mapping[str, Any]:
    service: Mapping[str, Any] = {}
    if found is not None:
        with suppress(NotThereError):  # deleted by hand: the function is redeployed first
            service = target.read(_RUN, "run", "services", "describe", name, f"--region={target.region}", otherwise={})
    return service


def _is_on(service: Mapping[str, Any]) -> bool:
    annotations = service.get("metadata", {}).get("annotations", {})
    return str(annotations.get(_ANNOTATION, "")).lower() == "true"


def address(target: Target, name: str) -> str:
    """Return Cloud Run's deterministic URL of the page, which works without a custom domain."""
    return f"https://{name}-{target.number}.{target.region}.run.app"


# ---- who may open it


def _openers(target: Target, name: str, found: Mapping[str, Any] | None) -> Iterator[Step]:
    policy = openers(target, name) if found is not None else {}
    wanted = target.deployment.options.hub_access
    for member in wanted:
        yield granted(
            f"opener {member}", is_there=has(policy, OPENER, member), because="may open the hub page",
            work=("beta", "iap", "web", "add-iam-policy-binding", *_words(target, name, member)),
            needs=(f"proxy {name}",), lane="opener",
        )  # fmt: skip
    if not wanted and not any(binding.get("role") == OPENER for binding in policy.get("bindings", [])):
        groups = sorted({f"group:{each.group}" for each in target.deployment.settings.catalog.assignments})
        example = ", ".join(groups) or "group:GROUP, domain:DOMAIN"
        because = f"may open the hub page yet: write into the settings file deployment: {{hub_access: [{example}]}}"
        yield Step(key="opener nobody", mark=Mark.KEEP, because=because)


def openers(target: Target, name: str) -> Policy:
    """Return the policy of access through the proxy; {} if there is no service. gcloud 528 supports Cloud Run only in the beta track."""
    where = _where(target, name)
    try:
        policy: Policy = target.read(_IAP, "beta", "iap", "web", "get-iam-policy", *where, otherwise={})
    except NotThereError:
        return {}
    return policy


def close(target: Target, name: str, member: str) -> Command:
    """Return the command that removes a member's right to open the page."""
    return ("beta", "iap", "web", "remove-iam-policy-binding", *_words(target, name, member))


def _words(target: Target, name: str, member: str) -> Sequence[str]:
    return (*_where(target, name), f"--member={member}", f"--role={OPENER}", "--condition=None")


def _where(target: Target, name: str) -> Sequence[str]:
    return ("--resource-type=cloud-run", f"--service={name}", f"--region={target.region}")


# ---- the page's own domain


def _domain(target: Target, name: str) -> Iterator[Step]:
    wanted = target.deployment.options.hub_domain
    if wanted is None:
        return
    key, mapping = f"domain {wanted}", mapped(target, wanted)
    if mapping is None:
        where = (f"--service={name}", f"--domain={wanted}", f"--region={target.region}")
        work = [("beta", "run", "domain-mappings", "create", *where)]
        because = f"leads to {name}; the next plan says which DNS records to set"
        yield Step(key=key, mark=Mark.CREATE, because=because, work=work, needs=(f"proxy {name}",))
    elif not leads_to(mapping, name):
        because = f"it leads to {mapping.get('spec', {}).get('routeName')}, which is not Benchkeeper's: choose another hub_domain"
        yield Step(key=key, mark=Mark.KEEP, because=because)
    elif _is_ready(mapping):
        yield same(key)
    else:
        because = f"set these DNS records, then wait for the certificate: {_records(mapping, wanted)}"
        yield Step(key=key, mark=Mark.KEEP, because=because)


def mapped(target: Target, domain: str) -> Mapping[str, Any] | None:
    """Return the mapping of a domain in the deployment's region; None if the domain has no mapping there."""
    where = f"--region={target.region}"
    listed = target.read(_RUN, "beta", "run", "domain-mappings", "list", where, otherwise=[])
    return next((each for each in listed if each.get("metadata", {}).get("name") == domain), None)


def leads_to(mapping: Mapping[str, Any], name: str) -> bool:
    """Return True if the domain mapping leads to the hub page's service."""
    return bool(mapping.get("spec", {}).get("routeName") == name)


def _is_ready(mapping: Mapping[str, Any]) -> bool:
    conditions = mapping.get("status", {}).get("conditions", [])
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _records(mapping: Mapping[str, Any], domain: str) -> str:
    """Return the DNS records as `hub CNAME ghs.googlehosted.com.`, separated by commas; a note if Google has not named them yet."""
    found = mapping.get("status", {}).get("resourceRecords", [])
    words = [f"{each.get('name') or domain} {each.get('type')} {each.get('rrdata')}" for each in found]
    return ", ".join(words) or "Google has not named the records yet; run this again in a minute"
