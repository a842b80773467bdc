// The explorer of an exported page: everything that it shows is in the page.
"use strict";
try {
  const host = { id: (name) => name, timed: semicon.timed, say: semicon.say, changed: () => {}, ask: null };
  semicon.shown = explorer(document.getElementById("explorer"), semicon.data, host);
  if (semicon.shown.repaint) semicon.onTheme(semicon.shown.repaint);
  document.body.dataset.ready = "true";
} catch (error) { semicon.fail(error); }
