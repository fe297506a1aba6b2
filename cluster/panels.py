"""Draws the panels of the Grafana dashboard from what a Prometheus has recorded, as one SVG."""

import json
import math
import urllib.parse
import urllib.request
from html import escape

COLUMNS, WIDTH, HEIGHT, LEGEND = 3, 400, 190, 15
# The plot within a panel.
LEFT, TOP, RIGHT, BOTTOM = 62, 34, 14, 42
COLOURS = ["#1f5fa8", "#c55a11", "#548235", "#7030a0", "#bf9000", "#44546a"]
UNITS = {"reqps": "/s", "s": " s", "percentunit": " %", "bytes": " MiB", "cores": " cores", "short": ""}
SCALES = {"percentunit": 100, "bytes": 1 / 2**20}
VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "30s"}


def draw(dashboard, prometheus, began, ended, marks, title):
    """`marks` are spans of time to shade, each with its name: times are in seconds since 1970."""
    panels = [it for it in json.loads(dashboard.read_text())["panels"] if it.get("targets")]
    rows = math.ceil(len(panels) / COLUMNS)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {COLUMNS * WIDTH} {rows * HEIGHT + 30}" '
        'font-family="sans-serif" font-size="11">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="20" font-size="14">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        x, y = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT + 30
        lines += [f'<g transform="translate({x} {y})">', *draw_panel(panel, prometheus, began, ended, marks), "</g>"]
    return "\n".join([*lines, "</svg>", ""])


def draw_panel(panel, prometheus, began, ended, marks):
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    series = [one for target in panel["targets"] for one in ask(prometheus, target, began, ended, SCALES.get(unit, 1))]
    top = nice(max((value for _, points in series for _, value in points), default=0))
    bottom_of_plot, right_of_plot = HEIGHT - BOTTOM, WIDTH - RIGHT

    def across(at):
        return LEFT + (at - began) / (ended - began) * (right_of_plot - LEFT)

    def up(value):
        return bottom_of_plot - value / top * (bottom_of_plot - TOP)

    lines = [f'<text x="{LEFT}" y="22" font-weight="bold">{escape(panel["title"])}</text>']
    for name, since, until in marks:
        lines.append(f'<rect x="{across(since):.1f}" y="{TOP}" width="{across(until) - across(since):.1f}" '
                     f'height="{bottom_of_plot - TOP}" fill="#fbe5d6"><title>{escape(name)}</title></rect>')
    for part in (0, 0.5, 1):
        at = up(top * part)
        lines.append(f'<path d="M{LEFT} {at:.1f}H{right_of_plot}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 5}" y="{at + 4:.1f}" text-anchor="end" fill="#666">'
                     f"{top * part:.4g}{UNITS.get(unit, '')}</text>")
    for minute in range(0, int((ended - began) / 60) + 1, 2):
        lines.append(f'<text x="{across(began + minute * 60):.1f}" y="{bottom_of_plot + 13}" text-anchor="middle" '
                     f'fill="#666">{minute} min</text>')
    for number, (_, points) in enumerate(series):
        path = "".join(f"{'L' if index else 'M'}{across(at):.1f} {up(value):.1f}"
                       for index, (at, value) in enumerate(points))
        lines.append(f'<path d="{path}" fill="none" stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="1.5"/>')
    legend = "".join(f'<tspan fill="{COLOURS[number % len(COLOURS)]}">— {escape(name)}  </tspan>'
                     for number, (name, _) in enumerate(series))
    lines.append(f'<text x="{LEFT}" y="{HEIGHT - LEGEND}" xml:space="preserve">{legend or "no data"}</text>')
    return lines


def ask(prometheus, target, began, ended, scale):
    """The series of an expression, each with its name and its points."""
    expression = target["expr"]
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    for one in query(prometheus, "query_range", query=expression, start=began, end=ended, step=5):
        points = [(at, float(value) * scale) for at, value in one["values"] if math.isfinite(float(value))]
        if points:
            yield named(target.get("legendFormat") or expression, one["metric"]), points


def named(form, labels):
    for label, value in labels.items():
        form = form.replace("{{%s}}" % label, value)
    return form


def nice(value):
    """The next 1, 2 or 5 of a power of ten."""
    if value <= 0:
        return 1
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def query(prometheus, kind, **parameters):
    url = f"{prometheus}/api/v1/{kind}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["data"]["result"]
