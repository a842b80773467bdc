// The tables' means and intervals, the volumes behind a point, the slices behind a volume of a kept run.
"use strict";

// Of pixels that are right, missed, invented, and of the wrong class: tint, mark (none, minus, plus, backslash), and how much of the
// tint covers the slice
const FOUND = [["#7fb77e", 0, 0.35], ["#d92b2b", 2, 0.75], ["#f2d13c", 1, 0.75], ["#ffffff", 6, 0.75]];

// The values moved apart until labels have room (semicon_nb.explore.results.spread)
function apart(values, low, high, gap) {
  const order = values.map((_, k) => k).sort((a, b) => values[a] - values[b]), found = order.map((k) => values[k]), n = found.length;
  for (let k = 0; k < n; k++) found[k] = Math.max(found[k], k ? found[k - 1] + gap : low);
  for (let k = n - 1; k >= 0; k--) found[k] = Math.min(found[k], k + 1 < n ? found[k + 1] - gap : high);
  return values.map((_, k) => found[order.indexOf(k)]);
}

function explorer(root, data, host) {
  root.className = "semicon-scene";
  const finite = Number.isFinite, percent = (labels) => `${+(100 * labels).toPrecision(6)} %`, tints = FOUND.map(([tint]) => bytesOf(tint));
  const experiments = Object.fromEntries(data.experiments.map((e) => [e.name, { ...e, dice: unpack(e.dice), hd95: unpack(e.hd95) }]));
  let shown = { ...data.state }, ordered = [], slices = [];
  const now = () => experiments[shown.experiment];

  // What the tables say of a method at a labelled share (semicon_nb.explore.results_state.Cell); undefined where it was not run
  const cell = (method, labels) => now().cells[shown.metric][shown.name].find((c) => c.method === method && c.labels === labels);
  const cellsOf = (method) => now().shares.map((share) => cell(method, share)).filter(Boolean);
  const scored = (experiment, metric) => experiment.cells[metric].mean.length > 0; // whether any run of it has this score
  const rooms = () => now().rooms[shown.metric][shown.name];
  const title = () => `${now().names[shown.metric]}, ${shown.name === "mean" ? "mean of the classes" : shown.name}`;

  // ---- what is drawn
  const table = (caption, heads, rows, nothing) => (rows.length ? make("table", {}, make("caption", { text: caption }),
    make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", text })))),
    make("tbody", {}, ...rows.map(([first, ...rest]) => make("tr", {}, make("th", { scope: "row", text: first }), ...rest.map((text) => make("td", { text })))))) : nothing);
  const held = (label) => make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label });
  const scores = make("div"), strip = make("div"), numbers = held("The scores as numbers"), volumeTable = held("Scores of the volume"), three = facts();
  const picture = make("div"), said = make("p", { class: "said" }), marked = make("p", { class: "note" }), canvas = pixelCanvas(picture, null);
  const charts = [
    chart(scores, data.tall, "Means with 95 % intervals, a line for each method", (line, point) => { const [method, each] = lines()[line]; host.timed("scores", () => show({ method, labels: each[point].labels, ...anew })); }),
    chart(strip, 330, "Scores of the test volumes, worst first", (_, point) => host.timed("strip", () => show({ volume: point, rank: 0 }))),
  ];
  const lines = () => shown.methods.map((method) => [method, cellsOf(method)]);

  function drawScores() {
    const e = now(), mine = lines(), all = mine.flatMap(([, each]) => each);
    const ends = all.flatMap((c) => [...c.scores, c.mean - (c.half || 0), c.mean + (c.half || 0)]);
    const [least, most] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1], room = 0.06 * (most - least) || 0.05, [low, high] = [least - room, most + room];
    const heights = apart(mine.filter(([, each]) => each.length).map(([, each]) => each.at(-1).mean), low, high, (high - low) * data.line);
    charts[0].draw({
      x: { title: "labelled share", range: [-0.45, e.shares.length - 0.55], names: e.shares.map(percent) }, y: { title: title(), range: [low, high] }, right: 118,
      lines: mine.map(([method, each], place) => {
        const [colour, symbol, dash] = data.looks[place], x = each.map((c) => e.shares.indexOf(c.labels) + data.side[place]);
        return { x, y: each.map((c) => c.mean), colour, symbol, dash, texts: each.map((c) => c.words), halves: each.map((c) => c.half || 0),
          dots: each.flatMap((c, i) => c.scores.map((score) => [x[i], score])), label: each.length && { text: e.texts[e.methods.indexOf(method)], at: heights.shift() } };
      }),
      rings: mine.flatMap(([method, each], place) => each.filter((c) => method === shown.method && c.labels === shown.labels).map((c) => [e.shares.indexOf(c.labels) + data.side[place], c.mean])),
    });
    const rows = e.shares.flatMap((share) => shown.methods.map((method) => cell(method, share)).filter(Boolean))
      .map((c) => [percent(c.labels), c.method, c.text, c.splits, c.difference_text || "–", c.difference_splits || "–"]);
    const heads = ["labelled", "method", "mean", "splits", `− ${data.baseline}`, "on splits"];
    numbers.replaceChildren(table(title(), heads, rows.length ? [...rows, ...rooms()] : [], `No run has ${now().names[shown.metric]}.`));
    const at = percent(shown.labels), found = cell(shown.method, shown.labels), head = `headroom of ${data.baseline}`;
    const room95 = found && rooms().find((line) => line[0] === at && line[1] === head);
    three.draw({ [`${shown.method} at ${at.replace(" ", "\u00a0")}`]: found?.text || "–", [`gain over ${data.baseline}`]: found?.difference_text || "–", [head]: room95?.[2] || "–" });
  }

  // Whether the scores of a run's volumes are those behind the score that is shown: they are of test people, in the method's own way
  const behind = (averages) => shown.metric !== "validation" && (!/_slice_by_slice$|_with_neighbours$/.test(shown.metric) || shown.metric.endsWith("_with_neighbours") === averages);

  // The volumes of one method at one labelled share, worst first
  function volumes() {
    const e = now(), far = shown.metric === "hd95", C = e.classes.length, one = e.classes.indexOf(shown.name), found = [];
    e.volumes.forEach(([run, volume, subject], i) => {
      const [method, labels, split, seed, averages] = e.runs[run];
      if (method !== shown.method || labels !== shown.labels || !behind(averages)) return;
      const each = Array.from((far ? e.hd95 : e.dice).subarray(i * C, (i + 1) * C)), known = (one < 0 ? each : [each[one]]).filter(finite);
      const own = volume.startsWith(subject) ? volume : `${subject}: ${volume}`;
      if (known.length) found.push({ i, run: Number(run), volume, split, name: `${own}, split ${split}, seed ${seed}`, score: known.reduce((a, b) => a + b, 0) / known.length });
    });
    return found.sort((a, b) => (far ? -1 : 1) * (a.score - b.score));
  }

  function drawVolumes() {
    const splits = [...new Set(ordered.map((v) => v.split))].sort((a, b) => a - b), far = shown.metric === "hd95";
    const place = Math.max(0, shown.methods.indexOf(shown.method)), y = ordered.map((v) => v.score);
    charts[1].draw({
      x: { title: "test volumes, worst first", whole: true, range: [0.2, ordered.length + 0.8] },
      y: far ? { title: `HD95 of the volume (${now().unit})`, range: [0, 1.06 * Math.max(1, ...y)] } : { title: "Dice of the volume", range: [-0.04, 1.04] },
      lines: [{ bare: true, size: 9, x: y.map((_, k) => k + 1), y, colour: data.looks[place][0], symbols: ordered.map((v) => data.symbols[splits.indexOf(v.split) % data.symbols.length]), texts: ordered.map((v) => `${v.name}: ${v.score.toFixed(3)}`) }],
      rings: y.slice(shown.volume, shown.volume + 1).map((score) => [shown.volume + 1, score]),
    });
    const v = ordered[shown.volume], e = now(), C = e.classes.length, digits = (number, places) => (finite(number) ? number.toFixed(places) : "not there");
    const rows = v ? e.classes.map((name, c) => [name, digits(e.dice[v.i * C + c], 3), digits(e.hd95[v.i * C + c], 1)]) : [];
    volumeTable.replaceChildren(table(v?.name, ["class", "Dice", e.names.hd95], rows, "No volumes lie behind this score."));
    marked.textContent = ordered.length ? "A marker for each split." : "Volumes are kept with the scores of test people, each method predicting in its own way. None lie behind this score.";
    slices = v ? data.slices.filter((s) => s.run === v.run && s.volume === v.volume) : [];
    const most = v ? data.slices.filter((s) => s.run === v.run).length : 0;
    sheet.hidden = !most;
    picture.hidden = !slices.length;
    said.textContent = most ? `None of its slices is among the ${inWords(most)} worst of this run, which are kept.` : "";
    controls.rank.element.hidden = slices.length < 2;
    controls.rank.set(slices.map((_, k) => String(k + 1)), shown.rank);
    if (slices.length) drawSlice();
  }

  function drawSlice() {
    const s = slices[shown.rank], [height, width] = s.image.shape, size = height * width, truth = unrolled(s.truth, size), predicted = unrolled(s.predicted, size);
    const kinds = truth.map((label, i) => (label === predicted[i] ? 0 : !predicted[i] ? 1 : !label ? 2 : 3)), there = (i) => truth[i] || predicted[i];
    const [, missed, invented, wrong] = FOUND.map((_, kind) => kinds.reduce((sum, k) => sum + (k === kind), 0));
    said.textContent = `Slice ${s.number} of ${s.volume}, rank ${shown.rank + 1} of ${s.of} from the worst, Dice ${s.dice.toFixed(2)}: ${inWords(missed)} ${missed === 1 ? "pixel" : "pixels"} missed (red −), ${inWords(invented)} invented (yellow +), ${inWords(wrong)} of the wrong class (white \\). Light line: the true outline.`;
    canvas.draw({ height, width, rgb: paint(unpack(s.image), kinds, tints, (i) => (there(i) ? FOUND[kinds[i]][2] : 0)), marks: kinds.map((kind, i) => (there(i) ? FOUND[kind][1] : 0)), labels: truth, alt: said.textContent });
  }

  // ---- what the reader chooses
  const anew = { volume: 0, rank: 0 };
  const choose = (name, label, heard = (value) => show({ [name]: value, ...anew })) => menu(host, name, label, [], null, heard);
  const controls = {
    experiment: choose("experiment", "Experiment", (name) => show({ ...experiments[name].opened, ...(scored(experiments[name], shown.metric) && { metric: shown.metric }) })), metric: choose("metric", "Score"), name: choose("name", "Class"),
    method: choose("method", "Volumes of"), labels: choose("labels", "Labelled"), volume: choose("volume", "Volume", (volume) => show({ volume, rank: 0 })),
    rank: slider(host, "rank", "Slice, worst first", ["1"], 0, (rank) => { shown.rank = rank; drawSlice(); host.changed({ ...shown }); }),
  };
  const places = shown.methods.map((_, k) => choose(`place${k}`, ` Method ${k + 1}`, (method) => placed(k, method)));
  places.forEach(({ element }, k) => {
    const mark = svg("svg", { viewBox: "0 0 14 14", width: 12, height: 12, fill: data.looks[k][0], "aria-hidden": "true" });
    mark.innerHTML = markerShapes[data.looks[k][1]];
    element.firstChild.prepend(mark);
  });
  // A method takes a place; where it has another, the two change places
  function placed(place, method) {
    const methods = [...shown.methods], before = methods.indexOf(method);
    if (method && before >= 0) methods[before] = methods[place];
    methods[place] = method;
    if (!methods.some(Boolean)) return show();
    return show({ methods, method: methods.includes(shown.method) ? shown.method : [method, ...methods].find(Boolean), ...anew });
  }
  function fill() {
    const e = now();
    controls.experiment.set(Object.keys(experiments).map((name) => [name, name || "not named"]), shown.experiment);
    controls.metric.set(Object.entries(e.names).filter(([name]) => scored(e, name) || name === shown.metric), shown.metric);
    controls.name.set([["mean", "mean of the classes"], ...e.classes.map((c) => [c, c])], shown.name);
    places.forEach((place, k) => place.set([["", "none"], ...e.methods.map((m) => [m, m])], shown.methods[k]));
    controls.method.set(shown.methods.filter(Boolean).map((m) => [m, m]), shown.method);
    controls.labels.set(e.shares.map((share) => [share, percent(share)]), shown.labels);
    controls.volume.set(ordered.length ? ordered.map((v, k) => [k, `${v.name} (${v.score.toFixed(3)})`]) : [[0, "none"]], shown.volume);
  }
  function show(changes = {}) {
    shown = { ...shown, ...changes };
    ordered = volumes();
    fill();
    drawScores();
    drawVolumes();
    host.changed({ ...shown });
  }

  const row = (label, ...some) => make("div", { class: "controls", role: "group", "aria-label": label }, ...some.map((one) => one.element));
  const sheet = part("Its slices", controls.rank.element, picture, said);
  root.append(
    row("What is shown", controls.experiment, controls.metric, controls.name), row("Methods", ...places),
    make("div", { class: "row halves free" }, part("Score against labelled share", scores), part("In three numbers", three.element, make("p", { class: "note", text: data.rule }), make("details", {}, make("summary", { text: "All numbers" }), make("div", { class: "scores" }, numbers)))),
    row("Look closer", controls.method, controls.labels, controls.volume),
    make("div", { class: "row down" }, part("The volumes behind one point", strip, marked), part("The volume", volumeTable), sheet),
  );
  show();
  return {
    state: () => ({ ...shown }), put: (state) => show(state), cell, charts: () => charts.map((c) => c.now()),
    stop: () => [canvas, ...charts].forEach((one) => one.stop()),
    volumes: () => ordered.map((v) => [v.volume, v.split, v.score]), slices: () => slices.map((s) => s.number), marks: () => Array.from(canvas.now().marks),
  };
}
