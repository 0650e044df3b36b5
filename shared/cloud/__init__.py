"""The adapters to Google Cloud.

No other package imports `google.*`. Errors of Google's APIs and clients are translated into our errors here.
"""
