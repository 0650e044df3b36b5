"""The user's own service account: the actions and the step."""
