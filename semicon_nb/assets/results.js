// The page about results: means and intervals over splits, the volumes behind a point, the slices behind a volume.
"use strict";
const results = (() => {
  const { array, data, on, put, value } = semicon;
  const names = ["mean", ...data.classes], runs = data.method.length;
  const scores = array(data.scores), which = array(data.which), dice = array(data.dice), hd95 = array(data.hd95);
  const first = [];
  data.counts.reduce((sum, count) => { first.push(sum); return sum + count; }, 0);
  const unpack = ([values, lengths], size) => {
    const found = new Uint8Array(size), v = array(values), n = array(lengths);
    for (let i = 0, at = 0; i < v.length; i++) { found.fill(v[i], at, at + n[i]); at += n[i]; }
    return found;
  };
  const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
  const finite = Number.isFinite;

  // Mean, half width of the 95 % t-interval and the splits of one method at one labelled fraction (semicon_nb.explore_results.points)
  function point(method, labels, measure, name) {
    const splits = new Map();
    for (let r = 0; r < runs; r++) {
      if (data.method[r] !== method || data.labels[r] !== labels) continue;
      const score = scores[(r * data.measures.length + measure) * names.length + name];
      if (finite(score)) splits.set(data.split[r], [...(splits.get(data.split[r]) || []), score]);
    }
    const values = [...splits.values()].map(mean), n = values.length;
    if (!n) return null;
    const middle = mean(values), spread = Math.sqrt(values.reduce((sum, v) => sum + (v - middle) ** 2, 0) / Math.max(n - 1, 1));
    return { mean: middle, half: n > 1 ? data.quantiles[n] * spread / Math.sqrt(n) : NaN, values };
  }

  function spoken(p) {
    const n = p.values.length;
    return `${p.mean.toFixed(3)}${finite(p.half) ? " ± " + p.half.toFixed(3) : ""} over ${n} split${n > 1 ? "s" : ""}`;
  }

  const shown = () => data.methods.map((_, k) => value("method" + k));
  const measure = () => Number(value("measure")), name = () => Number(value("name"));

  function drawScores() {
    const update = { x: [], y: [], text: [], visible: [], "error_y.array": [] }, seen = shown();
    data.methods.forEach((method, k) => {
      const found = data.fractions.map((labels, i) => ({ x: i + data.across[k], p: point(method, labels, measure(), name()), labels })).filter((f) => f.p);
      update.x.push(found.flatMap((f) => f.p.values.map(() => f.x - 0.035)), found.map((f) => f.x));
      update.y.push(found.flatMap((f) => f.p.values), found.map((f) => f.p.mean));
      update.text.push(null, found.map((f) => `${method}, ${+(100 * f.labels).toPrecision(3)} %<br>${spoken(f.p)}`));
      update.visible.push(seen[k], seen[k]);
      update["error_y.array"].push(null, found.map((f) => (finite(f.p.half) ? f.p.half : 0)));
    });
    return Plotly.restyle("scores", update).then(() => Plotly.relayout("scores", { "yaxis.title.text": data.measureNames[measure()], "yaxis.autorange": true }));
  }

  // The volumes of one method at one labelled fraction, worst first
  function volumes() {
    const method = data.methods[Number(value("closer"))], labels = data.fractions[Number(value("labels"))], table = data.measures[measure()] === "hd95" ? hd95 : dice;
    const found = [], C = data.classes.length;
    for (let r = 0; r < runs; r++) {
      if (data.method[r] !== method || data.labels[r] !== labels) continue;
      for (let i = first[r]; i < first[r] + data.counts[r]; i++) {
        const row = Array.from(table.subarray(i * C, (i + 1) * C));
        const known = (name() === 0 ? row : [row[name() - 1]]).filter(finite);
        if (known.length) found.push({ volume: data.volumes[which[i]][0], subject: data.volumes[which[i]][1], split: data.split[r], seed: data.seed[r], score: mean(known), at: i, method, labels });
      }
    }
    const sign = table === hd95 ? -1 : 1;
    return found.sort((a, b) => sign * (a.score - b.score));
  }

  let ordered = [], chosen = 0, slices = [];
  async function closer() {
    ordered = volumes();
    chosen = 0;
    const menu = document.getElementById("volume");
    menu.replaceChildren(...(ordered.length ? ordered.map((v, k) => new Option(`${v.subject}: ${v.volume}, split ${v.split} (${v.score.toFixed(3)})`, k)) : [new Option("none: no such run", 0)]));
    const splits = [...new Set(ordered.map((v) => v.split))].sort((a, b) => a - b), far = data.measures[measure()] === "hd95";
    const looks = ordered.map((v) => data.looks[(splits.indexOf(v.split) + 2) % data.looks.length]);
    await Plotly.restyle("strip", { x: [ordered.map((_, k) => k + 1)], y: [ordered.map((v) => v.score)], text: [ordered.map((v) => `${v.subject}: ${v.volume}<br>split ${v.split}, seed ${v.seed}: ${v.score.toFixed(3)}`)], "marker.color": [looks.map((l) => l[0])], "marker.symbol": [looks.map((l) => l[1])] }, [0]);
    const axis = far ? { "yaxis.autorange": true } : { "yaxis.range": [-0.04, 1.04] };
    await Plotly.relayout("strip", { "xaxis.range": [0.3, ordered.length + 0.7], "yaxis.title.text": far ? "HD95 of the volume (mm)" : "Dice of the volume", ...axis });
    return volume();
  }

  function cell(line, text, head) {
    const made = document.createElement(head ? "th" : "td");
    made.textContent = text;
    if (head) made.scope = head;
    line.appendChild(made);
  }

  async function volume() {
    const v = ordered[chosen], place = document.getElementById("volume-table");
    await Plotly.restyle("strip", { x: [v ? [chosen + 1] : []], y: [v ? [v.score] : []] }, [1]);
    place.replaceChildren();
    if (!v) { place.textContent = "No run of this method at this labelled fraction."; slices = []; return picture(); }
    const table = document.createElement("table");
    table.createCaption().textContent = `${v.subject}: ${v.volume}, split ${v.split}, seed ${v.seed}`;
    const head = table.createTHead().insertRow();
    for (const text of ["class", "Dice", "HD95 (mm)"]) cell(head, text, "col");
    const body = table.createTBody(), C = data.classes.length;
    data.classes.forEach((label, c) => {
      const line = body.insertRow(), d = dice[v.at * C + c], h = hd95[v.at * C + c];
      cell(line, label, "row");
      cell(line, finite(d) ? d.toFixed(3) : "not there");
      cell(line, finite(h) ? h.toFixed(1) : "not there");
    });
    place.appendChild(table);
    slices = data.slices.filter((s) => s.method === v.method && s.labels === v.labels && s.split === v.split && s.seed === v.seed && s.volume === v.volume);
    const slider = document.getElementById("rank");
    slider.max = Math.max(0, slices.length - 1);
    slider.dataset.shown = JSON.stringify(slices.map((_, k) => String(k + 1)));
    slider.value = 0;
    slider.parentElement.querySelector("output").textContent = slices.length ? "1" : "";
    return picture();
  }

  const canvas = pixelCanvas(document.getElementById("picture0"), null);
  const tints = array(data.tints), shares = [0.35, 0.75, 0.75, 0.75], kindMarks = [0, 2, 1, 6];
  function picture() {
    const rank = Number(value("rank")), s = slices[rank];
    document.getElementById("rank-control").hidden = slices.length < 2;
    canvas.canvas.hidden = !s;
    canvas.canvas.style.display = s ? "block" : "none";
    if (!s) { document.getElementById("said").textContent = data.slices.length ? "No slice of this volume is in this page: it holds the worst slices of kept runs only." : "No slices to look at: a results file holds numbers only. Pass runs=[RUN folder, ...] of runs that were kept."; return; }
    const size = s.height * s.width, image = array(s.image), truth = unpack(s.truth, size), predicted = unpack(s.predicted, size);
    const rgb = new Uint8Array(3 * size), marks = new Uint8Array(size), counts = [0, 0, 0, 0];
    for (let i = 0; i < size; i++) {
      const kind = truth[i] === predicted[i] ? 0 : !predicted[i] ? 1 : !truth[i] ? 2 : 3, there = truth[i] || predicted[i], share = there ? shares[kind] : 0;
      counts[kind]++;
      for (let c = 0; c < 3; c++) rgb[3 * i + c] = Math.round((1 - share) * image[i] + share * tints[3 * kind + c]);
      marks[i] = there ? kindMarks[kind] : 0;
    }
    const said = `Slice ${s.number} of ${s.volume}, rank ${rank + 1} of ${slices.length} from the worst, Dice ${s.dice.toFixed(2)}: ${counts[1]} pixels missed (orange −), ${counts[2]} invented (blue +), ${counts[3]} of the wrong class (pink \\). White: the true outline.`;
    canvas.draw({ height: s.height, width: s.width, rgb, marks, labels: truth, alt: said });
    document.getElementById("said").textContent = said;
  }

  const ready = Promise.all([semicon.plot("scores", data.figure), semicon.plot("strip", data.strip)]).then(([top, strip]) => {
    top.on("plotly_click", (event) => {
      const { curveNumber, pointNumber } = event.points[0], k = Math.floor(curveNumber / 2), method = data.methods[k];
      if (curveNumber % 2 === 0) return;
      const mine = data.fractions.filter((labels) => point(method, labels, measure(), name()));
      document.getElementById("labels").value = String(data.fractions.indexOf(mine[pointNumber]));
      put("closer", String(k));
    });
    strip.on("plotly_click", (event) => { if (event.points[0].curveNumber === 0) put("volume", String(event.points[0].pointNumber)); });
    return closer();
  });
  const everything = () => drawScores().then(closer);
  on("measure", everything);
  on("name", everything);
  data.methods.forEach((_, k) => on("method" + k, drawScores));
  on("closer", closer);
  on("labels", closer);
  on("volume", (next) => { chosen = Number(next); return volume(); });
  on("rank", picture);
  return { ready, point, state: () => ({ volumes: ordered.map((v) => [v.volume, v.split, v.score]), chosen, slices: slices.map((s) => s.number) }) };
})();
