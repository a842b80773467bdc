// PixelExplorer: slices and the map of the same pixels side by side, the same in a notebook and in an exported page.
"use strict";
const GLOW = { light: [70, 135, 0], dark: [190, 255, 80], picture: [200, 255, 90] };

// Whatever a stage knows, unpacked once: vectors in whole numbers with their lengths, maps, colours
function openStage(raw, shared, grid) {
  const vectors = unpack(raw.vectors), dims = raw.dims, length = new Float32Array(vectors.length / dims);
  for (let q = 0; q < length.length; q++) {
    let sum = 0;
    for (let d = 0; d < dims; d++) sum += vectors[q * dims + d] ** 2;
    length[q] = Math.sqrt(sum) || 1;
  }
  const colours = {};
  for (const [name, colour] of Object.entries({ ...shared, ...raw.colours })) colours[name] = { ...colour, values: unpack(colour.values), tints: colour.palette.map(bytesOf) };
  return { ...raw, vectors, length, colours, few: new Float32Array(length.length), thin: thinned(grid, raw.step), maps: Object.fromEntries(Object.entries(raw.maps).map(([method, map]) => [method, openMap(map)])) };
}
function openMap(map) {
  const places = unpack(map.places);
  return { ...map, ...unpackPlaces(places, places.length / 2) };
}

// For every pixel, which pixel of the thinned rows and columns stands for it
function thinned(grid, step) {
  const wide = Math.ceil(grid.width / step), high = Math.ceil(grid.height / step);
  return Int32Array.from({ length: grid.total }, (_, p) => {
    const s = Math.floor(p / grid.area), r = Math.floor((p % grid.area) / grid.width), c = p % grid.width;
    return (s * high + Math.floor(r / step)) * wide + Math.floor(c / step);
  });
}

// exp((cosine - 1) / temperature) of one pixel and every other, into `weights`: what the loss weighs
function likeness(stage, anchor, temperature, weights) {
  const { vectors, length, dims, few, thin } = stage, a = thin[anchor], base = a * dims;
  for (let q = 0, at = 0; q < length.length; q++) {
    let dot = 0;
    for (let d = 0; d < dims; d++, at++) dot += vectors[at] * vectors[base + d];
    few[q] = Math.min(1, Math.exp((dot / (length[q] * length[a]) - 1) / temperature));
  }
  for (let p = 0; p < weights.length; p++) weights[p] = few[thin[p]];
}

// The largest structure of the first slice, as a circle that the reader can draw: {row, column, high, wide} in pixels of the picture
function largestStructure(grid, labels) {
  if (!labels) return null;
  const found = new Map();
  for (let p = 0; p < grid.area; p++) if (labels[p]) {
    const r = grid.row(p), c = grid.column(p), box = found.get(labels[p]) || { top: r, low: r, left: c, right: c, count: 0 };
    found.set(labels[p], { top: Math.min(box.top, r), low: Math.max(box.low, r), left: Math.min(box.left, c), right: Math.max(box.right, c), count: box.count + 1 });
  }
  const box = [...found.values()].sort((a, b) => b.count - a.count)[0];
  if (!box) return null;
  const round = (size) => size * 1.25 + 3;
  return { row: (box.top + box.low + 1) / 2, column: (box.left + box.right + 1) / 2, high: round(box.low - box.top + 1), wide: round(box.right - box.left + 1) };
}

function selectionWords(chosen, sample, labels, names) {
  if (!chosen) return "Nothing is selected: draw a line round some pixels, on the slices or on the map.";
  let text = `${inWords(chosen.length)} of ${inWords(sample.length)} shown pixels are lit`;
  if (labels && chosen.length) {
    const counts = names.map(() => 0);
    for (const i of chosen) counts[labels[sample[i]]]++;
    const parts = counts.map((n, k) => [n, names[k]]).filter(([n]) => n).sort((a, b) => b[0] - a[0]);
    text += ": " + parts.map(([n, name]) => `${inWords(n)} ${name} (${percent(n / chosen.length)})`).join(", ");
  }
  return text + ".";
}

// `off`: how far the share of attention may be off, as the page's vectors are short
function anchorWords(grid, anchor, weights, temperature, labels, names, off) {
  if (anchor === null) return "Point at a pixel: what the network calls like it lights up.";
  const s = Math.floor(anchor / grid.area), r = Math.floor((anchor % grid.area) / grid.width), c = anchor % grid.width;
  const text = `Slice ${s + 1}, row ${r}, column ${c}`;
  let same = 0, all = 0, alike = 0, near = -1;
  for (let p = 0; p < grid.total; p++) {
    near += weights[p] > 0.5;
    if (p !== anchor) all += weights[p];
    if (labels && labels[p] === labels[anchor]) { alike++; if (p !== anchor) same += weights[p]; }
  }
  const alone = `${inWords(Math.max(near, 0))} pixels have a likeness above one half at temperature ${temperature}.`;
  if (!labels) return `${text}. ${alone}`;
  const own = names[labels[anchor]], never = labels[anchor] === 0, here = `${text}, ${own}${never ? ", which is never an anchor in the loss" : ""}.`;
  const falls = `of ${never ? "all likeness" : "the loss's attention"} falls on ${own}`;
  if (off > 0.05) return `${here} ${alone} The vectors kept here are too coarse to tell, at this temperature, how much ${falls}.`;
  return `${here} At temperature ${temperature}, ${off > 0.01 ? "about " : ""}${percent(same / (all || 1))} ${falls}; spread evenly it would be ${percent((alike - 1) / (grid.total - 1))}.`;
}

// Numbers beside the map: in sight, each beside its control; how to read them on demand
function trustTable() {
  const shown = make("dl", { class: "numbers" }), rows = make("tbody");
  const head = make("tr", {}, ...["in the full space", "here", "control", "reads"].map((text) => make("th", { scope: "col", text })));
  const fold = make("details", {}, make("summary", { text: "How to read these numbers, and what is shown" }), make("table", {}, make("thead", {}, head), rows));
  const digits = (v) => (v === null ? "–" : v.toFixed(2));
  const draw = (numbers) => {
    if (!numbers) return shown.replaceChildren(make("div", {}, make("dt", { text: "How far to trust this map" }), make("dd", { text: "is being measured …" })));
    shown.replaceChildren(...numbers.map((n) => make("div", { title: n.reads }, make("dt", { text: n.name }), make("dd", {}, make("b", { text: digits(n.value) }), make("small", { text: n.control === null ? "" : ` control ${digits(n.control)}` })))));
    rows.replaceChildren(...numbers.map((n) => make("tr", {}, make("th", { scope: "row", text: n.name }), ...[digits(n.value), digits(n.control), n.reads].map((text) => make("td", { text })))));
  };
  return { shown, fold, draw };
}

function explorer(root, data, host) {
  const grid = mosaic(data.shape, data.across, data.gap), sample = unpack(data.sample), grey = unpack(data.grey), labels = data.labels ? unpack(data.labels) : null;
  const stages = Object.fromEntries(Object.entries(data.stages).map(([name, raw]) => [name, openStage(raw, data.shared, grid)]));
  const names = Object.keys(stages), count = sample.length;
  const shownAt = new Int32Array(grid.total).fill(-1);
  sample.forEach((p, i) => { shownAt[p] = i; });
  const weights = new Float32Array(grid.total), ramp = data.ramp.map(bytesOf);
  const now = { stage: names.includes(data.start.stage) ? data.start.stage : names.at(-1), method: data.start.method, colour: Object.keys(stages[names[0]].colours)[0],
    temperature: data.start.temperature, anchor: null, chosen: null };
  let pinned = false, pointing = false, overlay = true, staged = false, pointed = false, ended = false, quiet = false, progress = "";

  const stage = () => stages[now.stage], map = () => stage().maps[now.method] || stage().maps.PCA || Object.values(stage().maps)[0];
  const colour = () => stage().colours[now.colour], temperature = () => data.temperatures[now.temperature];
  const aimed = () => now.anchor !== null && (pointing || pinned), glowing = () => overlay && aimed();
  const shade = (v) => { const t = (v / 255) * (ramp.length - 1), k = Math.min(Math.floor(t), ramp.length - 2); return [0, 1, 2].map((c) => ramp[k][c] + (t - k) * (ramp[k + 1][c] - ramp[k][c])); };
  const shades = Array.from({ length: 256 }, (_, v) => shade(v));

  // ---- what the points and the slices wear
  const rgb = new Uint8Array(3 * count), alpha = new Float32Array(count), symbolOf = new Uint16Array(count);
  const place = { x: Float32Array.from(map().x), y: Float32Array.from(map().y) };
  const lit = new Uint8Array(count), order = new Int32Array(count);
  const dark = () => { const found = getComputedStyle(root).color.match(/[\d.]+/g).map(Number); return found[0] + found[1] + found[2] > 380; };
  const symbols = () => (colour().names.length ? colour().symbols : ["circle"]);

  function dressPoints() {
    const glow = glowing(), { values, names: kinds, tints } = colour(), bright = glow && dark() ? GLOW.dark : GLOW.light, ground = [138, 138, 138];
    let low = 0, high = count;
    for (let i = 0; i < count; i++) {
      const p = sample[i], w = weights[p], on = !now.chosen || lit[i];
      const tint = glow ? null : kinds.length ? tints[values[p]] : shades[values[p]];
      for (let c = 0; c < 3; c++) rgb[3 * i + c] = glow ? ground[c] + w * (bright[c] - ground[c]) : tint[c];
      alpha[i] = glow ? (0.1 + 0.9 * w) * (on ? 1 : 0.5) : now.chosen ? (lit[i] ? 1 : 0.07) : 0.75;
      symbolOf[i] = kinds.length ? values[p] : 0;
      if (glow ? w < 0.3 : now.chosen ? !lit[i] : kinds.length && values[p] === 0) order[low++] = i; else order[--high] = i;
    }
  }

  const cells = cellPainter(grid.rows, grid.columns), path = labels && new Set(labels).size > 1 ? outlinePath(grid, labels) : null;
  function dressSlices() {
    const glow = glowing(), { values, names: kinds, tints } = colour(), bytes = cells.bytes, classes = ["label", "prediction"].includes(now.colour);
    for (let p = 0; p < grid.total; p++) {
      const i = shownAt[p], at = 4 * grid.where[p], plain = classes && values[p] === 0;
      let share = plain ? 0 : i >= 0 ? 0.6 : 0.3, tint = kinds.length ? tints[values[p]] : shades[values[p]];
      if (glow) { share = 0.92 * weights[p]; tint = GLOW.picture; } else if (now.chosen) share = i >= 0 && lit[i] ? 0.85 : 0;
      for (let c = 0; c < 3; c++) bytes[at + c] = (1 - share) * grey[p] + share * tint[c];
      bytes[at + 3] = 255;
    }
    cells.write();
  }

  // ---- the two pictures
  const tallest = () => between(0.43 * screenHeight(), 230, 440);
  let line = null, over = null;
  const circle = make("div", { class: "circle-this", "aria-hidden": "true" }, make("span", { text: "Circle this" })), goal = largestStructure(grid, labels);
  const tall = (wide) => Math.min(tallest(), (wide * grid.rows) / grid.columns);
  const slices = board("slices", tall, (pen, wide, high) => {
    cells.draw(pen, wide, high);
    const { side, left, top } = cells.frame(wide, high);
    if (path) {
      pen.save();
      pen.translate(left, top);
      pen.scale(side, side);
      pen.lineWidth = 1.3 / side;
      pen.strokeStyle = "rgba(255,255,255,.75)";
      pen.stroke(path);
      pen.restore();
    }
    if (aimed()) drawRing(pen, left + (grid.column(now.anchor) + 0.5) * side, top + (grid.row(now.anchor) + 0.5) * side);
    if (over === slices) drawLine(pen, line, "#ffffff");
    circle.hidden = ended || !goal;
    if (goal) Object.assign(circle.style, { left: `${left + (goal.column - goal.wide / 2) * side}px`, top: `${top + (goal.row - goal.high / 2) * side}px`, width: `${goal.wide * side}px`, height: `${goal.high * side}px` });
  }, (key, shift) => keys(key, shift, true));
  slices.place.append(circle);

  const painters = new Map();
  const painter = () => { const key = symbols().join(); if (!painters.has(key)) painters.set(key, dotPainter(symbols())); return painters.get(key); };
  const dots = board("map", (wide) => Math.min(wide, Math.max(280, tall(wide))), (pen, wide, high, scale) => {
    painter()(pen, wide, high, scale, { ...place, order, symbolOf, rgb, alpha });
    const frame = mapFrame(wide, high);
    if (aimed()) {
      const own = shownAt[now.anchor], best = own >= 0 ? own : sample.reduce((found, p, i) => (weights[p] > weights[sample[found]] ? i : found), 0);
      drawRing(pen, frame.x(place.x[best]), frame.y(place.y[best]), own >= 0 ? 8 : 5);
    }
    if (over === dots) drawLine(pen, line, getComputedStyle(root).color);
  }, (key, shift) => keys(key, shift, false));

  // ---- words
  const guide = make("p", { class: "guide" }), said = make("p", { class: "said", "aria-live": "polite" }), told = make("p", { class: "said" });
  const legend = make("ul", { class: "legend", id: host.id("legend") }), meaning = make("p", { class: "note" }), noted = make("p", { class: "note" }), trust = trustTable();
  said.id = host.id("said-selection");
  told.id = host.id("said-anchor");
  trust.fold.append(noted, meaning);
  function hint() {
    const first = stages.initial ? stages.initial.title : stages[names[0]].title;
    if (!ended) return goal ? "Start here: press and draw along the dashed circle. The same pixels light up on the map." : "Start here: press and draw round something. The same pixels light up on the other side.";
    if (!staged && names.length > 1) return `Is it one island on the map? Now press ${first}, and watch these pixels.`;
    if (!pointed) return "Point at a pixel: what the network calls like it lights up. A click keeps it.";
    return "Draw round an island of the map: where in the slices does it lie? Press a name below to light up one class.";
  }
  function write() {
    guide.textContent = hint();
    said.textContent = selectionWords(now.chosen, sample, labels, data.names);
    told.textContent = anchorWords(grid, aimed() ? now.anchor : null, weights, temperature(), labels, data.names, stage().off[now.temperature]);
    root.classList.toggle("press-first", ended && !staged && names.length > 1);
    slices.canvas.setAttribute("aria-label", `Slices in grey with the shown pixels in colour. ${said.textContent} ${told.textContent} Arrow keys move the anchor, Enter keeps it, Escape clears.`);
    dots.canvas.setAttribute("aria-label", `Map of the same pixels, alike ones close together. ${said.textContent} Arrow keys go from pixel to pixel, Enter keeps one, Escape clears.`);
  }
  function writeMap() {
    const shown = stage().maps[now.method] ? "" : `PCA is shown until the ${now.method} is ready. `;
    trust.draw(map().numbers);
    noted.textContent = `${data.sentence} ${map().note}`;
    waiting.textContent = progress || shown;
    meaning.textContent = `Likeness is exp((cosine − 1) / temperature), reckoned from ${stage().dims} of the embedding's dimensions in one byte each (they keep ${percent(stage().kept)}); cosines are right to ${stage().error.toFixed(3)} in 95 of 100 cases.`
      + (stage().step > 1 ? ` Only every ${stage().step}-th row and column has an embedding here; its neighbours share it.` : "") + " Every map is turned to lie as near the last stage's as it can.";
  }
  function writeLegend() {
    const { names: kinds, palette, symbols: marks, says, low, high } = colour();
    const entry = (name, k) => {
      const button = make("button", { type: "button", "aria-pressed": "false" }, markerImage(marks[k], palette[k]), name);
      button.addEventListener("click", () => host.timed("light", () => light(k)));
      return make("li", {}, button);
    };
    const bar = make("i", { class: "scale" });
    bar.style.background = `linear-gradient(90deg, ${data.ramp.join()})`;
    const [from, to] = [low, high].map((end) => String(Number(end.toPrecision(3))));
    const items = kinds.length ? kinds.map(entry) : [make("li", {}, from, bar, to)];
    const glow = make("i", { class: "scale glow" });
    legend.replaceChildren(make("li", { class: "note", text: `${now.colour}: ${says}` }), ...items, make("li", { class: "like" }, "likeness 0", glow, "1"));
  }
  function pressed() {
    const values = colour().values, all = colour().names.map(() => 0), on = colour().names.map(() => 0);
    if (now.chosen) for (let i = 0; i < count; i++) { all[values[sample[i]]]++; on[values[sample[i]]] += lit[i]; }
    const only = now.chosen ? on.findIndex((n, k) => n && n === all[k] && n === now.chosen.length) : -1;
    legend.querySelectorAll("button").forEach((b, k) => b.setAttribute("aria-pressed", String(k === only)));
  }

  // ---- what happens
  function compare() { if (now.anchor !== null) likeness(stage(), now.anchor, temperature(), weights); }
  function draw() { slices.draw(); dots.draw(); }
  function redraw() { dressPoints(); dressSlices(); draw(); }
  function report() { if (!quiet) host.changed(state()); }
  function aim(pixel) {
    if (pixel < 0 || pixel === now.anchor) { if (pixel >= 0 && !pointing) { pointing = true; redraw(); write(); } return; }
    now.anchor = pixel;
    pointing = pointed = true;
    compare();
    redraw();
    write();
    report();
  }
  function select(chosen) {
    now.chosen = chosen && chosen.length ? chosen : null;
    lit.fill(0);
    for (const i of now.chosen || []) lit[i] = 1;
    if (now.chosen) ended = true;
    redraw();
    write();
    pressed();
    report();
  }
  function light(k) {
    const values = colour().values, wanted = [];
    for (let i = 0; i < count; i++) if (values[sample[i]] === k) wanted.push(i);
    select(now.chosen && now.chosen.length === wanted.length && wanted.every((i) => lit[i]) ? null : wanted);
  }
  function clear() { pinned = pointing = false; select(null); }

  // The points swim to where the new map has them; what is lit stays lit
  let swimming = 0;
  function swim() {
    const goalX = map().x, goalY = map().y, fromX = Float32Array.from(place.x), fromY = Float32Array.from(place.y), start = performance.now(), lasts = calm() ? 0 : 900;
    cancelAnimationFrame(swimming);
    const step = (time) => {
      const t = lasts ? between((time - start) / lasts, 0, 1) : 1, s = t * t * (3 - 2 * t);
      for (let i = 0; i < count; i++) { place.x[i] = fromX[i] + s * (goalX[i] - fromX[i]); place.y[i] = fromY[i] + s * (goalY[i] - fromY[i]); }
      dots.draw();
      if (t < 1) swimming = requestAnimationFrame(step);
    };
    step(start);
  }
  function changed() {
    compare();
    dressPoints();
    dressSlices();
    slices.draw();
    swim();
    write();
    writeMap();
    report();
    if (host.ask && (!stage().maps[now.method] || !map().numbers)) host.ask({ stage: now.stage, method: now.method, count });
  }

  const nearest = (x, y) => {
    const frame = mapFrame(...dots.size());
    let best = -1, least = 14 * 14;
    for (let i = 0; i < count; i++) {
      const far = (frame.x(place.x[i]) - x) ** 2 + (frame.y(place.y[i]) - y) ** 2;
      if (far < least) { least = far; best = i; }
    }
    return best < 0 ? -1 : sample[best];
  };
  const underneath = (x, y) => { const { side, left, top } = cells.frame(...slices.size()); return grid.at(Math.floor((y - top) / side), Math.floor((x - left) / side)); };
  const touch = (found, under, centre) => pointer(found, {
    move: (x, y) => { if (!pinned) { const pixel = under(x, y); if (pixel >= 0) host.timed("hover", () => aim(pixel)); } },
    leave: () => { if (!pinned && pointing) { pointing = false; redraw(); write(); } },
    line: (drawn) => { line = drawn; over = drawn ? found : null; if (drawn && pointing && !pinned) { pointing = false; redraw(); } else found.draw(); },
    shape: (polygon) => host.timed("lasso", () => { const chosen = []; for (let i = 0; i < count; i++) if (inside(polygon, ...centre(i))) chosen.push(i); select(chosen); }),
    click: (x, y) => { const pixel = under(x, y); if (pixel < 0 || (pinned && pixel === now.anchor)) { pinned = false; redraw(); write(); } else { pinned = false; aim(pixel); pinned = true; redraw(); } },
  });
  touch(slices, underneath, (i) => { const { side, left, top } = cells.frame(...slices.size()); return [left + (grid.column(sample[i]) + 0.5) * side, top + (grid.row(sample[i]) + 0.5) * side]; });
  touch(dots, nearest, (i) => { const frame = mapFrame(...dots.size()); return [frame.x(place.x[i]), frame.y(place.y[i])]; });

  const middle = () => { const firsts = labels ? sample.filter((p) => labels[p] > 0) : sample; return (firsts.length ? firsts : sample)[Math.floor((firsts.length || count) / 2)]; };
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  function keys(key, shift, onSlices) {
    if (key === "Escape") clear();
    else if (key === "Enter" || key === " ") { pinned = !pinned && now.anchor !== null; redraw(); write(); } else if (steps[key]) {
      const [dr, dc] = steps[key], far = shift ? 8 : 1;
      if (now.anchor === null) aim(middle());
      else if (onSlices) { // over the gap between two slices in one step
        let r = grid.row(now.anchor) + far * dr, c = grid.column(now.anchor) + far * dc;
        for (let k = 0; k < data.gap && grid.at(r, c) < 0; k++) { r += dr; c += dc; }
        aim(grid.at(r, c));
      } else aim(sample[between(Math.max(shownAt[now.anchor], 0) + far * (dr + dc), 0, count - 1)]);
    } else return false;
    return true;
  }

  // ---- controls
  const waiting = make("p", { class: "note waiting", role: "status" });
  const stageButtons = segments(host, "stage", "Stage", names.map((name) => [name, stages[name].title]), now.stage, (name) => { now.stage = name; staged = ended; changed(); writeLegend(); pressed(); });
  const methodButtons = segments(host, "method", "Map", data.methods.map((name) => [name, name]), now.method, (name) => { now.method = name; changed(); });
  const colourMenu = menu(host, "colour", "Colour by", Object.keys(stage().colours).map((name) => [name, name]), now.colour, (name) => { now.colour = name; redraw(); writeLegend(); pressed(); report(); });
  const heat = slider(host, "heat", "Temperature", data.temperatures, now.temperature, (k) => { now.temperature = k; pointing = pointing || now.anchor !== null; compare(); redraw(); write(); report(); });
  const pick = (name, label, heard) => { const b = make("button", { type: "button", id: host.id(name), text: label }); b.addEventListener("click", () => host.timed(name, heard)); return b; };
  const like = pick("overlay", "Likeness", () => { overlay = !overlay; like.setAttribute("aria-pressed", String(overlay)); redraw(); });
  like.setAttribute("aria-pressed", "true");
  like.title = "Let the pixels that are like the one you point at light up";
  const more = data.counts.length > 1 && host.ask ? [menu(host, "count", "Shown pixels", data.counts.map((n) => [String(n), inWords(n)]), String(count), (n) => host.ask({ ...state(), anchor: aimed() ? now.anchor : null, chosen: null, count: Number(n) })).element] : [];
  root.className = "semicon-dots";
  root.append(
    guide,
    make("div", { class: "bar", role: "group", "aria-label": "Controls" }, ...(names.length > 1 ? [stageButtons.element] : []), ...(data.methods.length > 1 ? [methodButtons.element] : []), colourMenu.element, heat.element, ...more, make("div", { class: "segments" }, like, pick("clear", "Clear", clear))),
    make("div", { class: "pair" }, slices.place, dots.place), legend, said, told, trust.shown, waiting, trust.fold,
  );

  const state = () => ({ ...now, chosen: now.chosen && Array.from(now.chosen) });
  function put(wanted) {
    for (const [key, known] of [["stage", wanted.stage in stages], ["method", data.methods.includes(wanted.method)], ["colour", wanted.colour in stage().colours]]) if (wanted[key] && known) now[key] = wanted[key];
    if (Number.isInteger(wanted.temperature)) now.temperature = wanted.temperature;
    if ("anchor" in wanted && wanted.anchor !== now.anchor) { now.anchor = wanted.anchor; pinned = wanted.anchor !== null; }
    stageButtons.put(now.stage);
    methodButtons.put(now.method);
    colourMenu.put(now.colour);
    heat.put(now.temperature);
    quiet = true; // what Python or another view says is not said back to them
    select(wanted.chosen);
    changed();
    quiet = false;
    writeLegend();
    pressed();
  }
  dressPoints();
  dressSlices();
  writeLegend();
  write();
  writeMap();
  if (Object.keys(data.state || {}).length) put(data.state);
  else if (host.ask && !map().numbers) host.ask({ stage: now.stage, method: now.method, count });
  const detail = () => ({ weights, x: place.x, y: place.y, lit: now.chosen, glowing: glowing(), slices: cells.frame(...slices.size()), map: mapFrame(...dots.size()), size: dots.size() });
  root.semicon = { state, detail };
  return {
    state, put, detail, repaint: redraw,
    news(found) { // a map that the kernel has made
      if (found.progress !== undefined) progress = found.progress;
      if (found.map) {
        stages[found.stage].maps[found.method] = openMap(found.map);
        if (found.stage === now.stage && found.method === now.method) swim();
      }
      writeMap();
    },
    stop() { cancelAnimationFrame(swimming); slices.stop(); dots.stop(); },
  };
}
