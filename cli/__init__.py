"""The command line `benchkeeper`. It makes the same engine calls as the functions and the page.

The only work of its own is to ask, print and set the exit code.
"""
