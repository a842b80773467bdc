// The page about the temperature: similarities, weights, forces and loss of any anchor, computed here from the stored embeddings.
"use strict";
const temperature = (() => {
  const { array, data, on } = semicon;
  const [height, width] = data.image.shape, pixels = height * width, rank = data.codes.shape[1];
  const image = array(data.image), labels = array(data.labels), codes = array(data.codes), tints = array(data.tints);
  let anchor = data.anchor, index = semicon.value("temperature");

  function similarities([row, column]) {
    const here = (row * width + column) * rank, found = new Float64Array(pixels), scale = data.step * data.step;
    for (let i = 0, j = 0; i < pixels; i++) {
      let sum = 0;
      for (let k = 0; k < rank; k++) sum += codes[j++] * codes[here + k];
      found[i] = Math.max(-1, Math.min(1, sum * scale));
    }
    return found;
  }

  // Weights, forces, loss and the numbers of one anchor at one temperature (semicon_nb.explore_temperature.felt)
  function felt(similarity, [row, column], t) {
    const here = row * width + column, label = labels[here], weight = new Float64Array(pixels), force = new Float64Array(pixels);
    let most = -Infinity, total = 0, count = 0, mean = 0;
    for (let i = 0; i < pixels; i++) if (i !== here) most = Math.max(most, similarity[i] / t);
    for (let i = 0; i < pixels; i++) if (i !== here) {
      total += weight[i] = Math.exp(similarity[i] / t - most);
      if (labels[i] === label) { count++; mean += similarity[i] / t; }
    }
    let positives = 0, entropy = 0, pushes = 0;
    const negatives = [];
    for (let i = 0; i < pixels; i++) if (i !== here) {
      const w = weight[i] /= total, same = labels[i] === label;
      if (w > 0) entropy -= w * Math.log(w);
      if (same) positives += w; else negatives.push(w);
      force[i] = (w - (same ? 1 / count : 0)) / t;
      if (force[i] > 0) pushes += force[i];
    }
    const ordered = Float64Array.from(negatives).sort();
    const top = Math.max(1, Math.floor(ordered.length / 100));
    let hard = 0, all = 0;
    ordered.forEach((w, i) => { all += w; if (i >= ordered.length - top) hard += w; });
    return { weight, force, positives, pushes, keys: Math.exp(entropy), hardest: ordered.length ? hard / Math.max(all, 1e-300) : NaN, loss: count ? most + Math.log(total) - mean / count : NaN };
  }

  function coloured(share, kind, marked) {
    const here = anchor[0] * width + anchor[1], rgb = new Uint8Array(3 * pixels), marks = new Uint8Array(pixels);
    for (let i = 0; i < pixels; i++) {
      const part = i === here ? 0 : share[i];
      for (let k = 0; k < 3; k++) rgb[3 * i + k] = Math.round((1 - part) * 0.45 * image[i] + part * tints[3 * kind[i] + k]);
      marks[i] = i === here ? data.marks[3] : marked[i] ? data.marks[kind[i]] : 0;
    }
    return { rgb, marks };
  }

  function strengths(values) {
    let most = 1e-300;
    for (const v of values) most = Math.max(most, v);
    return values.map((v) => 0.9 * Math.sqrt(v / most));
  }

  const pick = (row, column) => semicon.timed("anchor", () => { anchor = [row, column]; return move(); });
  const canvases = [0, 1].map((k) => pixelCanvas(document.getElementById("picture" + k), pick));
  let similarity = similarities(anchor), sweep = [];

  function spread(now) {
    const here = anchor[0] * width + anchor[1];
    let low = 1;
    for (const s of similarity) low = Math.min(low, s);
    if (!(low < 0.999)) low = 0.999;
    const n = data.bins, middles = [], positive = new Array(n).fill(0), negative = new Array(n).fill(0), share = new Array(n).fill(0);
    for (let b = 0; b < n; b++) middles.push(low + (b + 0.5) * (1 - low) / n);
    for (let i = 0; i < pixels; i++) if (i !== here && similarity[i] >= low) {
      const b = Math.min(n - 1, Math.floor((similarity[i] - low) / (1 - low) * n));
      share[b] += 1 / (pixels - 1);
      if (labels[i] === labels[here]) positive[b] += now.weight[i]; else negative[b] += now.weight[i];
    }
    return { middles, positive, negative, share };
  }

  const count = (x) => Math.round(x).toLocaleString("en-US");
  const digits = (x) => String(Number(x.toPrecision(3)));
  function facts(now, t) {
    return {
      "Temperature τ": digits(t),
      "Loss of this anchor": Number.isFinite(now.loss) ? now.loss.toFixed(3) : "none: no positive",
      "Weight on positives": (100 * now.positives).toFixed(1) + " %",
      "As if so many pixels were compared": now.keys >= 10 ? count(now.keys) : now.keys.toFixed(1),
      "Hardest 1 % of the negatives carry": Number.isFinite(now.hardest) ? (100 * now.hardest).toFixed(1) + " %" : "none there",
      "Sum of all pushes": digits(now.pushes),
    };
  }

  function told(now, t) {
    const label = labels[anchor[0] * width + anchor[1]];
    if (label === 0) return "Background: never an anchor in the loss. Pick a pixel inside an outline.";
    return `Anchor in row ${anchor[0]}, column ${anchor[1]}, ${data.classes[label]}, at temperature ${digits(t)}: ${(100 * now.positives).toFixed(0)} % of its attention on positives, spread over ${count(now.keys)} pixels. Arrow keys move the anchor.`;
  }

  // Draw everything that depends on the temperature
  function show() {
    const t = data.temperatures[index], here = anchor[0] * width + anchor[1], now = sweep[index] = sweep[index].weight ? sweep[index] : felt(similarity, anchor, t);
    const said = told(now, t), even = 1 / (pixels - 1), size = now.force.map(Math.abs);
    let mean = 0;
    for (const v of size) mean += v / pixels;
    const kinds = Array.from(labels, (label) => (label === labels[here] ? 1 : 2));
    const ways = Array.from(now.force, (f) => (f < 0 ? 1 : 2));
    canvases[0].draw({ height, width, labels, cursor: anchor, alt: `${data.headings[0]}. ${said}`, ...coloured(strengths(now.weight), kinds, now.weight.map((w) => (w > even ? 1 : 0))) });
    canvases[1].draw({ height, width, labels, cursor: anchor, alt: `${data.headings[1]}. ${said}`, ...coloured(strengths(size), ways, size.map((v) => (v > mean ? 1 : 0))) });
    document.getElementById("said").textContent = said;
    const table = Object.assign(document.createElement("table"), { className: "facts" });
    for (const [name, text] of Object.entries(facts(now, t))) {
      const line = table.insertRow();
      line.appendChild(Object.assign(document.createElement("th"), { scope: "row", textContent: name }));
      line.insertCell().textContent = text;
    }
    document.getElementById("facts").replaceChildren(table);
    const { middles, positive, negative, share } = spread(now);
    const ring = (k, values) => Plotly.restyle("curve" + k, { x: [[t]], y: [[values[index]]] }, [1]);
    return Promise.all([Plotly.restyle("bars", { x: [middles, middles, middles], y: [negative, positive, share] }), ring(0, keys()), ring(1, losses())]);
  }
  const keys = () => sweep.map((f) => f.keys), losses = () => sweep.map((f) => f.loss);

  // Another anchor: similarities, all temperatures, curves
  function move() {
    similarity = similarities(anchor);
    sweep = data.temperatures.map((t) => { const { keys, loss } = felt(similarity, anchor, t); return { keys, loss }; });
    return Promise.all([Plotly.restyle("curve0", { y: [keys()] }, [0]), Plotly.restyle("curve1", { y: [losses()] }, [0])]).then(show);
  }

  const ready = Promise.all([semicon.plot("bars", data.bars), semicon.plot("curve0", data.curves[0]), semicon.plot("curve1", data.curves[1])]).then(move);
  on("temperature", (value) => { index = value; return show(); });
  return { ready, felt: (row, column, t) => { const f = felt(similarities([row, column]), [row, column], t); return { ...f, weight: Array.from(f.weight), force: Array.from(f.force) }; }, state: () => ({ anchor, temperature: data.temperatures[index] }) };
})();
