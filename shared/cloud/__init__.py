"""The adapters to Google Cloud.

No other package imports `google.*`. The adapters turn the errors of Google's APIs and clients into `BenchkeeperError`s.
"""
