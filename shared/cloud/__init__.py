"""The adapters to Google Cloud. The only package that imports `google.*`; every Google error is translated before it leaves."""
