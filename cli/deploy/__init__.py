"""The commands `./deploy.sh gcp` and `./deploy.sh destroy`: create or remove what the configuration describes on Google Cloud.

They use gcloud, and read config/deploy/*.yaml and the settings. Each kind of resource has a module under
`cli.deploy.kinds` that reads the present state, compares, and returns steps. `cli.deploy.run` carries the steps out.
The present state is always read first, so a second run changes nothing.
"""
