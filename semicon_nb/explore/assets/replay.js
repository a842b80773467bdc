// TrainingReplay: map, slices and curves of one training or two, as a film that plays by itself and loops.
"use strict";

// Stretches of equal names: [{name, from, to}], ends included
function stretches(names) {
  const found = [];
  names.forEach((name, t) => { if (found.length && found.at(-1).name === name) found.at(-1).to = t; else found.push({ name, from: t, to: t }); });
  return found;
}

const LINES = [[/^loss/, [], 1.2, 0.55, "loss, drawn anew for each stage"], [/^Dice/, [], 2.6, 1, "Dice of the slices"], [/^validation/, [2, 4], 2.2, 0.9, "validation Dice"], [/^neighbour/, [8, 4], 2, 0.8, "neighbour agreement"]];

// One training: its pictures, and show(t) for any time between two moments
function reel(film, data, host) {
  const grid = mosaic(film.shape, film.across, film.gap), grey = unpack(film.grey), truth = unpack(film.truth), marks = unpack(film.marks), predicted = unrolled(film.predicted, film.steps.length * truth.length);
  const moments = film.steps.length, count = marks.length, path = new Set(truth).size > 1 ? outlinePath(grid, truth) : null;
  const tints = data.palette.map(bytesOf), looks = (k) => (k ? 1 + ((k - 1) % (data.palette.length - 1)) : 0), symbols = data.symbols;
  const openPlaces = (all) => Array.from({ length: moments }, (_, t) => unpackPlaces(all, count, t));
  const at = Object.fromEntries(Object.entries(film.places).map(([method, pack]) => [method, openPlaces(unpack(pack))]));
  const last = film.steps.at(-1) || 1, cells = cellPainter(grid.rows, grid.columns), paintDots = dotPainter(symbols);
  const x = new Float32Array(count), y = new Float32Array(count), alpha = new Float32Array(count).fill(0.8), rgb = new Uint8Array(3 * count), symbolOf = new Uint8Array(count);
  const order = Array.from(marks.keys()).sort((a, b) => marks[a] - marks[b]); // the background lies below
  for (let i = 0; i < count; i++) { symbolOf[i] = marks[i] % symbols.length; rgb.set(tints[looks(marks[i])], 3 * i); }
  let time = 0, moment = -1, method = "PCA";

  const tallest = () => between(0.42 * screenHeight(), 210, 380);
  const map = board("map", (wide) => Math.min(wide, tallest()), (pen, wide, high, scale) => paintDots(pen, wide, high, scale, { x, y, order, symbolOf, rgb, alpha }));
  map.canvas.setAttribute("aria-label", "The shown pixels in one layout for all moments, coloured by label");
  const slices = board("slices", (wide) => Math.min(tallest(), (wide * grid.rows) / grid.columns), (pen, wide, high) => {
    cells.draw(pen, wide, high);
    const { side, left, top } = cells.frame(wide, high);
    if (!path) return;
    pen.translate(left, top);
    pen.scale(side, side);
    pen.lineWidth = 1.4 / side;
    pen.strokeStyle = "rgba(255,255,255,.85)";
    pen.stroke(path);
  });
  const curves = board("curves", (wide) => Math.min(wide, Math.max(150, 0.6 * tallest())), (pen, wide, high) => {
    const ink = getComputedStyle(curves.canvas).color, left = 30, right = wide - 8, top = 8, low = high - 22;
    const across = (step) => left + (step / last) * (right - left), down = (v) => low - v * (low - top);
    Object.assign(pen, { strokeStyle: ink, fillStyle: ink, font: "12px system-ui, sans-serif", textBaseline: "middle" });
    for (const v of [0, 0.5, 1]) {
      pen.globalAlpha = 0.18;
      pen.beginPath(); pen.moveTo(left, down(v)); pen.lineTo(right, down(v)); pen.stroke();
      pen.globalAlpha = 0.75;
      pen.fillText(v.toFixed(1), 4, down(v));
    }
    pen.fillText("0", left, high - 8);
    pen.textAlign = "right";
    pen.fillText(`step ${last}`, right, high - 8);
    pen.textAlign = "left";
    for (const [name, [steps, values]] of Object.entries(film.curves)) {
      const [, dash, wide, faint] = LINES.find(([known]) => known.test(name));
      pen.globalAlpha = faint;
      pen.lineWidth = wide;
      pen.setLineDash(dash);
      pen.beginPath();
      steps.forEach((step, k) => { if (values[k] !== null) pen.lineTo(across(step), down(between(values[k], 0, 1))); });
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.globalAlpha = 1;
    pen.lineWidth = 2.5;
    pen.beginPath(); pen.moveTo(across(stepAt()), top - 6); pen.lineTo(across(stepAt()), low); pen.stroke();
  });
  const stepAt = () => { const t = Math.floor(time), next = Math.min(t + 1, moments - 1); return film.steps[t] + (time - t) * (film.steps[next] - film.steps[t]); };
  const words = make("p", { class: "said", id: host.id("words"), "aria-live": "off" });

  function paint(t) {
    for (let p = 0; p < grid.total; p++) {
      const k = predicted[t * grid.total + p], share = k ? 0.55 : 0, tint = tints[looks(k)], to = 4 * grid.where[p];
      for (let c = 0; c < 3; c++) cells.bytes[to + c] = (1 - share) * grey[p] + share * tint[c];
      cells.bytes[to + 3] = 255;
    }
    cells.write();
  }
  function show(wanted, how) {
    method = at[how] ? how : "PCA" in at ? "PCA" : Object.keys(at)[0];
    time = between(wanted, 0, moments - 1);
    const t = Math.floor(time), part = time - t, from = at[method][t], to = at[method][Math.min(t + 1, moments - 1)];
    for (let i = 0; i < count; i++) { x[i] = from.x[i] + part * (to.x[i] - from.x[i]); y[i] = from.y[i] + part * (to.y[i] - from.y[i]); }
    map.draw();
    curves.draw();
    if (Math.round(time) === moment) return;
    moment = Math.round(time);
    paint(moment);
    slices.canvas.setAttribute("aria-label", `The slices, what is predicted as a tint, the true outline as a white line. ${film.words[moment]}`);
    slices.draw();
    words.textContent = film.words[moment];
  }
  return {
    film, words, map, slices, curves, show, moments,
    has: (name) => name in at, give(name, pack) { at[name] = openPlaces(unpack(pack)); },
    nearest(share) { let best = 0; film.steps.forEach((s, t) => { if (Math.abs(s - share * last) < Math.abs(film.steps[best] - share * last)) best = t; }); return best; },
    along(share) { const goal = share * last, k = film.steps.findIndex((s) => s >= goal); return k <= 0 ? 0 : k - 1 + (goal - film.steps[k - 1]) / (film.steps[k] - film.steps[k - 1] || 1); },
    share: () => stepAt() / last,
    state: () => ({ x: Array.from(x), y: Array.from(y), predicted: Array.from(predicted.subarray(moment * grid.total, (moment + 1) * grid.total)), step: film.steps[moment] }),
    stop() { for (const b of [map, slices, curves]) b.stop(); },
  };
}

function explorer(root, data, host) {
  const reels = data.films.map((film, k) => reel(film, data, { ...host, id: (name) => host.id(`${name}-${k}`) })), first = reels[0], last = first.moments - 1;
  let time = 0, method = data.methods.includes(data.method) ? data.method : data.methods[0], playing = false, frame = 0, before = 0, rest = 0, waited = false;

  // ---- the ribbon: stages side by side, a slider on top of them, a line at the moment
  const input = make("input", { type: "range", id: host.id("moment"), min: 0, max: last, step: 1, value: 0, "aria-label": "Moment" });
  const head = make("i", { class: "head" }), parts = stretches(first.film.stages);
  const edge = (t) => (last ? (100 * t) / last : 0);
  const bands = parts.map(({ name, from, to }, k) => {
    const band = make("span", { class: `band tone-${k % 4}`, title: name });
    const start = k ? (edge(parts[k - 1].to) + edge(from)) / 2 : 0, end = k + 1 < parts.length ? (edge(to) + edge(parts[k + 1].from)) / 2 : 100;
    if (end - start > 8) band.textContent = name;
    Object.assign(band.style, { left: `${start}%`, width: `${end - start}%` });
    return band;
  });
  const ribbon = make("div", { class: "ribbon" }, ...bands, head, input);

  function show() {
    first.show(time, method);
    for (const other of reels.slice(1)) other.show(other.along(first.share()), method);
    head.style.left = `${edge(time)}%`;
    if (Number(input.value) !== Math.round(time)) input.value = Math.round(time);
    input.setAttribute("aria-valuetext", `${first.film.stages[Math.round(time)]}, step ${first.film.steps[Math.round(time)]}`);
  }
  function tick(clock) {
    frame = requestAnimationFrame(tick);
    const passed = Math.min(0.1, (clock - before) / 1000);
    before = clock;
    if (rest > 0) { rest -= passed; if (rest <= 0) time = 0; } else {
      time = Math.min(last, time + (passed * last) / data.seconds);
      if (time === last) rest = 1.2; // the end stays for a moment
    }
    show();
  }
  function play(on) {
    playing = on && last > 0;
    cancelAnimationFrame(frame);
    if (playing) { if (time >= last && rest <= 0) time = 0; before = performance.now(); frame = requestAnimationFrame(tick); } else { rest = 0; host.changed(state()); }
    button.textContent = playing ? "Pause" : "Play";
    button.setAttribute("aria-pressed", String(playing));
    for (const r of reels) r.words.setAttribute("aria-live", playing ? "off" : "polite");
  }
  const button = make("button", { type: "button", id: host.id("play"), text: "Play" });
  button.addEventListener("click", () => play(!playing));
  const scrub = () => host.timed("moment", () => { if (playing) play(false); time = Number(input.value); show(); host.changed(state()); });
  input.addEventListener("input", scrub);
  input.addEventListener("keydown", (event) => { if (event.key === " ") { event.preventDefault(); play(!playing); } else if (playing && /^(Arrow|Home|End|Page)/.test(event.key)) play(false); event.stopPropagation(); });
  // The map by a method, which is asked for where there is none yet
  function take(name) {
    method = name;
    if (!host.ask || waited || reels.every((r) => r.has(name))) return;
    waited = true;
    host.ask({ method });
    note.replaceChildren(make("p", { class: "note", text: "The UMAP of all moments is being made; until then the PCA is shown." }));
  }
  const choose = (name) => { take(name); show(); host.changed(state()); };
  const methods = segments(host, "method", "Map", data.methods.map((name) => [name, name]), method, choose);

  // What stands beside each training; beside a second only where it is not that of the first
  const beside = (r, of, element) => (r !== first && String(of(r.film)) === String(of(first.film)) ? [] : [element(r.film, (name) => host.id(r === first ? name : `${name}-1`))]);
  const legend = (film, id) => make("ul", { class: "legend", id: id("legend") }, ...film.names.map((name, k) => {
    const look = k ? 1 + ((k - 1) % (data.palette.length - 1)) : 0;
    return make("li", {}, markerImage(data.symbols[k % data.symbols.length], data.palette[look]), make("span", { text: name }));
  }));
  const drawn = (film) => LINES.filter(([known]) => Object.keys(film.curves).some((name) => known.test(name)));
  const lines = (film) => make("ul", { class: "legend lines" }, ...drawn(film).map(([, dash, wide, faint, text]) => {
    const sample = document.createElementNS("http://www.w3.org/2000/svg", "svg"), line = sample.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "line"));
    for (const [name, value] of Object.entries({ width: 26, height: 8, "aria-hidden": "true" })) sample.setAttribute(name, value);
    for (const [name, value] of Object.entries({ x1: 0, x2: 26, y1: 4, y2: 4, stroke: "currentColor", "stroke-width": wide, "stroke-dasharray": dash.join(" "), opacity: faint })) line.setAttribute(name, value);
    return make("li", {}, sample, text);
  }));
  const why = (film, id) => make("p", { class: "note", id: id("why"), text: film.why });
  const note = make("div"), one = () => new Set(reels.map((r) => r.film.note)).size === 1;
  const tell = () => note.replaceChildren(...(one() ? [first] : reels).map(({ film }) => make("p", { class: "note", text: one() ? film.note : `${film.name}: ${film.note}` })));
  root.className = "semicon-dots";
  root.append(
    make("p", { class: "guide", text: "Watch the pixels of one colour find each other, or drag along the ribbon to any moment." }),
    make("div", { class: "film-bar" }, button, ribbon, ...(data.methods.length > 1 ? [methods.element] : [])),
    ...reels.map((r) => make("section", { class: "reel" }, ...beside(r, (film) => film.names, legend), r.words, make("div", { class: "pair three" }, r.map.place, r.slices.place, make("div", { class: "curves" }, r.curves.place, ...beside(r, drawn, lines), ...beside(r, (film) => film.why, why))))),
    note,
  );
  const state = () => ({ moment: Math.round(time), method });
  root.semicon = { state: () => ({ ...state(), playing, films: reels.map((r) => r.state()) }) };
  tell();
  show();
  // It plays by itself while it is in sight, until the reader takes over
  const seen = new IntersectionObserver(([entry]) => { if (entry.isIntersecting && !calm()) { seen.disconnect(); if (time === 0 && !playing) play(true); } }, { threshold: 0.3 });
  seen.observe(ribbon);
  input.addEventListener("pointerdown", () => seen.disconnect(), true);
  input.addEventListener("keydown", () => seen.disconnect(), true);
  return {
    state: host.ask ? state : root.semicon.state, detail: root.semicon.state, repaint: show,
    put(wanted) { if (wanted.method && data.methods.includes(wanted.method)) { take(wanted.method); methods.put(method); } if (wanted.moment !== undefined) { seen.disconnect(); play(false); time = between(wanted.moment, 0, last); } show(); },
    news(found) {
      reels[found.film].give(found.method, found.places);
      reels[found.film].film.note = found.note;
      if (reels.every((r) => r.has(found.method))) tell();
      show();
    },
    stop() { cancelAnimationFrame(frame); seen.disconnect(); for (const r of reels) r.stop(); },
  };
}
