"""The saved files of a user: the actions and the step."""
