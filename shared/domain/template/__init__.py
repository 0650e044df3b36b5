"""The template objects and session templates: the actions, and the wanted objects."""
