"""What a page of the app shows, found through all its shadow roots."""

from __future__ import annotations

from playwright.sync_api import Page

#: All elements of a page, in order, those in shadow roots too.
_ALL = """
const everything = (root) => [...root.querySelectorAll("*")].flatMap(
  (one) => [one, ...(one.shadowRoot ? everything(one.shadowRoot) : [])]);
const parent = (one) => one.assignedSlot || one.parentElement || one.getRootNode().host || null;
"""
_STILL = (
    "() => {"
    + _ALL
    + """
  const all = everything(document);
  return all.some((one) => one.tagName === "H1") && !all.some((one) =>
    (one.classList.contains("pn-loading"))
    || (one.tagName === "P" && one.textContent.endsWith(" ...")));
}"""
)
#: Text whose contrast with what lies behind it is below 4.5 to 1, with the ratio.
_FAINT = (
    "() => {"
    + _ALL
    + """
  const read = (text) => (text.match(/[0-9.]+/g) || []).map(Number);
  const light = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => v / 255).map(
      (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (let at = one; at; at = parent(at)) {
      const ground = read(getComputedStyle(at).backgroundColor);
      if (ground.length === 3 || ground[3] === 1) return ground;
    }
    return [255, 255, 255];
  };
  return everything(document).flatMap((one) => {
    const said = [...one.childNodes].filter((node) => node.nodeType === 3)
      .map((node) => node.textContent.trim()).join(" ").trim();
    const style = getComputedStyle(one), box = one.getBoundingClientRect();
    const skipped = ["STYLE", "SCRIPT", "OPTION", "TITLE", "NOSCRIPT"].includes(one.tagName);
    if (!said || skipped || !box.width || style.visibility === "hidden") return [];
    const [low, high] = [light(read(style.color)), light(behind(one))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    return ratio < 4.5 ? [`${ratio.toFixed(2)} ${one.tagName} ${said.slice(0, 40)}`] : [];
  });
}"""
)
#: The element that has the keyboard: its words, and whether it is seen to have it.
_FOCUSED = (
    "() => {"
    + _ALL
    + """
  let at = document.activeElement;
  while (at && at.shadowRoot && at.shadowRoot.activeElement) at = at.shadowRoot.activeElement;
  if (!at || at === document.body) return null;
  const style = getComputedStyle(at);
  const named = at.getAttribute("aria-label")
    || (at.labels && at.labels.length ? at.labels[0].textContent : "") || at.textContent || "";
  return {tag: at.tagName, kind: at.className, name: named.trim().slice(0, 60),
          seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1};
}"""
)


def settled(page: Page, patience: int = 120_000) -> None:
    """Wait until nothing on the page is being made any more."""
    page.wait_for_selector("h1", timeout=patience)
    for _ in range(2):
        page.wait_for_function(_STILL, timeout=patience)
        page.wait_for_timeout(300)


def faint(page: Page) -> list[str]:
    """Return the text that has too little contrast."""
    return page.evaluate(_FAINT)


def focused(page: Page) -> dict | None:
    """Return what has the keyboard: its tag, its name, and whether that is seen."""
    return page.evaluate(_FOCUSED)
