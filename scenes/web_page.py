"""Pages that hold all that they show: a template, its content, and data for their scripts."""

import json
from pathlib import Path

import jinja2
from markupsafe import Markup


def render(template, content, **filters):
    """Return a page as text. template: path of that of Jinja. content: {name: value}. filters: functions, by name."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= filters
    return environment.from_string(Path(template).read_text(encoding="utf-8")).render(content)


def embedded(data):
    """Return data as JSON that may stand in a script: a name with "</script" in it would end that."""
    return Markup(json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))
