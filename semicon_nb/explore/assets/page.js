// Shared by every exported page: data, theme, figures that follow the theme and the width, controls, and timings.
"use strict";
const semicon = (() => {
  const data = JSON.parse(document.getElementById("semicon-data").textContent);
  const figures = new Map();
  const timings = {}, handled = {};
  const kinds = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array, float32: Float32Array };

  // {dtype, shape, data} -> typed array
  function array(pack) {
    const text = atob(pack.data);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new kinds[pack.dtype](bytes.buffer);
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  // Layout entries that follow the theme, for every axis that the figure has
  function themed(layout) {
    const look = { "font.color": colour("ink"), paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      "hoverlabel.bgcolor": colour("page"), "hoverlabel.font.color": colour("ink"), "hoverlabel.bordercolor": colour("line"),
      "modebar.color": colour("soft"), "modebar.activecolor": colour("accent"), "modebar.bgcolor": "rgba(0,0,0,0)",
      "newselection.line.color": colour("accent"), "newselection.line.width": 2 };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(key)) { look[key + ".gridcolor"] = colour("grid"); look[key + ".linecolor"] = colour("line"); look[key + ".tickcolor"] = colour("line"); look[key + ".zerolinecolor"] = colour("line"); }
    }
    return look;
  }

  function set(target, path, value) {
    const keys = path.split(".");
    let at = target;
    for (const key of keys.slice(0, -1)) at = at[key] = at[key] && typeof at[key] === "object" ? at[key] : {};
    at[keys.at(-1)] = value;
  }

  // Draw the figure {data, layout} in the panel `id`; returns a promise of the element
  function plot(id, figure, config = {}) {
    const place = document.getElementById(id);
    const layout = { xaxis: {}, yaxis: {}, ...figure.layout, autosize: true };
    delete layout.width;
    delete layout.height;
    for (const [path, value] of Object.entries(themed(layout))) set(layout, path, value);
    figures.set(id, place);
    // plotly offers to upload a chart to its makers: never here
    const gone = ["sendChartToCloud", "sendDataToCloud", "toImage", ...(config.modeBarButtonsToRemove || [])];
    const all = { responsive: true, displaylogo: false, scrollZoom: false, showSendToCloud: false, plotlyServerURL: "", ...config, modeBarButtonsToRemove: gone };
    return Plotly.newPlot(place, figure.data, layout, all);
  }

  const dark = () => { const set = document.documentElement.dataset.theme; return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches; };

  const listeners = [];
  function repaint() {
    document.getElementById("theme").setAttribute("aria-pressed", String(dark()));
    for (const place of figures.values()) if (place.layout) Plotly.relayout(place, themed(place.layout));
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

  const value = (id) => { const e = document.getElementById(id); return e.type === "checkbox" ? e.checked : e.type === "range" ? Number(e.value) : e.value; };

  function label(element) {
    if (element.type !== "range") return;
    const shown = element.dataset.shown ? JSON.parse(element.dataset.shown)[Number(element.value)] : element.value;
    element.setAttribute("aria-valuetext", shown);
    const out = element.parentElement.querySelector("output");
    if (out) out.textContent = shown;
  }

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

  // Call work(value) when the control `id` changes: at most one call under way, always ending with the newest value
  function on(id, work) {
    const element = document.getElementById(id);
    if (!element) return;
    let busy = false, again = false;
    const go = async () => {
      label(element);
      if (busy) { again = true; return; }
      busy = true;
      do { again = false; await timed(id, () => work(value(id))); } while (again);
      busy = false;
    };
    element.addEventListener(element.tagName === "BUTTON" ? "click" : "input", go);
    label(element);
  }

  // Give a control a value from a script, as if the reader had
  function put(id, wanted) {
    const element = document.getElementById(id);
    if (element.type === "checkbox") element.checked = wanted; else element.value = wanted;
    element.dispatchEvent(new Event("input"));
  }

  const say = (text) => { document.getElementById("announce").textContent = text; };
  const note = (id, text) => { const e = document.getElementById(id); e.hidden = !text; e.textContent = text; };

  function fail(error) {
    const place = document.getElementById("failure");
    place.hidden = false;
    place.textContent = "Something on this page did not work: " + (error && error.message ? error.message : error) + ". The rest goes on.";
    console.error(error);
  }

  // Markers are the package's own, names are data: these go in as text
  function legend(id, entries) {
    document.getElementById(id).replaceChildren(...entries.map((e) => {
      const item = document.createElement("li");
      item.innerHTML = `<svg viewBox="0 0 14 14" aria-hidden="true">${markerShapes[e.symbol] || markerShapes.circle}</svg>`;
      item.firstChild.setAttribute("fill", e.colour);
      item.append(e.name);
      return item;
    }));
  }

  const median = (values, q = 0.5) => { const s = [...values].sort((a, b) => a - b); return s.length ? s[Math.min(s.length - 1, Math.floor(q * s.length))] : NaN; };
  return { data, array, plot, on, put, value, timed, timings, handled, say, note, fail, legend, colour, dark, repaint, onTheme: (heard) => listeners.push(heard), quantile: median };
})();
