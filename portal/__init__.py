"""The hub page: server-rendered, built by `portal.app.create_app` from the dependencies passed in.

The page reads the record and stores requests, through the engine's own calls. It never changes the cloud itself.
"""
