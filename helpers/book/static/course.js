// What the theme leaves unsaid to screen readers, and unreachable by keyboard.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("summary:has(.toctree-toggle)")) {
    summary.setAttribute("aria-label", "Pages of this part");
  }
  for (const formula of document.querySelectorAll("div.math.notranslate")) {
    formula.tabIndex = 0;  // it scrolls where the page is narrow
  }
});
