// The playground: paint a slice, choose which pixels meet, and watch single pixels learn in a worker of this page.
"use strict";

(() => {
  const root = document.getElementById("play"), { size, pictures, palette, pull, push } = semicon.data, many = size * size;
  const host = { id: (name) => name, timed: (name, work) => semicon.timed(name, work) };
  const room = pixelLoss(), calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  const STRATEGIES = [["every", "every pixel"], ["stride", "stride"], ["block", "blocks"], ["random", "random, balanced"]];
  const SIZES = { every: [1], stride: [2, 3, 4, 6, 8], block: [4, 8, 16, 32], random: [256, 512, 1024, 2048] };
  const TEMPERATURES = [0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1];
  const NAMES = ["unpainted", "orange", "blue", "green"];
  const usual = { picture: 0, strategy: "random", size: 1024, temperature: 0.2, dims: 3, background: true, seed: 0 };
  let state = { ...usual }, image = null, labels = new Uint8Array(many), erased = new Uint8Array(many), preset = null, brush = 1, wide = 3, cursor = [size >> 1, size >> 1], painting = null;
  let playing = false, worker = null, news = null, curve = [], marks = [], fresh = "", spin = [0.5, -0.35], dragging = null, shown = null, task = 0, keyboard = false;

  // ------------------------------------------------------------------------------------------------ the address
  // Runs of equal labels: a count in base 36, then A to D for the label
  const packed = (values) => {
    let text = "", run = 1;
    for (let i = 1; i <= many; i++) if (i < many && values[i] === values[i - 1]) run++; else { text += run.toString(36) + "ABCD"[values[i - 1]]; run = 1; }
    return text;
  };
  function unpacked(text) {
    const found = new Uint8Array(many);
    let at = 0;
    for (const [, count, letter] of text.matchAll(/([0-9a-z]+)([A-D])/g)) { const end = at + parseInt(count, 36); if (end > many) return null; found.fill("ABCD".indexOf(letter), at, end); at = end; }
    return at === many ? found : null;
  }
  const painted = () => !preset || labels.some((label, i) => label !== preset[i]);
  function written() {
    const words = new URLSearchParams(Object.entries({ ...state, background: Number(state.background) }));
    if (painted()) words.set("paint", packed(labels));
    return words.toString();
  }
  function remember() {
    const address = preset ? "#" + written() : location.href.split("#")[0]; // a picture of one's own stands in no address
    try { history.replaceState(null, "", address); } catch { /* a page inside another may not have an address */ }
  }
  function read() {
    const words = new URLSearchParams(location.hash.slice(1)), number = (name, known) => (known.includes(Number(words.get(name))) && words.has(name) ? Number(words.get(name)) : usual[name]);
    const strategy = SIZES[words.get("strategy")] ? words.get("strategy") : usual.strategy;
    const sizes = SIZES[strategy], seed = Math.abs(parseInt(words.get("seed"), 10)) % 100000;
    state = { picture: number("picture", pictures.map((_, k) => k)), strategy, size: sizes.includes(Number(words.get("size"))) ? Number(words.get("size")) : sizes.includes(1024) ? 1024 : sizes[Math.floor(sizes.length / 2)],
      temperature: number("temperature", TEMPERATURES), dims: number("dims", [2, 3]), background: words.get("background") !== "0", seed: Number.isFinite(seed) ? seed : 0 };
    return words.get("paint") ? unpacked(words.get("paint")) : null;
  }

  // ------------------------------------------------------------------------------------------------ training, in a worker
  const body = `"use strict"; const room = (${pixelLoss})(); (${trainer})(room);`;
  function trainer(room) {
    let made = null, on = false, number = 0, free = true, losses = [], rate = 0, last = null;
    const report = (found) => {
      const { unit, named } = made.look();
      postMessage({ number, steps: made.steps(), unit, named, losses, rate, anchors: found?.anchors ?? 0, pulls: found?.pulls ?? 0, pushes: found?.pushes ?? 0, index: found ? found.index.flat() : [] });
      losses = [];
      free = false;
    };
    const go = () => {
      if (!on) return;
      const start = performance.now();
      let found = null, done = 0;
      do { found = last = made.step(); losses.push(found.loss); done++; } while (performance.now() - start < 14);
      rate = 0.8 * rate + 0.2 * ((1000 * done) / (performance.now() - start)) || rate;
      if (free) report(found);
      setTimeout(go, 0);
    };
    onmessage = ({ data }) => {
      if (data.kind === "task") { number = data.number; losses = []; made = room.training(data.task); last = null; report(null); }
      if (data.kind === "change") made.change(data.task);
      if (data.kind === "seen") free = true;
      if (data.kind === "step") { const found = made.step(); losses.push(found.loss); report(found); }
      if (data.kind === "run" && on !== data.on) { on = data.on; if (on) go(); else report(last); }
    };
  }
  const taskNow = () => ({ image: Float64Array.from(image), labels, height: size, width: size, strategy: { kind: state.strategy, size: state.size }, temperature: state.temperature, dims: state.dims, background: state.background, seed: state.seed });
  function begin(words = "") {
    if (!worker) {
      const address = URL.createObjectURL(new Blob([body], { type: "text/javascript" }));
      worker = new Worker(address);
      worker.onmessage = ({ data }) => hear(data);
      worker.onerror = (event) => semicon.fail(event);
    }
    task += 1;
    [curve, marks, fresh, hint] = [[], [], words, ""];
    worker.postMessage({ kind: "task", number: task, task: taskNow() });
    remember();
  }
  function hear(data) {
    worker.postMessage({ kind: "seen" });
    if (data.number !== task) return;
    if (!shown || shown.length !== data.unit.length || !news || data.steps === 0) shown = Float32Array.from(data.unit);
    news = data;
    data.losses.forEach((loss, k) => curve.push([data.steps - data.losses.length + k + 1, loss]));
    if (curve.length > 4000) curve = curve.filter((_, k) => k % 2);
    tell();
    draw();
  }
  // A setting changed, in `words`: the loss now measures something else, which the curve marks; a moving slider leaves one mark
  function change(kind, words) {
    const step = news?.steps ?? 0, last = marks.at(-1);
    if (last && last.kind === kind && step - last.step < 40) last.words = words; else if (step) marks.push({ kind, step, words });
    worker.postMessage({ kind: "change", task: taskNow() });
    hint = "";
    remember();
    drawLoss();
    tell();
  }
  function play(on) {
    if (on && !labels.some(Boolean)) { tell("Paint something first: choose a colour and draw on the slice."); return; }
    [playing, hint] = [on, ""];
    tell();
    worker.postMessage({ kind: "run", on });
    controls.play.textContent = on ? "❚❚ Pause" : "▶ Play";
    controls.play.setAttribute("aria-pressed", String(on));
    if (!on) semicon.say(said.textContent);
    frame();
  }

  // ------------------------------------------------------------------------------------------------ what is drawn
  const tints = palette.map(bytesOf), grey = [138, 138, 138];
  const colourOf = (label) => (label ? tints[label] : grey);
  const slice = make("canvas", { id: "slice", tabindex: 0, role: "application" }), ball = make("canvas", { id: "ball", tabindex: 0, role: "application" });
  const loss = make("canvas", { id: "loss", role: "img" }), met = make("canvas", { id: "met", role: "img", width: size, height: size });
  const small = document.createElement("canvas");
  small.width = small.height = size;

  function fit(canvas, tall) {
    const across = canvas.parentElement.clientWidth, scale = Math.min(devicePixelRatio || 1, 2), high = Math.round(tall(across));
    if (canvas.width !== Math.round(across * scale) || canvas.height !== Math.round(high * scale)) {
      canvas.width = Math.round(across * scale);
      canvas.height = Math.round(high * scale);
      canvas.style.height = high + "px";
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    return [pen, across, high];
  }

  function drawSlice() {
    const [pen, across] = fit(slice, (w) => w), pixels = new ImageData(size, size), named = news && news.steps ? news.named : null;
    for (let i = 0; i < many; i++) {
      const shade = 255 * image[i], label = named ? named[i] : 0, part = named && label ? 0.55 : 0, tint = colourOf(label);
      for (let k = 0; k < 3; k++) pixels.data[4 * i + k] = (1 - part) * shade + part * tint[k];
      pixels.data[4 * i + 3] = 255;
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, across, across);
    const s = across / size;
    if (labels.some(Boolean)) pixelOutlines(pen, labels, size, size, s, palette);
    erased.forEach((label, i) => {
      if (!label) return;
      pen.fillStyle = palette[label];
      pixelMark(pen, 7, (i % size) * s, Math.floor(i / size) * s, s);
    });
    if (keyboard && document.activeElement === slice) pixelCursor(pen, cursor, s, size, size);
    slice.setAttribute("aria-label", `A slice of ${size} by ${size} pixels. Painted: ${[1, 2, 3].map((k) => `${NAMES[k]} ${labels.filter((l) => l === k).length}`).join(", ")}; erased: ${erased.filter(Boolean).length} pixels. Arrow keys move the brush, Space paints, 0 to 3 choose the colour.`);
  }

  function drawBall() {
    const [pen, across] = fit(ball, (w) => w), middle = across / 2, radius = Math.max(0, middle - 16), dims = state.dims;
    pen.clearRect(0, 0, across, across);
    pen.strokeStyle = semicon.colour("line");
    pen.lineWidth = 1.2;
    pen.beginPath();
    pen.arc(middle, middle, dims === 3 ? radius : radius * 0.86, 0, 2 * Math.PI);
    pen.stroke();
    if (!shown) return;
    const [a, b] = spin, [ca, sa, cb, sb] = [Math.cos(a), Math.sin(a), Math.cos(b), Math.sin(b)], dark = semicon.dark(), dot = Math.max(2, across / 210);
    if (dims === 3) lines(pen, middle, radius, [ca, sa, cb, sb]);
    const order = [];
    for (let i = 0; i < many; i++) {
      let x, y, depth;
      if (dims === 3) {
        const [u, v, w] = [shown[3 * i], shown[3 * i + 1], shown[3 * i + 2]], p = ca * u + sa * w, q = -sa * u + ca * w;
        [x, y, depth] = [p, cb * v - sb * q, sb * v + cb * q];
      } else {
        const band = 0.8 + 0.12 * (((i * 7919) % 1000) / 1000); // dots of one direction beside one another: how far out says nothing
        [x, y, depth] = [shown[2 * i] * band, shown[2 * i + 1] * band, 1];
      }
      order.push([depth, middle + radius * x, middle - radius * y, labels[i] || -erased[i]]);
    }
    for (const front of dims === 3 ? [false, true] : [true]) for (const label of [0, 1, 2, 3]) {
      const [r, g, bl] = colourOf(label);
      pen.fillStyle = `rgba(${r},${g},${bl},${(front ? 1 : 0.28) * (label ? 0.95 : dark ? 0.5 : 0.45)})`;
      const side = label ? 1.7 * dot : dot;
      for (const [depth, x, y, own] of order) if (own === label && (dims === 2 || depth >= 0 === front)) pen.fillRect(x - side / 2, y - side / 2, side, side);
    }
    pen.lineWidth = 1.3;
    for (const [depth, x, y, own] of order) if (own < 0) { // erased: hollow
      pen.globalAlpha = dims === 2 || depth >= 0 ? 1 : 0.35;
      pen.strokeStyle = palette[-own];
      pen.strokeRect(x - dot, y - dot, 2 * dot, 2 * dot);
    }
    pen.globalAlpha = 1;
    const where = dims === 3 ? "sphere" : "circle";
    ball.setAttribute("aria-label", `The ${many} pixels on a ${where}, each where its embedding of ${dims} numbers points, in the colour that it was painted with, hollow where that was erased. ${dims === 3 ? "Arrow keys turn it." : ""}`);
  }

  // A few circles of the sphere, faint, so that its turning is seen
  function lines(pen, middle, radius, [ca, sa, cb, sb]) {
    const curves = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map(([p, q, r]) => (t) => (p ? [0, Math.cos(t), Math.sin(t)] : q ? [Math.cos(t), 0, Math.sin(t)] : [Math.cos(t), Math.sin(t), r * 0]));
    pen.strokeStyle = semicon.colour("grid");
    pen.lineWidth = 1;
    for (const curve of curves) {
      pen.beginPath();
      for (let k = 0; k <= 64; k++) {
        const [u, v, w] = curve((k * Math.PI) / 32), q = -sa * u + ca * w, x = middle + radius * (ca * u + sa * w), y = middle - radius * (cb * v - sb * q);
        if (k) pen.lineTo(x, y); else pen.moveTo(x, y);
      }
      pen.stroke();
    }
  }

  function drawLoss() {
    const [pen, across, high] = fit(loss, () => 120);
    pen.clearRect(0, 0, across, high);
    const ink = semicon.colour("soft"), values = curve.map(([, loss]) => loss), top = Math.max(...values, 0.001), low = Math.min(...values), span = top - low || 1, left = 34;
    const end = Math.max(curve.at(-1)?.[0] ?? 1, 2), at = (step) => left + ((across - left - 4) * (step - 1)) / (end - 1);
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = ink;
    if (!curve.length) return pen.fillText("No step yet.", 2, 26);
    for (const [value, y] of [[top, 26], [low, high - 4]]) pen.fillText(value.toFixed(1), 2, y);
    pen.strokeStyle = ink;
    pen.lineWidth = 1;
    pen.setLineDash([3, 3]);
    marks.forEach(({ step, words }, k) => {
      pen.beginPath(); pen.moveTo(at(step), 14); pen.lineTo(at(step), high); pen.stroke();
      if (k === marks.length - 1) pen.fillText(words, Math.min(at(step), across - pen.measureText(words).width - 2), 10);
    });
    pen.setLineDash([]);
    pen.strokeStyle = semicon.colour("accent");
    pen.lineWidth = 1.6;
    pen.beginPath();
    const stride = Math.max(1, Math.floor(curve.length / (2 * across)));
    for (let k = 0; k < curve.length; k += stride) {
      const y = 20 + (high - 28) * (1 - (values[k] - low) / span);
      if (k) pen.lineTo(at(curve[k][0]), y); else pen.moveTo(at(curve[k][0]), y);
    }
    pen.stroke();
    const changed = marks.map(({ step, words }) => ` After step ${step}: ${words}.`).join("");
    loss.setAttribute("aria-label", curve.length ? `The loss after ${news.steps} steps: from ${values[0].toFixed(2)} to ${values.at(-1).toFixed(2)}.${changed}` : "The loss of each step, empty before the first.");
  }

  function drawMet() {
    const pen = met.getContext("2d"), pixels = new ImageData(size, size), part = new Uint8Array(many);
    if (news) for (const i of news.index) part[i] = 1;
    for (let i = 0; i < many; i++) {
      const tint = part[i] ? (labels[i] ? tints[labels[i]] : [215, 215, 215]) : [60, 64, 72];
      for (let k = 0; k < 3; k++) pixels.data[4 * i + k] = tint[k];
      pixels.data[4 * i + 3] = 255;
    }
    pen.putImageData(pixels, 0, 0);
    met.setAttribute("aria-label", `Which pixels took part in the last step: ${news ? news.index.length : 0} of ${many}.`);
  }

  function draw() { drawSlice(); drawLoss(); drawMet(); if (!playing) { move(1); drawBall(); } }

  function move(share) {
    if (!news || !shown) return;
    for (let k = 0; k < shown.length; k++) shown[k] += share * (news.unit[k] - shown[k]);
    const dims = state.dims;
    for (let i = 0; i < many; i++) {
      let length = 0;
      for (let d = 0; d < dims; d++) length += shown[i * dims + d] ** 2;
      length = Math.sqrt(length) || 1;
      for (let d = 0; d < dims; d++) shown[i * dims + d] /= length;
    }
  }
  let pending = false;
  function frame() {
    if (pending || !playing) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      move(calm() ? 1 : 0.35);
      if (!calm() && !dragging) spin[0] += 0.004;
      drawBall();
      frames += 1;
      frame();
    });
  }
  let frames = 0;

  // ------------------------------------------------------------------------------------------------ what is said
  const said = make("p", { class: "said", id: "said" }), compared = make("p", { class: "said", id: "compared" });
  let hint = ""; // stands in place of the scores until the reader does something
  function tell(words = hint) {
    hint = words;
    const there = [1, 2, 3].filter((k) => labels.includes(k)), steps = news ? news.steps : 0;
    const scores = steps ? there.map((k) => `${NAMES[k]} ${room.dice(news.named, labels, k).toFixed(2)}`).join(", ") : "";
    const now = !there.length ? "Nothing is painted: paint a colour, then press Play." : steps ? `After ${inWords(steps)} ${steps === 1 ? "step" : "steps"}, Dice of tint and paint (1 where they cover each other): ${scores}.` : "Before the first step: random weights place the pixels.";
    said.textContent = hint || (steps < 300 ? fresh : "") + now;
    if (!news || !steps || !there.length || !news.index.length) { compared.textContent = "Nothing yet."; return; }
    const speed = playing && news.rate ? ` ${Math.round(news.rate)} steps a second.` : "";
    compared.replaceChildren(`${inWords(news.index.length)} of ${inWords(many)} pixels, ${inWords(news.anchors)} of them anchors: `,
      make("b", { class: "pull", text: `+ ${inWords(news.pulls)} pulls` }), ", ", make("b", { class: "push", text: `− ${inWords(news.pushes)} pushes` }), `.${speed}`);
  }

  // ------------------------------------------------------------------------------------------------ painting
  function dab([row, column]) {
    for (let r = Math.max(0, Math.ceil(row - wide)); r <= Math.min(size - 1, row + wide); r++) for (let c = Math.max(0, Math.ceil(column - wide)); c <= Math.min(size - 1, column + wide); c++)
      if ((r - row) ** 2 + (c - column) ** 2 <= wide * wide) {
        const i = r * size + c;
        erased[i] = brush ? 0 : labels[i] || erased[i];
        labels[i] = brush;
      }
  }
  function stroke(from, to) {
    const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1])));
    for (let k = 0; k <= steps; k++) dab([from[0] + ((to[0] - from[0]) * k) / steps, from[1] + ((to[1] - from[1]) * k) / steps].map(Math.round));
    drawSlice();
  }
  const pointed = (event) => { const box = slice.getBoundingClientRect(); return [((event.clientY - box.top) / box.height) * size - 0.5, ((event.clientX - box.left) / box.width) * size - 0.5]; };
  slice.addEventListener("pointerdown", (event) => { if (event.button) return; slice.setPointerCapture(event.pointerId); painting = pointed(event); stroke(painting, painting); });
  slice.addEventListener("pointermove", (event) => { if (!painting) return; const here = pointed(event); stroke(painting, here); painting = here; });
  for (const kind of ["pointerup", "pointercancel"]) slice.addEventListener(kind, () => { if (painting) { painting = null; change("paint", "paint changed"); draw(); } });
  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  slice.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (STEPS[event.key]) cursor = cursor.map((value, k) => Math.max(0, Math.min(size - 1, value + (event.shiftKey ? 8 : 1) * STEPS[event.key][k])));
    else if (event.key === " " || event.key === "Enter") { dab(cursor); change("paint", "paint changed"); }
    else if ("0123".includes(event.key)) controls.brush.put(brush = Number(event.key));
    else return;
    keyboard = true;
    event.preventDefault();
    draw();
  });
  slice.addEventListener("blur", () => { keyboard = false; drawSlice(); });
  ball.addEventListener("pointerdown", (event) => { ball.setPointerCapture(event.pointerId); dragging = [event.clientX, event.clientY]; });
  ball.addEventListener("pointermove", (event) => {
    if (!dragging) return;
    spin = [spin[0] + (event.clientX - dragging[0]) / 140, Math.max(-1.5, Math.min(1.5, spin[1] - (event.clientY - dragging[1]) / 140))];
    dragging = [event.clientX, event.clientY];
    if (!playing) drawBall();
  });
  for (const kind of ["pointerup", "pointercancel"]) ball.addEventListener(kind, () => { dragging = null; });
  ball.addEventListener("keydown", (event) => {
    if (!STEPS[event.key] || state.dims === 2) return;
    event.preventDefault();
    spin = [spin[0] + 0.15 * STEPS[event.key][1], Math.max(-1.5, Math.min(1.5, spin[1] - 0.15 * STEPS[event.key][0]))];
    drawBall();
  });

  // ------------------------------------------------------------------------------------------------ pictures
  function take(values, outlines) {
    image = values;
    preset = outlines;
    labels = outlines ? Uint8Array.from(outlines) : new Uint8Array(many);
    erased = new Uint8Array(many);
    controls.undo.disabled = !outlines;
  }
  const chosen = () => controls.picture.put(preset ? String(state.picture) : "own");
  const own = async (file) => {
    try {
      const bitmap = await createImageBitmap(file), side = Math.min(bitmap.width, bitmap.height), pen = small.getContext("2d", { willReadFrequently: true });
      pen.fillRect(0, 0, size, size); // black below what is transparent
      pen.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, size, size);
      const { data } = pen.getImageData(0, 0, size, size);
      take(Float32Array.from({ length: many }, (_, i) => (0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]) / 255), null);
      play(false);
      begin();
      tell("Your picture stays on this machine. Paint it, then press Play.");
    } catch { tell(`${file.name}: is no picture that this browser can read; choose a PNG or JPEG.`); }
    chosen();
  };
  const file = make("input", { type: "file", id: "file", accept: "image/*", class: "visually-hidden", tabindex: -1, "aria-hidden": "true" });
  file.addEventListener("change", () => { if (file.files[0]) own(file.files[0]); file.value = ""; });
  file.addEventListener("cancel", chosen);
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer.files[0]) own(event.dataTransfer.files[0]); });

  // ------------------------------------------------------------------------------------------------ the same in Python
  function python() {
    const made = { every: "FullResolution()", stride: `Downsampling(${state.size})`, block: `BlockDivision(${state.size})`, random: `RandomSampling(${state.size}, seed=step)` }[state.strategy];
    const name = made.split("(")[0], picture = pictures[state.picture], source = preset
      ? `from semicon_nb.data import phantom\n\ncohort = phantom(${picture.phantom})\nimage = cohort.images[${picture.row}].astype(float)`
      : `from PIL import Image, ImageOps\n\nfile = Image.open("your picture.png").convert("RGBA")\nfile = Image.alpha_composite(Image.new("RGBA", file.size, "black"), file).convert("L")\nimage = np.asarray(ImageOps.fit(file, (${size}, ${size}))) / 255`;
    const paint = preset && !painted() ? `labels = torch.tensor(cohort.labels[${picture.row}].astype(int))${picture.classes > 4 ? "\nlabels[labels > 3] = 0" : ""}`
      : `runs = re.findall("([0-9a-z]+)([A-D])", "${packed(labels)}")  # what was painted\nlabels = torch.tensor([ord(label) - 65 for count, label in runs for _ in range(int(count, 36))]).view(${size}, ${size})`;
    return `${painted() ? "import re\n\n" : ""}import numpy as np
import torch
from scipy.ndimage import gaussian_filter
${source.replace("\n\n", `\nfrom semicon_nb.losses import supervised_local_contrastive_loss\nfrom semicon_nb.strategies import ${name}\n\n`)}
${paint}

one, two, four = (gaussian_filter(image, s, mode="nearest", truncate=3) for s in (1, 2, 4))
rows, columns = np.mgrid[-1 : 1 : ${size}j, -1 : 1 : ${size}j]
planes = [image, one, two, four, image - one, one - two, two - four]
planes += [np.hypot(*np.gradient(one)), np.hypot(*np.gradient(two)), columns, rows]
table = np.stack([(p - p.mean()) / (p.std() + 1e-6) for p in planes], -1)
table = torch.tensor(table, dtype=torch.float32).view(-1, ${room.FEATURES})

torch.manual_seed(${state.seed})
network = torch.nn.Sequential(torch.nn.Linear(${room.FEATURES}, 32), torch.nn.Tanh(), torch.nn.Linear(32, ${state.dims}))
optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
for step in range(600):
    embedding = network(table).T.view(1, 1, ${state.dims}, ${size}, ${size})
    loss = supervised_local_contrastive_loss(
        embedding, labels[None, None], temperature=${state.temperature}, strategy=${made}, background=${state.background ? "True" : "False"}
    )
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

unit = torch.nn.functional.normalize(network(table).detach(), dim=1)
there = [int(k) for k in labels.unique()${state.background ? "" : " if k"}]
centres = torch.nn.functional.normalize(torch.stack([unit[labels.flatten() == k].mean(0) for k in there]), dim=1)
named = torch.tensor(there)[(unit @ centres.T).argmax(1)].view(${size}, ${size})
for k in there:
    both, all = ((named == k) & (labels == k)).sum(), (named == k).sum() + (labels == k).sum()
    print(f"label {k}: Dice with the paint {2 * both / all:.2f}")
`;
  }
  async function copy() {
    const text = python();
    code.textContent = text;
    fold.open = true;
    try { await navigator.clipboard.writeText(text); controls.copy.textContent = "Copied"; } catch { controls.copy.textContent = "It stands below"; }
    setTimeout(() => { controls.copy.textContent = "Copy as Python"; }, 2500);
  }
  const code = make("code", {}), fold = make("details", { class: "code" }, make("summary", { text: "The same with the library, in Python" }), make("pre", { tabindex: 0 }, code));
  fold.addEventListener("toggle", () => { if (fold.open) code.textContent = python(); });

  // ------------------------------------------------------------------------------------------------ controls
  const button = (name, words, heard, settings = {}) => { const found = make("button", { type: "button", id: name, text: words, ...settings }); found.addEventListener("click", () => host.timed(name, heard)); return found; };
  function choice(name, label, choices, value, heard) {
    const put = (wanted) => buttons.forEach((b, k) => b.setAttribute("aria-pressed", String(choices[k][0] === wanted)));
    const buttons = choices.map(([key, words], k) => button(`${name}-${k}`, words, () => { put(key); heard(key); }));
    put(value);
    return { element: make("div", { class: "choice", role: "group", "aria-label": label }, make("span", { text: label }), make("div", {}, ...buttons)), put, buttons };
  }
  function menu(name, label, choices, heard) {
    const input = make("select", { id: name }, ...choices.map(([key, words]) => make("option", { value: key, text: words })));
    input.addEventListener("input", () => host.timed(name, () => heard(input.value)));
    return { element: make("div", { class: "control" }, make("label", { for: name, text: label }), input), put: (value) => { input.value = value; } };
  }
  const sizeWords = () => SIZES[state.strategy].map((n) => ({ every: "all", stride: `every ${n}${n === 2 ? "nd" : n === 3 ? "rd" : "th"}`, block: `${n} × ${n}`, random: inWords(n) }[state.strategy]));
  const meeting = () => STRATEGIES.find(([key]) => key === state.strategy)[1] + (state.strategy === "every" ? "" : `, ${sizeWords()[SIZES[state.strategy].indexOf(state.size)]}`);
  const anew = (words) => { begin(words); if (words) semicon.say(words); if (playing) worker.postMessage({ kind: "run", on: true }); };
  const controls = {
    play: button("go", "▶ Play", () => play(!playing), { class: "go" }),
    step: button("step", "One step", () => { play(false); worker.postMessage({ kind: "step" }); }),
    reset: button("reset", "Start again", () => { state.seed = (state.seed + 1) % 100000; anew(`New random weights, seed ${state.seed}. `); }),
    copy: button("copy", "Copy as Python", copy),
    clear: button("clear", "Clear the paint", () => { play(false); labels.fill(0); erased.fill(0); fresh = ""; change("paint", "paint cleared"); draw(); }),
    undo: button("paint", "The outlines again", () => { labels = Uint8Array.from(preset); erased.fill(0); change("paint", "outlines again"); draw(); }),
    mine: button("mine", "Your own picture…", () => file.click()),
    brush: choice("brush", "Brush", [[1, "● orange"], [2, "● blue"], [3, "● green"], [0, "○ erase"]], 1, (value) => { brush = value; }),
    picture: menu("picture", "Slice", [...pictures.map((p, k) => [String(k), p.name]), ["own", "your own"]], (value) => { if (value === "own") file.click(); else { state.picture = Number(value); load(null); anew("Another slice, so it starts again. "); } }),
    strategy: choice("strategy", "Which pixels meet", STRATEGIES, state.strategy, (value) => { state.strategy = value; state.size = SIZES[value].includes(1024) ? 1024 : SIZES[value][Math.floor(SIZES[value].length / 2)]; sizes(); change("strategy", meeting()); }),
    dims: choice("dims", "Embedding (a change starts again)", [[2, "circle"], [3, "sphere"]], 3, (value) => { state.dims = value; shown = null; anew(`${value === 2 ? "A circle takes 2 numbers a pixel" : "A sphere takes 3 numbers a pixel"}, so a new network starts again. `); }),
  };
  controls.size = slider(host, "size", "How many", ["1"], 0, (at) => { state.size = SIZES[state.strategy][at]; change("strategy", meeting()); });
  controls.temperature = slider(host, "temperature", "Temperature", TEMPERATURES.map(String), 0, (at) => { state.temperature = TEMPERATURES[at]; change("temperature", `temperature ${state.temperature}`); });
  const rest = make("input", { type: "checkbox", id: "background" });
  rest.addEventListener("input", () => { state.background = rest.checked; change("background", rest.checked ? "unpainted pushed" : "unpainted left out"); });
  const names = { every: "All pixels", stride: "Rows and columns", block: "Pixels of a block", random: "Pixels of the sample" };
  function sizes() {
    controls.size.element.querySelector("label").textContent = names[state.strategy];
    controls.size.set(sizeWords(), SIZES[state.strategy].indexOf(state.size));
  }
  function load(paint) {
    const picture = pictures[state.picture];
    take(Float32Array.from(unpack(picture.image), (v) => v / 255), unpack(picture.labels));
    if (paint) labels = paint;
    controls.picture.put(String(state.picture));
  }
  function show() {
    controls.strategy.put(state.strategy);
    controls.dims.put(state.dims);
    controls.temperature.put(TEMPERATURES.indexOf(state.temperature));
    rest.checked = state.background;
    sizes();
  }

  // ------------------------------------------------------------------------------------------------ the page
  const panel = (name, heading, ...children) => make("section", { class: `panel ${name}` }, make("h2", { text: heading }), ...children);
  controls.brush.buttons.forEach((b, k) => { if (k < 3) b.style.setProperty("--mark", palette[k + 1]); });
  root.style.setProperty("--pull", pull);
  root.style.setProperty("--push", push);
  root.replaceChildren(
    make("div", { class: "bar" }, controls.play, controls.step, controls.reset, said),
    make("div", { class: "boards" },
      panel("paint", "The slice: paint here", make("div", { class: "board" }, slice), controls.brush.element,
        make("div", { class: "line" }, controls.clear, controls.undo, controls.mine, file)),
      panel("space", "Its pixels: watch here", make("div", { class: "board" }, ball), make("p", { class: "note", text: "A dot is a pixel, in the colour that it was painted with; a hollow one was erased, and counts as unpainted. Directions are the embedding itself: nothing is projected. Drag to turn." })),
      panel("choose", "What the loss compares", controls.strategy.element, controls.size.element, controls.temperature.element, make("div", { class: "control" }, make("label", { for: "background" }, rest, " unpainted pixels are pushed away, too")), controls.dims.element, controls.picture.element),
      panel("curve", "The loss, step by step", make("div", { class: "board" }, loss), make("p", { class: "note", text: "A dashed line: you changed something. The loss then compares other pixels or weighs them otherwise, so it may jump." })),
      panel("compared", "What this step compared", make("div", { class: "met" }, met), make("div", {}, compared, make("p", { class: "note", text: "An anchor is a painted pixel that takes part, with another of its colour to pull: it pulls its own colour and pushes all others." }))),
      panel("tries", "Three things to try", make("ol", {},
        make("li", { text: "Choose blocks. Pixels of far blocks never meet: where does colour appear that nobody painted?" }),
        make("li", { text: "Lower the temperature to 0.05, then raise it to 1. What does each do to the slice?" }),
        make("li", { text: "Erase one colour while it plays. Where do its pixels go?" })))),
    make("div", { class: "bar" }, controls.copy), fold);
  const watch = new ResizeObserver(() => { if (image) { draw(); drawBall(); } });
  watch.observe(root);
  semicon.onTheme(() => { draw(); drawBall(); });
  const paint = read();
  load(paint);
  show();
  begin();
  addEventListener("hashchange", () => { const fresh = read(); load(fresh); show(); anew(); });
  semicon.playground = { state: () => ({ ...state, steps: news?.steps ?? 0, rate: news?.rate ?? 0, playing, frames, labels: Array.from(labels), image: Array.from(image) }), python, dice: (k) => room.dice(news.named, preset || labels, k), room };
})();
