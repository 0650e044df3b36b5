"""`./deploy.sh gcp | destroy`: config/deploy/*.yaml and the settings, made so on Google Cloud by gcloud.

Each kind of thing has a module under `cli.deploy.kinds` that reads what is there, compares, and gives steps; `cli.deploy.run`
carries them out. Nothing is made without having been looked at first, so a second run changes nothing.
"""
