// Shared by every exported page: data, theme and timings.
"use strict";
const semicon = (() => {
  const data = JSON.parse(document.getElementById("semicon-data").textContent);
  const timings = {}, handled = {};

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  const dark = () => { const set = document.documentElement.dataset.theme; return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches; };

  const listeners = [];
  function repaint() {
    document.getElementById("theme").setAttribute("aria-pressed", String(dark()));
    for (const heard of listeners) heard(dark());
  }
  document.getElementById("theme").addEventListener("click", () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; repaint(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  // Inside another page that says whether it is dark (tools/embedded.js on the site), follow it; its own button goes
  addEventListener("message", (event) => {
    if (event.source !== window.parent || window.parent === window || !event.data || !["light", "dark"].includes(event.data.semiconTheme)) return;
    document.getElementById("theme").hidden = true;
    if (document.documentElement.dataset.theme === event.data.semiconTheme) return;
    document.documentElement.dataset.theme = event.data.semiconTheme;
    repaint();
  });
  if (window.parent !== window) window.parent.postMessage({ semiconTheme: "?" }, "*");
  // It also says how high it is, so that the frame needs neither a scroll bar nor an empty foot
  const height = () => Math.ceil(document.documentElement.getBoundingClientRect().height);
  if (window.parent !== window) new ResizeObserver(() => window.parent.postMessage({ semiconHeight: height() }, "*")).observe(document.documentElement);
  document.getElementById("theme").setAttribute("aria-pressed", String(dark()));

  // Milliseconds from an event to the frame in which its work is on the screen: semicon.timings[name]; of these, until the work
  // was done: semicon.handled[name]
  function timed(name, work) {
    const start = performance.now(), note = (where) => (where[name] = where[name] || []).push(performance.now() - start);
    let done;
    try { done = work(); } catch (error) { fail(error); }
    return Promise.resolve(done).then(() => new Promise((next) => {
      note(handled);
      requestAnimationFrame(() => setTimeout(() => { note(timings); next(); }, 0));
    })).catch(fail);
  }

  const say = (text) => { document.getElementById("announce").textContent = text; };
  function fail(error) {
    const place = document.getElementById("failure");
    place.hidden = false;
    place.textContent = "Something on this page did not work: " + (error && error.message ? error.message : error) + ". The rest goes on.";
    console.error(error);
  }

  return { data, timed, timings, handled, say, fail, colour, dark, onTheme: (heard) => listeners.push(heard) };
})();
