"""The commands `./deploy.sh gcp | destroy`: they bring Google Cloud in line with config/deploy/*.yaml and the settings, by gcloud.

Each kind of resource has a module under `cli.deploy.kinds` that reads the present state, compares, and returns steps.
`cli.deploy.run` carries the steps out. Nothing is created unread, so a second run changes nothing.
"""
