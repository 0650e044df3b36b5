"""The embedded cloud's administrative services with the real gcloud (emulator/admin is their manual).

    with EmbeddedCloud.build(project="acme-analytics", log_folder=...) as cloud, AdminCloud(cloud) as admin:
        gcloud = admin.gcloud(tmp_path / "gcloud")          # or admin.environment(folder), for any child process
        gcloud("services", "enable", "pubsub.googleapis.com", "--project=acme-analytics")
        assert "pubsub.googleapis.com" in admin.state()["apis"]

REST without gcloud: `admin.endpoint("monitoring") + "v3/projects/..."` with `gcloud auth print-access-token`; for BigQuery
`admin.endpoint("bigquery") + "bigquery/v2/projects/..."`. The environment holds the same URLs, as
`CLOUDSDK_API_ENDPOINT_OVERRIDES_<SERVICE>` (Storage's ends in `/storage/v1/`).

**What goes wrong.** `admin.fail((service, glob on "VERB path"), error, times=1, skip=0, after=False)`, `admin.fail_call(n, error)`
for the nth call that asks for a change; errors are in `emulator.admin.errors`. With `after` the call is carried out and only
its answer is lost. A fault that did not fire fails the test when the cloud is left (`admin.unfired()`). gcloud itself retries 5xx,
and 429 of some APIs (Service Usage): `times=None` is every time from then on.

**What happened.** `admin.journal` has a row a call with gcloud's command, `admin.writes()` those that changed something,
`admin.state()` all that exists as plain data without times and etags, to compare two worlds. (The upload of a source archive changes
nothing that anybody sees, and is neither in the journal nor a write.)
"""

from tests.kit.gcp.cloud import AdminCloud, UnfiredFaultsError
from tests.kit.gcp.sdk import GCLOUD, Done, Gcloud

__all__ = ["GCLOUD", "AdminCloud", "Done", "Gcloud", "UnfiredFaultsError"]
