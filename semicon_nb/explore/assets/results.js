// The page about results: the tables' means and intervals, the volumes behind a point, the slices behind a volume of a kept run.
"use strict";
const results = (() => {
  const { array, data, on } = semicon;
  const at = (id) => document.getElementById(id), finite = Number.isFinite;
  const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
  const percent = (labels) => `${+(100 * labels).toPrecision(6)} %`;
  for (const e of data.experiments) { e.dice = array(e.dice); e.hd95 = array(e.hd95); }
  const experiment = (name) => data.experiments.find((e) => e.name === name);
  let shown = { ...data.shown }, ordered = [], slices = [];
  const now = () => experiment(shown.experiment);

  // What the tables say of a method at a labelled fraction (semicon_nb.results_state.Cell); undefined where it was not run
  const cell = (method, labels) => now().cells[shown.metric][shown.name].find((c) => c.method === method && c.labels === labels);
  const title = () => `${data.names[shown.metric]}, ${shown.name === "mean" ? "mean of the classes" : shown.name}`;
  const safe = (text) => text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);

  // The values moved apart until labels have room (semicon_nb.results_figures.spread)
  function spread(values, low, high, gap) {
    const order = values.map((_, k) => k).sort((a, b) => values[a] - values[b]), found = order.map((k) => values[k]), n = found.length;
    for (let k = 0; k < n; k++) found[k] = Math.max(found[k], k ? found[k - 1] + gap : low);
    for (let k = n - 1; k >= 0; k--) found[k] = Math.min(found[k], k + 1 < n ? found[k + 1] - gap : high);
    return values.map((_, k) => found[order.indexOf(k)]);
  }

  async function drawScores() {
    const e = now(), right = e.shares.length - 0.55;
    const mine = shown.methods.map((m) => e.shares.map((f) => cell(m, f)).filter(Boolean));
    const ends = mine.flat().flatMap((c) => [...c.scores, c.mean - (c.half || 0), c.mean + (c.half || 0)]);
    let low = ends.length ? Math.min(...ends) : 0, high = ends.length ? Math.max(...ends) : 1;
    const room = 0.06 * (high - low) || 0.05;
    low -= room; high += room;
    const heights = spread(mine.filter((each) => each.length).map((each) => each.at(-1).mean), low, high, (high - low) * data.line);
    const update = { x: [], y: [], text: [], name: [], "error_y.array": [] };
    mine.forEach((each, place) => {
      const x = each.map((c) => e.shares.indexOf(c.labels) + data.side[place]), last = each.at(-1);
      update.x.push(each.flatMap((c, i) => c.scores.map(() => x[i])), x, last ? [x.at(-1), right] : []);
      update.y.push(each.flatMap((c) => c.scores), each.map((c) => c.mean), last ? [last.mean, heights.shift()] : []);
      update.text.push(null, each.map((c) => c.words), last ? ["", e.texts[e.methods.indexOf(shown.methods[place])]] : []);
      update.name.push("", safe(shown.methods[place]), "");
      update["error_y.array"].push(null, each.map((c) => c.half || 0), null);
    });
    await Plotly.restyle("scores", update);
    const ticks = { "xaxis.tickvals": e.shares.map((_, k) => k), "xaxis.ticktext": e.shares.map(percent), "xaxis.range": [-0.45, right] };
    await Plotly.relayout("scores", { ...ticks, "yaxis.range": [low, high], "yaxis.title.text": safe(title()) });
    const lines = e.shares.flatMap((f) => shown.methods.map((m) => cell(m, f)).filter(Boolean));
    const rows = lines.map((c) => [percent(c.labels), c.method, c.text, c.splits, c.difference_text || "–", c.difference_splits || "–"]);
    if (rows.length) rows.push(...e.rooms[shown.metric][shown.name]);
    table("score-table", title(), ["labelled", "method", "mean", "splits", `− ${data.baseline}`, "on splits"], rows, `No run has ${data.names[shown.metric]}.`);
  }

  // The score, the gain and the room of the method that is looked at (semicon_nb.results_figures.three_numbers)
  function drawThree() {
    const { method, labels } = shown, at = percent(labels), found = cell(method, labels), head = `headroom of ${data.baseline}`;
    const room = found && now().rooms[shown.metric][shown.name].find((line) => line[0] === at && line[1] === head);
    const numbers = [[`${method} at ${at}`, found?.text], [`gain over ${data.baseline}`, found?.difference_text], [head, room?.[2]]];
    document.querySelector("#three dl").replaceChildren(...numbers.map(([name, number]) => {
      const place = document.createElement("div");
      for (const [kind, text] of [["dt", name], ["dd", number || "–"]]) place.appendChild(document.createElement(kind)).textContent = text;
      return place;
    }));
  }

  function table(id, caption, heads, rows, nothing) {
    if (!rows.length) { at(id).textContent = nothing; return; }
    const made = document.createElement("table"), head = made.createTHead().insertRow(), body = made.createTBody();
    made.createCaption().textContent = caption;
    const put = (line, kind, text) => { const c = line.appendChild(document.createElement(kind)); c.textContent = text; return c; };
    for (const text of heads) put(head, "th", text).scope = "col";
    for (const row of rows) { const line = body.insertRow(); row.forEach((text, k) => { const c = put(line, k ? "td" : "th", text); if (!k) c.scope = "row"; }); }
    at(id).replaceChildren(made);
  }

  // The volumes of one method at one labelled fraction, worst first (semicon_nb.results_state.volumes_of)
  function volumes() {
    const e = now(), far = shown.metric === "hd95", C = e.classes.length, one = e.classes.indexOf(shown.name), found = [];
    e.volumes.forEach(([run, volume, subject], i) => {
      const [method, labels, split, seed] = e.runs[run];
      if (method !== shown.method || labels !== shown.labels) return;
      const scores = Array.from((far ? e.hd95 : e.dice).subarray(i * C, (i + 1) * C));
      const known = (one < 0 ? scores : [scores[one]]).filter(finite), own = volume.startsWith(subject) ? volume : `${subject}: ${volume}`;
      if (known.length) found.push({ i, run: Number(run), volume, split, name: `${own}, split ${split}, seed ${seed}`, score: mean(known) });
    });
    return found.sort((a, b) => (far ? -1 : 1) * (a.score - b.score));
  }

  async function drawVolumes() {
    const splits = [...new Set(ordered.map((v) => v.split))].sort((a, b) => a - b), far = shown.metric === "hd95";
    const place = Math.max(0, shown.methods.indexOf(shown.method)), ring = ordered.slice(shown.volume, shown.volume + 1);
    await Plotly.restyle("strip", {
      x: [ordered.map((_, k) => k + 1), ring.map(() => shown.volume + 1)], y: [ordered.map((v) => v.score), ring.map((v) => v.score)],
      text: [ordered.map((v) => `${safe(v.name)}: ${v.score.toFixed(3)}`), null],
      "marker.color": [data.looks[place][0], "#7a7a7a"], "marker.symbol": [ordered.map((v) => data.symbols[splits.indexOf(v.split) % data.symbols.length]), "circle-open"],
    });
    const axis = far ? { "yaxis.autorange": true } : { "yaxis.range": [-0.04, 1.04] };
    await Plotly.relayout("strip", { "xaxis.range": [0.2, ordered.length + 0.8], "yaxis.title.text": far ? "HD95 of the volume (mm)" : "Dice of the volume", ...axis });
  }

  function drawVolume() {
    const v = ordered[shown.volume], e = now(), C = e.classes.length;
    const digits = (number, places) => (finite(number) ? number.toFixed(places) : "not there");
    const rows = v ? e.classes.map((name, c) => [name, digits(e.dice[v.i * C + c], 3), digits(e.hd95[v.i * C + c], 1)]) : [];
    table("volume-table", v ? v.name : "", ["class", "Dice", "HD95 (mm)"], rows, "No such run has volumes.");
    slices = v ? data.slices.filter((s) => s.run === v.run && s.volume === v.volume) : [];
    const slider = at("rank");
    slider.max = Math.max(0, slices.length - 1);
    slider.dataset.shown = JSON.stringify(slices.map((_, k) => String(k + 1)));
    slider.value = shown.rank - 1;
    slider.parentElement.querySelector("output").textContent = String(shown.rank);
    at("sheet").hidden = !slices.length;
    at("rank-control").hidden = slices.length < 2;
    if (slices.length) drawSlice();
  }

  const canvas = pixelCanvas(at("picture0"), null), tints = array(data.tints);
  const unpack = ([values, lengths], size) => {
    const found = new Uint8Array(size), v = array(values), n = array(lengths);
    for (let i = 0, from = 0; i < v.length; i++) { found.fill(v[i], from, from + n[i]); from += n[i]; }
    return found;
  };
  function drawSlice() {
    const s = slices[shown.rank - 1], size = s.height * s.width, image = array(s.image), truth = unpack(s.truth, size), predicted = unpack(s.predicted, size);
    const rgb = new Uint8Array(3 * size), marks = new Uint8Array(size), counts = [0, 0, 0, 0];
    for (let i = 0; i < size; i++) {
      const kind = truth[i] === predicted[i] ? 0 : !predicted[i] ? 1 : !truth[i] ? 2 : 3, there = truth[i] || predicted[i], share = there ? data.strengths[kind] : 0;
      counts[kind]++;
      for (let c = 0; c < 3; c++) rgb[3 * i + c] = Math.round((1 - share) * image[i] + share * tints[3 * kind + c]);
      marks[i] = there ? data.marks[kind] : 0;
    }
    const said = `Slice ${s.number} of ${s.volume}, rank ${shown.rank} of ${slices.length} from the worst, Dice ${s.dice.toFixed(2)}: ${counts[1]} pixels missed (red −), ${counts[2]} invented (yellow +), ${counts[3]} of the wrong class (white \\). Light line: the true outline.`;
    canvas.draw({ height: s.height, width: s.width, rgb, marks, labels: truth, alt: said });
    at("said").textContent = said;
  }

  // Fill a menu with [text, value] pairs; what stands in it is data, so it goes in as text
  function fill(id, options, chosen) {
    at(id).replaceChildren(...options.map(([text, v]) => new Option(text, v)));
    at(id).value = String(chosen);
  }
  function fillMenus() {
    const e = now();
    fill("experiment", data.experiments.map((one) => [one.name || "not named", one.name]), shown.experiment);
    fill("metric", Object.entries(data.names).map(([metric, text]) => [text, metric]), shown.metric);
    fill("name", [["mean of the classes", "mean"], ...e.classes.map((c) => [c, c])], shown.name);
    shown.methods.forEach((method, k) => fill(`place${k}`, [["none", ""], ...e.methods.map((m) => [m, m])], method));
    fill("method", shown.methods.filter(Boolean).map((m) => [m, m]), shown.method);
    fill("labels", e.shares.map((f) => [percent(f), f]), shown.labels);
    fill("volume", ordered.length ? ordered.map((v, k) => [`${v.name} (${v.score.toFixed(3)})`, k]) : [["none", 0]], shown.volume);
  }

  async function show(changes = {}) {
    shown = { ...shown, ...changes };
    ordered = volumes();
    fillMenus();
    drawThree();
    await drawScores();
    await drawVolumes();
    drawVolume();
  }
  const anew = { volume: 0, rank: 1 };
  // A method takes a place; where it has another, the two change places (semicon_nb.results_state.placed)
  function placed(place, method) {
    const methods = [...shown.methods], before = methods.indexOf(method);
    if (method && before >= 0) methods[before] = methods[place];
    methods[place] = method;
    if (!methods.some(Boolean)) return show();
    const near = methods.includes(shown.method) ? shown.method : [method, ...methods].find(Boolean);
    return show({ methods, method: near, ...anew });
  }

  on("experiment", (name) => show({ ...experiment(name).opened, metric: shown.metric }));
  on("metric", (metric) => show({ metric, ...anew }));
  on("name", (name) => show({ name, ...anew }));
  on("method", (method) => show({ method, ...anew }));
  on("labels", (labels) => show({ labels: Number(labels), ...anew }));
  on("volume", async (k) => { shown.volume = Number(k); shown.rank = 1; await drawVolumes(); drawVolume(); });
  on("rank", (k) => { shown.rank = k + 1; drawSlice(); });
  shown.methods.forEach((_, k) => on(`place${k}`, (method) => placed(k, method)));

  const ready = Promise.all([semicon.plot("scores", data.figure), semicon.plot("strip", data.strip)]).then(([top, strip]) => {
    top.on("plotly_click", ({ points: [{ curveNumber, pointNumber }] }) => {
      const method = shown.methods[Math.floor(curveNumber / 3)];
      if (curveNumber % 3 === 1) show({ method, labels: now().shares.filter((f) => cell(method, f))[pointNumber], ...anew });
    });
    strip.on("plotly_click", ({ points: [{ curveNumber, pointNumber }] }) => { if (curveNumber === 0) semicon.put("volume", String(pointNumber)); });
    return show();
  });
  ready.catch(semicon.fail);
  return { ready, cell, state: () => ({ ...shown, volumes: ordered.map((v) => [v.volume, v.split, v.score]), slices: slices.map((s) => s.number) }) };
})();
