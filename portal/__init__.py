"""The hub page: server-rendered, made by `portal.app.create_app` with its dependencies passed in.

It reads the record and writes what is wanted, by the engine's own calls; it never changes the cloud itself.
"""
