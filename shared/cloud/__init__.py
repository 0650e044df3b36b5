"""The adapters to Google Cloud.

The only package that imports `google.*`; every error of Google is translated into ours here.
"""
