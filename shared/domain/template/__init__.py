"""The template objects and session templates: the actions, and which are wanted."""
