"""The adapters to objects in our buckets."""
