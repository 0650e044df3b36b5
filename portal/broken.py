"""The page that is shown if the configuration cannot be used, and the application therefore cannot be built."""

from __future__ import annotations

from werkzeug.wrappers import Response

from portal.guard import CSP

_TEXT = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>The page cannot be shown · Benchkeeper</title></head>
<body><main>
<h1>The page cannot be shown</h1>
<p>Its settings have a fault. An administrator must fix it. Your notebook and files are as they were: nothing was stopped or
lost.</p>
<p>Administrators: the log of this function lists every fault, and <code>benchkeeper validate-config</code> finds them before
a deployment.</p>
</main></body>
</html>
"""


def broken_page() -> Response:
    """Return a page with status 500. It has no detail of the configuration, because the reader was not authenticated."""
    headers = {"Content-Security-Policy": CSP, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return Response(_TEXT, status=500, headers=headers, content_type="text/html; charset=utf-8")
