"""One module for each kind of thing that is deployed: read what is there, compare, give steps."""
