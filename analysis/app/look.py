"""Colours and style sheets of the app, light and dark, and the page that holds them.

Every colour of a page stands here, as a CSS variable that reaches into bokeh's shadow
roots (``--ac-``, because bokeh has an ``--error`` of its own); which of the two sets
holds is the browser's to say, unless the URL says it.
Imports `scripts` alone.
"""

from __future__ import annotations

from typing import Final

from actrace.analysis.app.scripts import HISTORY, NAMING

__all__ = ["BUSY", "CONTROLS", "PAGE", "PALETTES", "TABLE", "TEXT"]

#: Theme -> name of a colour -> the colour. Text has a contrast of 4.5 to 1 or better on
#: `ground` and on `raised`, a control's rim and the focus ring 3 to 1 (WCAG 2.2, 1.4.3 and
#: 1.4.11); a test measures it.
PALETTES: Final[dict[str, dict[str, str]]] = {
    "light": {
        "ground": "#ffffff",
        "raised": "#f2f4f7",
        "ink": "#1f2329",
        "faint": "#565d68",
        "line": "#c5cad1",
        "rim": "#7d858f",
        "accent": "#005a9c",
        "on-accent": "#ffffff",
        "focus": "#0b62d6",
        "error": "#8c1d18",
        "warning": "#7a4700",
        "info": "#1d4a70",
        "chosen": "#dbe9f6",
    },
    "dark": {
        "ground": "#14161a",
        "raised": "#22272e",
        "ink": "#e7e9ed",
        "faint": "#a9b1bc",
        "line": "#3d444d",
        "rim": "#7f8791",
        "accent": "#8cc4f0",
        "on-accent": "#0b1a26",
        "focus": "#7db7ff",
        "error": "#ff9d94",
        "warning": "#f0c36d",
        "info": "#9ecbf2",
        "chosen": "#1d3a54",
    },
}


def _variables(theme: str) -> str:
    colours = PALETTES[theme]
    ours = [f"--ac-{name}: {colour};" for name, colour in colours.items()]
    # What Panel's own style sheets take theirs from.
    panel = {
        "background-color": "ground",
        "on-background-color": "ink",
        "surface-color": "raised",
        "on-surface-color": "ink",
        "primary-color": "accent",
        "on-primary-color": "on-accent",
        "border-color": "line",
    }
    theirs = [f"--panel-{name}: {colours[ours]};" for name, ours in panel.items()]
    return f"color-scheme: {theme}; {' '.join([*ours, *theirs])}"


#: The page's template; ``html_attrs`` of the document says which theme the URL asks for.
PAGE: Final = f"""
{{% block postamble %}}
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root[data-theme] {{ {_variables("light")} }}
@media (prefers-color-scheme: dark) {{
  :root[data-theme=""] {{ {_variables("dark")} }}
}}
:root[data-theme="dark"] {{ {_variables("dark")} }}
html, body {{ background: var(--ac-ground); color: var(--ac-ink); }}
body {{ font-family: system-ui, sans-serif; }}
</style>
<script>{HISTORY}{NAMING}</script>
{{% endblock %}}
{{% block contents %}}<main>{{{{ super() }}}}</main>{{% endblock %}}
"""

#: Of text that is made in `markup`.
TEXT: Final = """
:host { font-family: system-ui, sans-serif; color: var(--ac-ink); }
h1 { font-size: 1.35rem; margin: 0 11rem 0 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0.9rem 0 0; }
h3 { font-size: 1rem; margin: 0.8rem 0 0; }
summary { cursor: pointer; }
:focus-visible { outline: 2px solid var(--ac-focus); outline-offset: 2px; }
p { margin: 0.2rem 0; max-width: 75em; overflow-wrap: anywhere; }
p.note { color: var(--ac-faint); }
p.failed { color: var(--ac-error); border-left: 4px solid var(--ac-error); padding: 0.3rem 0.7rem; }
p.mark { border-left: 4px solid var(--ac-accent); padding: 0.3rem 0.7rem; }
table { border-collapse: collapse; font-size: 0.9rem; color: inherit; }
th, td { padding: 0.15rem 0.9rem 0.15rem 0; text-align: left; vertical-align: top;
         overflow-wrap: anywhere; }
th { overflow-wrap: break-word; font-weight: 600; border-bottom: 1px solid var(--ac-line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; }
b.grave-error { color: var(--ac-error); } b.grave-warning { color: var(--ac-warning); }
b.grave-info { color: var(--ac-info); }
"""

#: Of what is being made: Panel's own veil is white, whatever the page is.
BUSY: Final = ":host(.pn-loading):after { background-color: transparent !important; }"

#: Of buttons, fields, lists and sliders.
CONTROLS: Final = """
:host { color: var(--ac-ink); }
.bk-btn, .bk-input.bk-input { font: inherit; font-size: 0.9rem; border: 1px solid var(--ac-rim);
  border-radius: 4px; }
:host(.solid) .bk-btn.bk-btn-default { background: var(--ac-raised); color: var(--ac-ink);
  border: 1px solid var(--ac-rim); }
:host(.solid) .bk-btn.bk-btn-default:hover { background: var(--ac-chosen); }
.bk-btn:focus-visible, .bk-input:focus-visible, .noUi-handle:focus-visible,
input:focus-visible { outline: 2px solid var(--ac-focus); outline-offset: 2px; }
:host(.solid) .bk-btn.bk-btn-primary { background: var(--ac-accent); color: var(--ac-on-accent);
  border-color: var(--ac-accent); }
:host(.solid) .bk-btn.bk-btn[disabled], :host(.solid) .bk-btn.bk-btn[disabled]:hover {
  opacity: 1; background: var(--ac-ground); color: var(--ac-faint);
  border: 1px dashed var(--ac-rim); cursor: default; }
.bk-input.bk-input { background-color: var(--ac-ground); color: var(--ac-ink); }
select.bk-input.bk-input { appearance: auto; background-image: none; }
select.bk-input option { background-color: var(--ac-ground); color: var(--ac-ink); }
.bk-input::placeholder { color: var(--ac-faint); opacity: 1; }
label, .bk-slider-title, .bk-slider-value { color: var(--ac-ink); }
.noUi-target.noUi-target { background: var(--ac-raised); border-color: var(--ac-rim);
  box-shadow: none; }
.noUi-handle.noUi-handle { background: var(--ac-accent); border-color: var(--ac-accent);
  box-shadow: none; }
.noUi-connect.noUi-connect { background: var(--ac-accent); }
"""

#: Of the table of runs.
TABLE: Final = """
:host .tabulator { background: var(--ac-ground); color: var(--ac-ink);
  border: 1px solid var(--ac-line); font-family: system-ui, sans-serif; }
:host .tabulator .tabulator-header, :host .tabulator .tabulator-header .tabulator-col {
  background: var(--ac-raised); color: var(--ac-ink); border-color: var(--ac-line); }
:host .tabulator .tabulator-header .tabulator-col.tabulator-sortable:hover {
  background: var(--ac-chosen); }
:host .tabulator .tabulator-tableholder, :host .tabulator .tabulator-table {
  background: var(--ac-ground); color: var(--ac-ink); }
:host .tabulator .tabulator-row { background: var(--ac-ground); color: var(--ac-ink);
  border-bottom: 1px solid var(--ac-line); }
:host .tabulator .tabulator-row.tabulator-row-even { background: var(--ac-raised); }
:host .tabulator .tabulator-row .tabulator-cell { border-color: transparent; }
:host .tabulator .tabulator-row.tabulator-selectable:hover { background: var(--ac-chosen);
  cursor: default; }
:host .tabulator .tabulator-row.tabulator-selected,
:host .tabulator .tabulator-row.tabulator-selected:hover { background: var(--ac-chosen);
  color: var(--ac-ink); }
:host .tabulator .tabulator-cell[tabulator-field="run"] { color: var(--ac-accent);
  cursor: pointer; }
:host .tabulator .tabulator-frozen.tabulator-frozen-left { border-right: 1px solid var(--ac-line); }
:host .tabulator .tabulator-footer { background: var(--ac-raised); color: var(--ac-ink);
  border-color: var(--ac-line); }
:host .tabulator .tabulator-footer .tabulator-page { background: var(--ac-ground);
  color: var(--ac-ink); border: 1px solid var(--ac-rim); opacity: 1; }
:host .tabulator .tabulator-footer .tabulator-page[disabled] { color: var(--ac-faint);
  border-style: dashed; }
:host .tabulator .tabulator-footer .tabulator-page.active { background: var(--ac-accent);
  color: var(--ac-on-accent); }
:host .tabulator :focus-visible { outline: 2px solid var(--ac-focus) !important;
  outline-offset: -2px; }
"""
