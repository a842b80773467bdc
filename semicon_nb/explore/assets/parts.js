// What every explorer that the browser draws is made of, the same in a notebook and in an exported page.
"use strict";

// {dtype, shape, data (base64)} -> typed array
function unpack(pack) {
  const kinds = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array, float32: Float32Array };
  return new kinds[pack.dtype](Uint8Array.from(atob(pack.data), (c) => c.charCodeAt(0)).buffer);
}

// Runs {values, lengths} -> that many numbers
function unrolled(runs, count) {
  const found = new Uint8Array(count), values = unpack(runs.values), lengths = unpack(runs.lengths);
  for (let i = 0, at = 0; i < values.length; i++) { found.fill(values[i], at, at + lengths[i]); at += lengths[i]; }
  return found;
}

const inWords = (x) => Math.round(x).toLocaleString("en-US");
const bytesOf = (colour) => [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));

// An element: `settings` are attributes, `text` its text (never HTML: names come from files), `children` what stands in it
function make(tag, settings = {}, ...children) {
  const found = document.createElement(tag);
  if (/^(button|canvas|input|select)$/.test(tag)) found.dataset.lmSuppressShortcuts = "true"; // JupyterLab has plans of its own for arrow keys
  for (const [name, value] of Object.entries(settings)) {
    if (name === "text") found.textContent = value;
    else if (value !== undefined && value !== false) found.setAttribute(name, value === true ? "" : value);
  }
  found.append(...children);
  return found;
}

// A slider over `values` (texts) under its `label`; heard(index) is called when the reader moves it
function slider(host, name, label, values, index, heard) {
  const id = host.id(name), shown = make("output", { for: id });
  const input = make("input", { type: "range", id, min: 0, step: 1 });
  const write = () => { shown.textContent = values[input.value]; input.setAttribute("aria-valuetext", values[input.value]); };
  const set = (fresh, at) => { values = fresh; input.max = values.length - 1; input.value = at; input.disabled = values.length < 2; write(); };
  input.addEventListener("input", () => { write(); host.timed(name, () => heard(Number(input.value))); });
  set(values, index);
  return { element: make("div", { class: "control" }, make("label", { for: id, text: label }), input, shown), set, put: (at) => set(values, at), at: () => Number(input.value) };
}

// A menu of choices [value, title] under its label; heard(value) gets the value itself, be it text or a number
function menu(host, name, label, choices, value, heard) {
  const id = host.id(name), input = make("select", { id });
  const set = (fresh, wanted) => { choices = fresh; input.replaceChildren(...choices.map(([key, text]) => make("option", { value: key, text }))); put(wanted); };
  const put = (wanted) => { input.value = wanted; };
  input.addEventListener("input", () => host.timed(name, () => heard(choices[input.selectedIndex][0])));
  set(choices, value);
  return { element: make("div", { class: "control" }, make("label", { for: id, text: label }), input), set, put };
}

// A box to tick; heard(ticked)
function tick(host, name, label, ticked, heard) {
  const input = make("input", { type: "checkbox", id: host.id(name), checked: ticked });
  input.addEventListener("input", () => host.timed(name, () => heard(input.checked)));
  return { element: make("div", { class: "control" }, make("label", {}, input, " " + label)), put: (wanted) => { input.checked = wanted; } };
}

function button(host, name, label, heard, settings = {}) {
  const found = make("button", { type: "button", id: host.id(name), text: label, ...settings });
  found.addEventListener("click", () => host.timed(name, heard));
  return found;
}

// Buttons of which one is pressed: choices are [value, title]; heard(value)
function segments(host, name, label, choices, value, heard) {
  const buttons = choices.map(([key, title], k) => {
    const found = make("button", { type: "button", id: host.id(`${name}-${k}`), text: title });
    found.addEventListener("click", () => { put(key); host.timed(name, () => heard(key)); });
    return found;
  });
  const put = (wanted) => buttons.forEach((b, k) => b.setAttribute("aria-pressed", String(choices[k][0] === wanted)));
  put(value);
  return { element: make("div", { class: "segments", role: "group", "aria-label": label }, make("span", { text: label }), ...buttons), put };
}
