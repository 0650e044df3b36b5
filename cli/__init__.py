"""The command line `benchkeeper`. It makes the same engine calls as the functions and the page.

The command line itself only asks, prints and sets the exit code.
"""
