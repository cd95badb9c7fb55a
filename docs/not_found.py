"""404.html: a page that loads nothing, so that it can be read at any address of a server and as a file."""

from __future__ import annotations

from typing import Any

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>No such page - {name}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 32rem; margin: 20vh auto; padding: 0 1rem }}
</style>
</head>
<body>
<h1>No such page</h1>
<p>There is nothing at this address. <a href="{home}">The documentation of {name}</a> has every page in its menu.</p>
<script>if (location.protocol === "file:") document.querySelector("a").href = "index.html"</script>
</body>
</html>
"""


def on_post_template(output: str, *, template_name: str, config: Any) -> str:
    """Take the place of the theme's page, whose addresses begin at the root of a server."""
    if template_name != "404.html":
        return output
    base = config.site_url or "/"
    return PAGE.format(name=config.site_name, home=f"{base.rstrip('/')}/index.html")
