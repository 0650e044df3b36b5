"""The adapters to Dataproc: clusters, serverless sessions, and the templates of both.

`types` and `message_check` know the API's messages; `target` is the part of the settings that rendering needs. `cluster_render` and
`session_render` use these, independently of each other; `masters` chooses between the two kinds.
"""
