// The explorer of an exported page: everything that it shows is in the page.
"use strict";
try {
  const shown = explorer(document.getElementById("explorer"), semicon.data, { id: (name) => name, timed: semicon.timed, changed: () => {}, ask: null });
  semicon.state = shown.state;
  semicon.detail = shown.detail;
  semicon.onTheme(shown.repaint);
  document.body.dataset.ready = "true";
} catch (error) { semicon.fail(error); }
