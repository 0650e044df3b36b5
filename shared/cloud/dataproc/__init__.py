"""The adapters to Dataproc: clusters, serverless sessions, and the templates of both.

`types` and `message_check` know the API's messages, `target` what rendering needs of the settings. `cluster_render` and
`session_render` stand beside each other on these; `masters` tells the two kinds apart and is above both.
"""
