// The explorer of an exported page: everything that it shows is in the page.
"use strict";
const explorer = scenes[semicon.data.kind](document.getElementById("explorer"), semicon.data, {
  id: (name) => name,
  timed: semicon.timed,
  changed: () => {},
  say: semicon.say,
});
