"""The administrative APIs of Google around an embedded cloud, as a deployment needs them: strict, stateful, called by the real gcloud.

    with EmbeddedCloud.build(project="acme-analytics", log_folder=...) as cloud, AdminServices(cloud) as admin:
        ...  # admin.endpoint("iam"), admin.token

The services use the embedded cloud's front, journal, faults and models. No command starts them; the deployment's tests
do (tests/kit/gcp points a gcloud at them). They read gcloud's own generated clients, so the Google Cloud SDK has to be
installed.

**Where things are.** Buckets, topics, subscriptions, jobs, notebooks, time series, service accounts, custom roles and
the project's policy are the embedded cloud's (`admin.embedded`). All other parts are here: `admin.projects` (APIs,
policies of Google's own accounts), `.functions`, `.run` (services' IAM, triggers), `.proxy` (access through
Identity-Aware Proxy), `.domains` (domain mappings; `.verified` are the caller's domains), `.logs` (sinks, metrics),
`.watch` (alerts, channels, dashboards), `.tables` (datasets, views), `.keys` (`admin.keys.add(name)` creates a key),
`.secrets`. The embedded cloud takes over the project id and number given here. With `organization="987..."` the project
has that parent.

**Calls.** Each call is looked up in gcloud's own generated clients (`catalog`). An unknown path gives 404. An unknown
field, parameter or enum value gives 400. A call that exists and is not modelled gives 405. Every call needs the token
(else 401), and its API enabled (else 403 SERVICE_DISABLED; Service Usage, Resource Manager, Billing and Storage always
answer). At first only `FIRST_APIS` are on. `admin.ground.propagation = n`: the first n grants to a new account, and the
first n calls of a newly enabled API, are refused. `admin.ground.billing = False`: the project has no billing account.

**Functions.** A deploy unpacks the archive (`admin.functions.archives[name]` has its file names, `.folders[name]` its
folder) and runs it on the embedded cloud, with the function's variables and those of `function_environment`, which give
the clients the embedded cloud's endpoints. The subscription is `eventarc-<function>` with Eventarc's settings; a
redeploy does not change the subscription. `name` is the full name, `projects/P/locations/R/functions/F`.
"""
