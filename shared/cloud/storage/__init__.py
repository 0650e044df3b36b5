"""Objects in our buckets."""
