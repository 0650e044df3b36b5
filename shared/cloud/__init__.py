"""Adapters to Google Cloud. The only package that imports `google.*`; every Google error leaves it translated."""
