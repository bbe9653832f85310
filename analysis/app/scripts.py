"""Scripts of the app's page: what is missing for the keyboard, and what the URL's history keeps.

Imports nothing beyond the standard library.
"""

from __future__ import annotations

from typing import Final

__all__ = ["HISTORY", "NAMING"]

#: bokeh gives the handle of a slider no name, the tools beside a chart neither role nor name, and
#: all lines of a table the same one. They are made again and again, so they are looked for before
#: Tab moves on, and from time to time for whoever does not move by Tab.
NAMING: Final = """
const naming = (root) => {
  for (const one of root.querySelectorAll("*")) {
    if (one.shadowRoot) naming(one.shadowRoot);
    const named = (name) => {
      if (one.getAttribute("aria-label") !== name) one.setAttribute("aria-label", name);
    };
    if (one.matches(".noUi-handle")) named("Epoch");
    else if (one.matches(".bk-OnOffButton, .bk-ClickButton")) {
      one.role = "button";
      named(one.title);
      if (one.matches(".bk-OnOffButton")) one.ariaPressed = one.matches(".bk-active");
    }
    // A chart's canvas would take the keyboard and do nothing with it.
    else if (one.matches(".bk-events")) one.tabIndex = -1;
    else if (one.matches(".tabulator-header input")) named("Select all runs");
    else if (one.matches(".tabulator-tableholder")) named("Table of runs");
    else if (one.matches(".tabulator-row input")) {
      const run = one.closest(".tabulator-row").querySelector("[tabulator-field=run]");
      named(`Select ${run ? run.textContent : "run"}`);
    }
  }
};
addEventListener("keydown", (event) => { if (event.key === "Tab") naming(document); }, true);
setInterval(() => naming(document), 1000);
"""

#: A gesture on a chart changes the URL, and is no step that one would go back by.
HISTORY: Final = """
const pushed = history.pushState.bind(history);
history.pushState = (state, unused, url) => {
  const bare = (one) => {
    const parts = new URL(one, location.href);
    for (const name of ["batches", "values"]) parts.searchParams.delete(name);
    return parts.href;
  };
  if (bare(url) === bare(location.href)) history.replaceState(state, unused, url);
  else pushed(state, unused, url);
};
"""
