// What the theme leaves to be said for readers with a keyboard or a screen reader.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll('.caption[role="heading"]').forEach((caption) => {
    caption.setAttribute("aria-level", "2");
  });
  document.querySelectorAll(".sidebar-drawer").forEach((side) => {
    side.setAttribute("aria-label", "Pages");
  });
  document.querySelectorAll(".toc-drawer").forEach((side) => {
    side.setAttribute("aria-label", "On this page");
  });
  // What scrolls by itself is reached by the tab key.
  document.querySelectorAll("pre, table.docutils, p:has(> img)").forEach((box) => {
    if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0");
  });
});
