"""The adapters to the objects in Benchkeeper's buckets."""
