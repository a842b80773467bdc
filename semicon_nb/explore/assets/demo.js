// The demo's page: paints slices, views, losses, maps and scores from the data beside it. Asks nobody for anything.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("demo-data").textContent);
  const $ = (id) => document.getElementById(id);
  const kinds = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array };
  const SVG = "http://www.w3.org/2000/svg";

  // {dtype, shape, data (base64)} -> typed array with its shape
  function array(pack) {
    const bytes = Uint8Array.from(atob(pack.data), (letter) => letter.charCodeAt(0));
    return Object.assign(new kinds[pack.dtype](bytes.buffer), { shape: pack.shape });
  }

  function make(parent, tag, attributes = {}, text = "") {
    const svg = ["svg", "path", "circle", "line", "text", "rect", "title"].includes(tag);
    const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text) element.textContent = text;
    parent.append(element);
    return element;
  }

  // Each part of the page is drawn by itself: one that fails says so and leaves the others alone
  function part(draw) {
    try { draw(); } catch (error) {
      $("failure").hidden = false;
      $("failure").textContent = "A part of this page could not be drawn: " + error.message;
      console.error(error);
    }
  }

  // ---------------------------------------------------------------------------------------------- slices

  const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const colours = data.classes.map((entry) => rgb(entry.colour));
  const names = (labels) => data.classes.filter((entry, c) => c && labels.includes(c)).map((entry) => entry.name).join(" and ") || "no structure";

  // One slice [H, W] of grey levels, its labels tinted and outlined; each pixel is `scale` canvas pixels wide
  function paint(canvas, grey, labels, size, shown = true) {
    const scale = Math.max(2, Math.round(256 / size)), wide = size * scale;
    canvas.width = canvas.height = wide;
    const picture = new ImageData(wide, wide);
    const at = (r, c) => (r < 0 || c < 0 || r >= size || c >= size ? 0 : labels[r * size + c]);
    for (let y = 0; y < wide; y++) for (let x = 0; x < wide; x++) {
      const r = Math.floor(y / scale), c = Math.floor(x / scale), level = grey[r * size + c], label = shown ? at(r, c) : 0;
      let colour = [level, level, level];
      if (label) {
        const edge = (y % scale === 0 && at(r - 1, c) !== label) || (y % scale === scale - 1 && at(r + 1, c) !== label)
          || (x % scale === 0 && at(r, c - 1) !== label) || (x % scale === scale - 1 && at(r, c + 1) !== label);
        colour = colours[label % colours.length].map((value) => (edge ? value : 0.66 * level + 0.34 * value));
      }
      picture.data.set([...colour, 255], 4 * (y * wide + x));
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }

  // A figure of slice k of the stacks, with alternative text and a caption
  function slice(parent, images, labels, k, alt, caption) {
    const size = images.shape[1], cut = size * size;
    const figure = make(parent, "figure");
    const canvas = make(figure, "canvas", { role: "img", "aria-label": alt });
    const grey = images.subarray(k * cut, (k + 1) * cut), classes = labels.subarray(k * cut, (k + 1) * cut);
    const draw = (shown) => paint(canvas, grey, classes, size, shown);
    draw(true);
    if (caption) make(figure, "figcaption", {}, caption);
    return { figure, canvas, draw, classes };
  }

  part(() => {
    const images = array(data.scans.images), labels = array(data.scans.labels);
    const drawn = data.scans.names.map((name, k) => {
      const cut = data.size * data.size, inside = labels.subarray(k * cut, (k + 1) * cut);
      return slice($("scan-strip"), images, labels, k, `Slice of ${name}, outlined: ${names(inside)}`, name);
    });
    $("outlines").addEventListener("change", (event) => drawn.forEach((one) => one.draw(event.target.checked)));
  });

  // ---------------------------------------------------------------------------------------------- legends

  const shapes = {
    circle: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
    diamond: (x, y, r) => `M${x} ${y - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z`,
    square: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    "triangle-up": (x, y, r) => `M${x} ${y - 1.2 * r}l${1.2 * r} ${2.2 * r}h${-2.4 * r}z`,
    "triangle-down": (x, y, r) => `M${x} ${y + 1.2 * r}l${1.2 * r} ${-2.2 * r}h${-2.4 * r}z`,
    cross: (x, y, r) => `M${x - r / 2} ${y - r}h${r}v${r / 2}h${r / 2}v${r}h${-r / 2}v${r / 2}h${-r}v${-r / 2}h${-r / 2}v${-r}h${r / 2}z`,
    x: (x, y, r) => `M${x} ${y - r / 2}l${r / 2} ${-r / 2}l${r / 2} ${r / 2}l${-r / 2} ${r / 2}l${r / 2} ${r / 2}l${-r / 2} ${r / 2}l${-r / 2} ${-r / 2}l${-r / 2} ${r / 2}l${-r / 2} ${-r / 2}l${r / 2} ${-r / 2}l${-r / 2} ${-r / 2}l${r / 2} ${-r / 2}z`,
    star: (x, y, r) => `M${x} ${y - 1.3 * r}l${0.4 * r} ${0.9 * r}h${0.9 * r}l${-0.7 * r} ${0.7 * r}l${0.3 * r} ${r}l${-0.9 * r} ${-0.6 * r}l${-0.9 * r} ${0.6 * r}l${0.3 * r} ${-r}l${-0.7 * r} ${-0.7 * r}h${0.9 * r}z`,
  };
  const shape = (symbol) => shapes[symbol] || shapes.circle;

  part(() => {
    for (const list of document.querySelectorAll("[data-legend]")) {
      data.classes.forEach((entry, c) => {
        if (!c && list.closest("#scans, #segmentations")) return;
        const item = make(list, "li");
        const svg = make(item, "svg", { viewBox: "0 0 14 14", "aria-hidden": "true" });
        make(svg, "path", { d: shape(entry.symbol)(7, 7, 5), fill: entry.colour });
        item.append(entry.name);
      });
    }
  });

  // ---------------------------------------------------------------------------------------------- views

  part(() => {
    const images = array(data.views.images), labels = array(data.views.labels), where = array(data.views.where), size = data.size;
    const alts = ["First view of a slice; use the arrow keys to follow a pixel", "Second view of the same slice"];
    const shown = [0, 1].map((k) => slice($("pair"), images, labels, k, alts[k], `View ${k}`));
    const gap = 100 * 8 / 46, unit = 100 / size;  // the column gap is 8 % of the width, each view 46 %
    const lines = make($("pair"), "svg", { viewBox: `0 0 ${200 + gap} 100`, preserveAspectRatio: "xMinYMin meet", "aria-hidden": "true" });
    lines.style.height = "auto";
    const left = (r, c) => [(c + 0.5) * unit, (r + 0.5) * unit];
    const right = (r, c) => [100 + gap + (c + 0.5) * unit, (r + 0.5) * unit];
    const there = (r, c) => { const at = 2 * (r * size + c); return where[at] < -1 ? null : [where[at], where[at + 1]]; };
    const hues = ["#a78bfa", "#d6454f", "#c9bf3a", "#ffffff"];  // none of a structure
    const stops = [0.16, 0.5, 0.84].flatMap((r) => [0.12, 0.38, 0.62, 0.88].map((c) => [Math.round(r * (size - 1)), Math.round(c * (size - 1))]));
    stops.forEach(([r, c], i) => {
      const [x, y] = left(r, c), to = there(r, c), fill = hues[(i + Math.floor(i / 4)) % 4];
      if (!to) { make(lines, "circle", { cx: x, cy: y, r: 1.8, class: "gone", style: `stroke:${fill}` }); return; }
      const [u, v] = right(...to);
      make(lines, "line", { x1: x, y1: y, x2: u, y2: v, stroke: fill });
      for (const [px, py] of [[x, y], [u, v]]) make(lines, "circle", { cx: px, cy: py, r: 1.8, fill });
    });
    const marks = [0, 1].map(() => make(lines, "circle", { r: 3, class: "cross", visibility: "hidden" }));
    let at = [Math.round(size / 2), Math.round(size / 2)];
    function follow(r, c) {
      at = [Math.min(size - 1, Math.max(0, r)), Math.min(size - 1, Math.max(0, c))];
      const to = there(...at), spots = [left(...at), to && right(...to)];
      marks.forEach((mark, k) => {
        mark.setAttribute("visibility", spots[k] ? "visible" : "hidden");
        if (spots[k]) { mark.setAttribute("cx", spots[k][0]); mark.setAttribute("cy", spots[k][1]); }
      });
      const place = `Row ${at[0]}, column ${at[1]}`;
      $("pair-said").textContent = to ? `${place} of view 0 lies at row ${to[0].toFixed(1)}, column ${to[1].toFixed(1)} of view 1.` : `${place} of view 0 has left view 1.`;
    }
    const canvas = shown[0].canvas;
    canvas.tabIndex = 0;
    const pointed = (event) => {
      const box = canvas.getBoundingClientRect();
      follow(Math.floor((event.clientY - box.top) / box.height * size), Math.floor((event.clientX - box.left) / box.width * size));
    };
    canvas.addEventListener("pointermove", pointed);
    canvas.addEventListener("pointerdown", pointed);
    canvas.addEventListener("focus", () => follow(...at));
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      follow(at[0] + step[0] * (event.shiftKey ? 5 : 1), at[1] + step[1] * (event.shiftKey ? 5 : 1));
    });
  });

  // ---------------------------------------------------------------------------------------------- stages

  const W = 300, H = 170, LEFT = 38, RIGHT = 12, TOP = 12, BOTTOM = 30;
  const nice = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2));

  function smooth(values) {
    const window = Math.max(1, Math.round(values.length / 25));
    return Array.from(values, (value, i) => {
      const near = values.slice(Math.max(0, i - window), i + window + 1);
      return near.reduce((sum, one) => sum + one, 0) / near.length;
    });
  }

  function lossPlot(parent, stage) {
    const loss = array(stage.loss), line = smooth(loss), low = Math.min(...line), high = Math.max(...line);
    const range = Math.max(high - low, 1e-6), x = (i) => LEFT + (W - LEFT - RIGHT) * (loss.length > 1 ? i / (loss.length - 1) : 0.5);
    const y = (value) => TOP + (H - TOP - BOTTOM) * Math.min(1, Math.max(0, 1 - (value - low + 0.08 * range) / (1.16 * range)));
    const dice = stage.dice.length ? `; validation Dice ends at ${stage.dice.at(-1)[1].toFixed(3)}` : "";
    const alt = `Loss of the ${stage.name} stage over ${loss.length} steps: from ${nice(line[0])} to ${nice(line.at(-1))}${dice}`;
    const svg = make(parent, "svg", { viewBox: `0 0 ${W} ${H}`, class: "plot", role: "img", "aria-label": alt });
    for (const value of [low, (low + high) / 2, high]) {
      make(svg, "line", { x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value), class: "rule" });
      make(svg, "text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, nice(value));
    }
    make(svg, "text", { x: LEFT - 6, y: 8, "text-anchor": "end" }, "loss");
    make(svg, "text", { x: LEFT, y: H - 8 }, "step 1");
    make(svg, "text", { x: W - RIGHT, y: H - 8, "text-anchor": "end" }, String(loss.length));
    const path = (values) => Array.from(values, (value, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    make(svg, "path", { d: path(loss), class: "raw" });
    make(svg, "path", { d: path(line), class: "smooth" });
    const up = (value) => TOP + (H - TOP - BOTTOM) * (1 - value);
    const spots = stage.dice.map(([step, value]) => [x(step - 1), up(value), value]);
    if (spots.length) make(svg, "path", { d: spots.map(([u, v], i) => `${i ? "L" : "M"}${u.toFixed(1)} ${v.toFixed(1)}`).join(""), class: "dice" });
    spots.forEach(([u, v, value], i) => {
      make(make(svg, "circle", { cx: u, cy: v, r: 3, class: "dice-dot" }), "title", {}, `validation Dice ${value.toFixed(3)}`);
      if (i === spots.length - 1) make(svg, "text", { x: u, y: v - 7, "text-anchor": "end" }, `Dice ${value.toFixed(2)}`);
    });
  }

  part(() => data.stages.forEach((stage, i) => {
    const card = make($("stage-cards"), "li");
    make(card, "p", { class: "stage" }, `Stage ${i + 1} of 3: ${stage.name}`);
    make(card, "h3", {}, stage.title);
    make(card, "p", {}, stage.text);
    lossPlot(card, stage);
    const facts = make(card, "p", { class: "facts" });
    const dashes = stage.dice.length ? ["dashed: validation Dice, 0 to 1"] : [];
    for (const fact of [stage.seen, stage.reused ? "weights used again from an earlier run" : `${stage.seconds} s`, ...dashes]) make(facts, "span", {}, fact);
  }));

  // ---------------------------------------------------------------------------------------------- embeddings

  part(() => {
    const shown = data.embeddings, classes = array(shown.classes), index = array(shown.index), size = data.size, side = 200, pad = 12;
    const image = array(shown.image), flat = array(shown.labels);
    const maps = [];
    shown.maps.forEach((found) => {
      const places = array(found.places), figure = make($("maps"), "figure");
      const alt = `${found.title}: map of ${classes.length} pixels; ${Math.round(100 * found.pure)} % of nearest neighbours are of the same class`;
      const svg = make(figure, "svg", { viewBox: `0 0 ${side} ${side}`, class: "map", role: "img", "aria-label": alt });
      const spots = Array.from(classes, (c, i) => [pad + (side - 2 * pad) * places[2 * i], side - pad - (side - 2 * pad) * places[2 * i + 1]]);
      data.classes.forEach((entry, c) => {
        const d = spots.filter((spot, i) => classes[i] === c).map(([x, y]) => shape(entry.symbol)(+x.toFixed(1), +y.toFixed(1), 1.9)).join("");
        if (d) make(svg, "path", { d, fill: entry.colour });
      });
      const mark = make(svg, "circle", { r: 5, class: "mark", visibility: "hidden" });
      const caption = make(figure, "figcaption");
      make(caption, "b", {}, found.title);
      caption.append(document.createElement("br"), `Neighbours alike: ${Math.round(100 * found.pure)} %`, document.createElement("br"), `Variance shown: ${Math.round(100 * found.kept)} %`);
      maps.push({ svg, spots, mark });
    });
    const figure = make($("maps"), "figure", { class: "where" });
    const frame = make(figure, "div", { class: "frame" });
    const canvas = make(frame, "canvas", { role: "img", "aria-label": "The test slice that the pixels are from, with its true labels" });
    paint(canvas, image, flat, size, true);
    const over = make(frame, "svg", { viewBox: `0 0 ${size} ${size}`, "aria-hidden": "true" });
    const here = make(over, "circle", { r: size / 24, class: "here", visibility: "hidden" });
    const caption = make(figure, "figcaption");
    make(caption, "b", {}, "The test slice");
    const said = make(caption, "span");
    said.before(document.createElement("br"));
    said.textContent = "Its pixels are the dots.";
    function light(i) {
      for (const map of maps) {
        map.mark.setAttribute("visibility", "visible");
        map.mark.setAttribute("cx", map.spots[i][0]);
        map.mark.setAttribute("cy", map.spots[i][1]);
      }
      const row = Math.floor(index[i] / size), column = index[i] % size;
      here.setAttribute("visibility", "visible");
      here.setAttribute("cx", column + 0.5);
      here.setAttribute("cy", row + 0.5);
      said.textContent = `Row ${row}, column ${column}: ${data.classes[classes[i]].name}.`;
    }
    for (const map of maps) map.svg.addEventListener("pointermove", (event) => {
      const box = map.svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * side, y = (event.clientY - box.top) / box.height * side;
      let best = 0, least = Infinity;
      map.spots.forEach(([u, v], i) => { const far = (u - x) ** 2 + (v - y) ** 2; if (far < least) { least = far; best = i; } });
      light(best);
    });
    $("maps-note").textContent = shown.note;
  });

  // ---------------------------------------------------------------------------------------------- segmentations

  part(() => {
    const shown = data.segmentations, images = array(shown.images), truth = array(shown.truth), blank = Object.assign(new Uint8Array(truth.length), { shape: truth.shape });
    const found = Object.entries(shown.found).map(([title, pack]) => [title, array(pack)]);
    for (const title of ["Scan", "Truth", ...found.map(([name]) => name[0].toUpperCase() + name.slice(1))]) make($("grid"), "div", { class: "head" }, title);
    shown.names.forEach((name, k) => {
      slice($("grid"), images, blank, k, `Slice of ${name}`, name);
      slice($("grid"), images, truth, k, `${name}, true outline`, "truth");
      for (const [title, labels] of found) {
        const score = shown.scores[title][k];
        const words = score === null ? "no structure" : `Dice ${score.toFixed(3)}`;
        slice($("grid"), images, labels, k, `${name}, ${title}: ${words}`, words);
      }
    });
  });

  // ---------------------------------------------------------------------------------------------- numbers

  part(() => {
    for (const row of document.querySelectorAll("#scores tbody tr")) if (!row.firstElementChild.textContent.startsWith(" ")) row.classList.add("main");
    const { scores, means } = data.repeats, titles = Object.keys(scores), count = scores[titles[0]].length;
    const wide = 460, tall = 250, left = 40, foot = 28, all = titles.flatMap((title) => scores[title]);
    const low = Math.max(0, Math.floor(10 * Math.min(...all) - 0.2) / 10), high = Math.min(1, Math.ceil(10 * Math.max(...all) + 0.2) / 10);
    const x = (k) => left + (wide - left) * (k + 0.5) / titles.length, y = (value) => tall - foot - (tall - foot - 10) * (value - low) / (high - low || 1);
    const said = titles.map((title) => `${title} ${means[title].toFixed(3)}`).join(", ");
    const svg = make($("repeats"), "svg", { viewBox: `0 0 ${wide} ${tall}`, class: "plot", role: "img", "aria-label": `Pooled Dice of ${count} repeat${count === 1 ? "" : "s"}, means: ${said}` });
    make(svg, "text", { x: 0, y: -6 }, "pooled Dice");
    for (let value = low; value < high + 1e-9; value += 0.1) {
      make(svg, "line", { x1: left, x2: wide, y1: y(value), y2: y(value), class: "rule" });
      make(svg, "text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(1));
    }
    for (let i = 0; i < count; i++) {
      const path = titles.map((title, k) => `${k ? "L" : "M"}${x(k).toFixed(1)} ${y(scores[title][i]).toFixed(1)}`).join("");
      make(make(svg, "path", { d: path, class: "repeat" }), "title", {}, `repeat ${i + 1}: ${titles.map((title) => scores[title][i].toFixed(3)).join(", ")}`);
    }
    titles.forEach((title, k) => {
      const kind = ["scratch", "three", "all"][k];
      for (const value of scores[title]) make(svg, "circle", { cx: x(k), cy: y(value), r: 4, class: kind });
      make(svg, "line", { x1: x(k) - 22, x2: x(k) + 22, y1: y(means[title]), y2: y(means[title]), class: `mean ${kind}` });
      make(svg, "text", { x: x(k), y: tall - 8, "text-anchor": "middle" }, title);
    });
  });

  // Commands break between words only, so that an option never loses its dashes
  part(() => {
    for (const code of document.querySelectorAll(".todo code")) {
      const words = code.textContent.split(/(\s+)/);
      code.textContent = "";
      for (const word of words) {
        if (/^\s*$/.test(word)) code.append(word); else make(code, "span", { class: "word" }, word);
      }
    }
  });

  // ---------------------------------------------------------------------------------------------- light and dark

  const dark = () => { const set = document.documentElement.dataset.theme; return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches; };
  const show = () => { $("theme").setAttribute("aria-pressed", String(dark())); $("theme").textContent = dark() ? "Light" : "Dark"; $("theme").setAttribute("aria-label", dark() ? "Use light colours" : "Use dark colours"); };
  $("theme").addEventListener("click", () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; show(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
})();
