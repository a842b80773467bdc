// What every explorer that the browser draws is made of, the same in a notebook and in an exported page.
"use strict";

// {dtype, shape, data (base64)} -> typed array
function unpack(pack) {
  const kinds = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array, float32: Float32Array };
  return new kinds[pack.dtype](Uint8Array.from(atob(pack.data), (c) => c.charCodeAt(0)).buffer);
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
