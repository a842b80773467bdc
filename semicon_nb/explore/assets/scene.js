// What the strategy, temperature, cohort and results explorers are made of. They are the same in a notebook and in an exported page: a
// `host` (script_page.js or script_live.js) tells what differs, {id(name), timed(name, work), changed(state), say(text), ask(what)}.
"use strict";

const threeDigits = (x) => String(Number(x.toPrecision(3)));

// Numbers by name: the first three in sight, the rest in a fold below them. draw(numbers) writes them
function facts(label = "All numbers") {
  const three = make("dl", { class: "three" }), rest = make("table");
  const fold = make("details", {}, make("summary", { text: label }), rest);
  const draw = (numbers) => {
    const all = Object.entries(numbers);
    three.replaceChildren(...all.slice(0, 3).map(([name, value]) => make("div", {}, make("dt", { text: name }), make("dd", { text: value }))));
    rest.replaceChildren(...all.slice(3).map(([name, value]) => make("tr", {}, make("th", { scope: "row", text: name }), make("td", { text: value }))));
    fold.hidden = all.length < 4;
  };
  return { element: make("div", { class: "facts" }, three, fold), fold, draw };
}

// A part of the explorer under its heading
function part(heading, ...children) {
  return make("section", { class: "part" }, make("h3", { text: heading }), ...children);
}

// What colours and marks mean: pull and push first, then the structures by the colour of their outlines
function meanings(data, kinds) {
  const sign = (mark, text, colour) => make("li", {}, make("i", { style: `background:${colour}`, "aria-hidden": "true", text: mark }), text);
  const line = (text, colour) => make("li", {}, make("i", { class: "outline", style: `border-color:${colour}`, "aria-hidden": "true" }), text);
  const names = data.classes.map((text, k) => [text, data.colours[k]]).slice(1);
  return make("ul", { class: "meanings" }, ...kinds.map((kind) => sign(...kind)), ...names.map((name) => line(...name)));
}

// Grey levels with, on each pixel, the colour of its kind: share(i) 0 keeps the grey, 1 is all colour
function paint(grey, kinds, tints, share) {
  const rgb = new Uint8Array(3 * grey.length);
  for (let i = 0; i < grey.length; i++) {
    const part = share(i), tint = tints[kinds[i]];
    for (let k = 0; k < 3; k++) rgb[3 * i + k] = Math.round((1 - part) * grey[i] + part * tint[k]);
  }
  return rgb;
}
