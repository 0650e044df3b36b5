"""The admin cloud: a strict, stateful stand-in for Google's administrative APIs, against which the real gcloud runs.

    with EmbeddedCloud.build(project="acme-analytics", log_folder=...) as cloud, AdminCloud(cloud) as admin:
        gcloud = admin.gcloud(tmp_path / "gcloud")          # or admin.environment(folder), for any child process
        gcloud("services", "enable", "pubsub.googleapis.com", "--project=acme-analytics")
        assert "pubsub.googleapis.com" in admin.state()["apis"]

**Where things are.** Buckets, topics, subscriptions, jobs, notebooks and time series live in the embedded cloud (`admin.embedded`);
all else lives here: `admin.projects` (policy, APIs), `.accounts`, `.roles`, `.functions`, `.run` (services' IAM, triggers),
`.proxy` (who passes Identity-Aware Proxy), `.domains` (domain mappings; `.verified` are the caller's domains), `.logs`
(sinks, metrics), `.watch` (alerts, channels, dashboards), `.tables` (datasets, views), `.keys` (`admin.keys.add(name)` makes one).
`AdminCloud` sets the embedded world's project and number to its own. With `organization="987..."` the project has that parent.

**Calls.** Each call is looked up in gcloud's own generated clients (`catalog`): an unknown path is 404, an unknown field, parameter
or enum value 400, a call that exists and is not modelled 501. Every call needs the token of the environment (401), and its API
enabled (403 SERVICE_DISABLED; Service Usage, Resource Manager, Billing and Storage always answer). At first only `FIRST_APIS` are on.
REST without gcloud: `admin.endpoint("monitoring") + "v3/projects/..."` with `gcloud auth print-access-token`; for BigQuery
`admin.endpoint("bigquery") + "bigquery/v2/projects/..."`. The environment holds the same URLs, as
`CLOUDSDK_API_ENDPOINT_OVERRIDES_<SERVICE>` (Storage's ends in `/storage/v1/`).

**Functions.** A deploy unpacks the archive (`admin.functions.archives[name]`: its names; `.folders[name]`: where) and runs it on the
embedded cloud, with the function's variables and those of `function_environment`, which a test uses to say where the clients find
the embedded cloud. The subscription is `eventarc-<function>` with Eventarc's settings; a redeploy leaves it alone. `name` is
the full name, `projects/P/locations/R/functions/F`.

**What goes wrong.** `admin.fail((service, regex on "VERB path"), error, times=1, skip=0, after=False)`, `admin.fail_call(n, error)`
for the nth call that asks for a change; errors are in `tests.kit.gcp.errors`. With `after` the call is carried out and only
its answer is lost. A fault that did not fire fails the test when the cloud is left (`admin.unfired()`). gcloud itself retries 5xx,
and 429 of some APIs (Service Usage): `times=None` is every time from then on. `admin.propagation = n`: the first n grants to a new account, and the first
n calls of a newly enabled API, are refused. `admin.billing = False`: the project has no billing account.

**What happened.** `admin.journal` has a row a call with gcloud's command, `admin.writes()` those that changed something,
`admin.state()` all that exists as plain data without times and etags, to compare two worlds. (The upload of a source archive changes
nothing that anybody sees, and is neither in the journal nor a write.)
"""

from tests.kit.gcp.cloud import AdminCloud, UnfiredFaultsError
from tests.kit.gcp.sdk import GCLOUD, Done, Gcloud

__all__ = ["GCLOUD", "AdminCloud", "Done", "Gcloud", "UnfiredFaultsError"]
