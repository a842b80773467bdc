// PixelExplorer without a kernel: slices, map and likeness of the same pixels, linked.
"use strict";
(async () => {
  const S = semicon, D = S.data;
  const [slices, height, width] = D.shape;
  const area = height * width, total = slices * area;
  const down = Math.ceil(slices / D.across);
  const rows = down * (height + D.gap) - D.gap, columns = D.across * (width + D.gap) - D.gap;
  const sample = S.array(D.sample), grey = S.array(D.grey), labels = D.labels ? S.array(D.labels) : null;
  const numbers = { circle: 0, square: 1, diamond: 2, cross: 3, x: 4, "triangle-up": 5, "triangle-down": 6, star: 17 };
  const LIKE = "likeness to the anchor";

  // ---- places: a pixel is a position in the flattened stack
  const row = (p) => Math.floor((p % area) / width) + Math.floor(Math.floor(p / area) / D.across) * (height + D.gap);
  const column = (p) => (p % width) + (Math.floor(p / area) % D.across) * (width + D.gap);
  function pixelAt(r, c) {
    const a = Math.floor(r / (height + D.gap)), b = Math.floor(c / (width + D.gap));
    const y = r - a * (height + D.gap), x = c - b * (width + D.gap), s = a * D.across + b;
    return y < 0 || x < 0 || y >= height || x >= width || b >= D.across || s >= slices ? -1 : s * area + y * width + x;
  }
  function picture(values) {
    const whole = Array.from({ length: rows }, () => new Array(columns).fill(null));
    for (let p = 0; p < total; p++) whole[row(p)][column(p)] = values[p];
    return whole;
  }
  const xs = Array.from(sample, column), ys = Array.from(sample, row);

  // ---- what a stage knows, unpacked once
  const opened = new Map();
  function stage(name) {
    if (!opened.has(name)) {
      const raw = D.stages[name], vectors = S.array(raw.vectors), count = vectors.length / raw.dims;
      const length = new Float32Array(count);
      for (let p = 0; p < count; p++) { let sum = 0; for (let d = 0; d < raw.dims; d++) sum += vectors[p * raw.dims + d] ** 2; length[p] = Math.sqrt(sum) || 1; }
      const maps = {};
      for (const [method, map] of Object.entries(raw.maps)) {
        const places = S.array(map.places), x = new Float32Array(sample.length), y = new Float32Array(sample.length);
        for (let i = 0; i < sample.length; i++) { x[i] = places[2 * i] / 65535; y[i] = places[2 * i + 1] / 65535; }
        maps[method] = { x, y, kept: map.kept, note: map.note, numbers: map.numbers };
      }
      const colours = {};
      for (const [key, colour] of Object.entries({ ...D.shared, ...raw.colours })) colours[key] = { ...colour, values: S.array(colour.values) };
      opened.set(name, { raw, vectors, length, maps, colours });
    }
    return opened.get(name);
  }

  // ---- likeness: exp((cosine - 1) / temperature), on the pixels that have an embedding in this page
  const thinW = Math.ceil(width / D.step), thinH = Math.ceil(height / D.step);
  const thin = (p) => { const s = Math.floor(p / area), r = Math.floor((p % area) / width), c = p % width; return (s * thinH + Math.floor(r / D.step)) * thinW + Math.floor(c / D.step); };
  const thinOf = Int32Array.from({ length: total }, (_, p) => thin(p));
  const weights = new Float32Array(total);
  function compare(anchor, temperature) {
    const { raw, vectors, length } = stage(S.value("stage")), dims = raw.dims, a = thinOf[anchor], base = a * dims;
    const few = new Float32Array(length.length);
    for (let q = 0; q < few.length; q++) {
      let dot = 0;
      for (let d = 0, at = q * dims; d < dims; d++) dot += vectors[at + d] * vectors[base + d];
      few[q] = Math.min(1, Math.exp((dot / (length[q] * length[a]) - 1) / temperature));
    }
    for (let p = 0; p < total; p++) weights[p] = few[thinOf[p]];
    return weights;
  }

  // ---- markers
  const gl = (() => { try { return !!document.createElement("canvas").getContext("webgl"); } catch { return false; } })();
  function marker(colour, faint = false) {
    const value = new Float32Array(sample.length);
    if (S.value("colour") === LIKE) {
      for (let i = 0; i < sample.length; i++) value[i] = weights[sample[i]];
      return { color: value, colorscale: "Cividis", cmin: 0, cmax: 1, symbol: 0 };
    }
    for (let i = 0; i < sample.length; i++) value[i] = colour.values[sample[i]];
    if (!colour.names.length) return { color: value, colorscale: "Cividis", cmin: 0, cmax: 255, symbol: 0 };
    const n = colour.names.length, symbol = colour.symbols.map((s) => numbers[s]);
    const palette = colour.palette.map((c, i) => (faint && colour.names[i] === "background" ? c + "30" : c));
    const scale = palette.flatMap((c, i) => [[i / n, c], [(i + 1) / n, c]]);
    return { color: value, colorscale: scale, cmin: -0.5, cmax: n - 0.5, symbol: Array.from(value, (v) => symbol[v]) };
  }
  const restyled = (m) => ({ "marker.color": [m.color], "marker.colorscale": [m.colorscale], "marker.cmin": m.cmin, "marker.cmax": m.cmax, "marker.symbol": [m.symbol] });

  function showLegend(colour) {
    const like = S.value("colour") === LIKE;
    document.getElementById("colour-says").textContent = like ? "exp((cosine − 1) / temperature): 1 is the anchor itself" : colour.says;
    if (!like && colour.names.length) return S.legend("legend", colour.names.map((name, i) => ({ name, colour: colour.palette[i], symbol: colour.symbols[i] })));
    const ends = like ? [0, 1] : [colour.low, colour.high];
    document.getElementById("legend").innerHTML = `<li class="scale"><span>${ends[0].toFixed(2)}</span><i></i><span>${ends[1].toFixed(2)}</span></li>`;
  }

  // ---- figures
  const unselected = { marker: { opacity: 0.06 } }, selected = { marker: { opacity: 1 } };
  const points = (size, opacity) => ({ type: gl ? "scattergl" : "scatter", mode: "markers", x: [], y: [], marker: { size, opacity }, unselected, selected, hoverinfo: "none" });
  const circle = (r, color, width) => ({ type: "circle", xsizemode: "pixel", ysizemode: "pixel", x0: -r, x1: r, y0: -r, y1: r, xanchor: 0, yanchor: 0, visible: false, line: { color, width } });
  const ring = () => [circle(10, "#000000", 2), circle(8, "#ffffff", 2.5)]; // white in black: seen on any ground
  const ringAt = (place, x, y) => {
    const on = x !== null;
    const set = {};
    for (const k of [0, 1]) Object.assign(set, { [`shapes[${k}].visible`]: on }, on ? { [`shapes[${k}].xanchor`]: x, [`shapes[${k}].yanchor`]: y } : {});
    return Plotly.relayout(place, set);
  };
  const slice = () => ({ type: "heatmap", z: picture(grey), colorscale: [[0, "#000"], [1, "#fff"]], zmin: 0, zmax: 255, showscale: false, hoverinfo: "none" });
  const axes = {
    showlegend: false, hovermode: "closest", dragmode: "lasso", margin: { l: 4, r: 4, t: 28, b: 4 },
    xaxis: { visible: false, range: [-0.5, columns - 0.5], constrain: "domain" },
    yaxis: { visible: false, range: [rows - 0.5, -0.5], scaleanchor: "x", constrain: "domain" },
  };
  const free = { ...axes, xaxis: { showticklabels: false, zeroline: false, range: [-0.04, 1.04] }, yaxis: { showticklabels: false, zeroline: false, range: [-0.04, 1.04], scaleanchor: "x" } };
  const buttons = { modeBarButtonsToRemove: ["toImage", "autoScale2d", "hoverClosestCartesian", "hoverCompareCartesian", "toggleSpikelines"] };
  const show = { sl: document.getElementById("slices"), map: document.getElementById("map"), like: document.getElementById("likeness") };
  await Promise.all([
    S.plot("slices", { data: [slice(), points(5, 0.55)], layout: { ...axes, shapes: ring() } }, buttons),
    S.plot("map", { data: [points(5, 0.75)], layout: { ...free, shapes: ring() } }, buttons),
    S.plot("likeness", { data: [slice(), { type: "heatmap", z: picture(weights), zmin: 0, zmax: 1, colorscale: D.glow, hoverinfo: "none",
      colorbar: { thickness: 9, len: 0.95, tickvals: [0, 0.5, 1], outlinewidth: 0, xpad: 4 } }], layout: { ...axes, shapes: ring(), dragmode: "pan", margin: { l: 4, r: 30, t: 28, b: 4 } } }, buttons),
  ]);

  // Points on the slices are as large as the slices' pixels
  const tall = [show.sl, show.like].map((place) => [place, place.clientHeight]);
  function fit() {
    for (const [place, most] of tall) {
      const wanted = Math.round(Math.min(most, ((place.clientWidth - (place === show.like ? 40 : 8)) * rows) / columns + 34));
      if (wanted > 60 && Math.abs(wanted - place.clientHeight) > 3) {
        place.style.height = wanted + "px";
        Plotly.Plots.resize(place).then(() => Plotly.relayout(place, { "xaxis.domain": [0, 1], "yaxis.domain": [0, 1] })); // plotly keeps the smallest it ever had
      }
    }
    const axis = show.sl._fullLayout && show.sl._fullLayout.xaxis;
    const size = axis ? Math.max(3, Math.min(14, axis._length / columns)) : 5;
    if (Math.abs(size - show.sl.data[1].marker.size) > 0.4) Plotly.restyle(show.sl, { "marker.size": size }, [1]);
  }
  new ResizeObserver(() => requestAnimationFrame(fit)).observe(show.sl);

  // ---- state and words
  let anchor = sample[Math.floor(sample.length / 2)], chosen = null;
  if (labels) { const firsts = sample.filter((p) => labels[p] > 0); if (firsts.length) anchor = firsts[Math.floor(firsts.length / 2)]; }
  const percent = (v) => (100 * v).toFixed(0) + " %";

  function describe() {
    const temperature = D.temperatures[S.value("tau")];
    const s = Math.floor(anchor / area), r = Math.floor((anchor % area) / width), c = anchor % width;
    let text = `Anchor: slice ${s + 1}, row ${r}, column ${c}`;
    if (labels) {
      let same = 0, all = 0, alike = 0;
      for (let p = 0; p < total; p++) { if (labels[p] === labels[anchor]) alike++; if (p !== anchor) { all += weights[p]; if (labels[p] === labels[anchor]) same += weights[p]; } }
      const own = D.names[labels[anchor]];
      text += `, ${own}. At temperature ${temperature}, ${percent(same / (all || 1))} of the loss's attention falls on ${own}; spread evenly it would be ${percent(alike / total)}.`;
    } else text += ".";
    document.getElementById("said-anchor").textContent = text;
  }

  function tell() {
    const place = document.getElementById("said-selection");
    if (!chosen) { place.textContent = "Nothing is selected: draw a lasso or a box on the slices or on the map."; return; }
    let text = `${chosen.length.toLocaleString("en")} of ${sample.length.toLocaleString("en")} shown pixels are lit`;
    if (labels && chosen.length) {
      const counts = D.names.map(() => 0);
      for (const i of chosen) counts[labels[sample[i]]]++;
      text += ": " + counts.map((n, k) => [n, D.names[k]]).filter(([n]) => n).sort((a, b) => b[0] - a[0]).map(([n, name]) => `${n.toLocaleString("en")} ${name} (${percent(n / chosen.length)})`).join(", ");
    }
    place.textContent = text + ".";
  }

  function table() {
    const { maps } = stage(S.value("stage"));
    const dash = (v) => (v === null ? "–" : v.toFixed(2));
    document.querySelector("#numbers tbody").replaceChildren(...maps[S.value("method")].numbers.map((n) => {
      const line = document.createElement("tr");
      for (const [k, text] of [n.name, dash(n.value), dash(n.control), n.reads].entries()) line.appendChild(document.createElement(k ? "td" : "th")).textContent = text;
      line.firstChild.scope = "row";
      return line;
    }));
  }

  // ---- redrawing
  let ringed = "";
  function drawLikeness() {
    compare(anchor, D.temperatures[S.value("tau")]);
    describe();
    const work = [Plotly.restyle(show.like, { z: [picture(weights)] }, [1])];
    const near = sample.indexOf(anchor), key = [anchor, S.value("stage"), S.value("method")].join();
    if (key !== ringed) { // the temperature alone moves no ring
      ringed = key;
      const map = stage(S.value("stage")).maps[S.value("method")];
      work.push(ringAt(show.like, column(anchor), row(anchor)), ringAt(show.sl, column(anchor), row(anchor)), ringAt(show.map, near < 0 ? null : map.x[near], near < 0 ? null : map.y[near]));
    }
    if (S.value("colour") === LIKE) { const look = restyled(marker()); work.push(Plotly.restyle(show.sl, look, [1]), Plotly.restyle(show.map, look, [0])); }
    return Promise.all(work);
  }
  function drawPoints() {
    const now = stage(S.value("stage")), map = now.maps[S.value("method")], colour = now.colours[S.value("colour")];
    const look = restyled(marker(colour)), faint = restyled(marker(colour, true));
    showLegend(colour);
    table();
    const kept = map.note ? map.note : S.value("method") === "PCA" ? `PCA keeps ${percent(map.kept)} of the variance.` : "UMAP: only who is near whom means anything, not distances between islands nor their sizes.";
    S.note("map-note", `${D.sentence} ${kept}`);
    S.note("likeness-note", `Reckoned from ${now.raw.dims} of the embedding's dimensions in one byte each (they keep ${percent(now.raw.kept)}); cosines are right to ${now.raw.error.toFixed(3)} in 95 of 100 cases.` + (D.step > 1 ? ` Only every ${D.step}-th row and column has an embedding in this page; its neighbours share it.` : ""));
    return Promise.all([Plotly.restyle(show.sl, { x: [xs], y: [ys], ...faint }, [1]), Plotly.restyle(show.map, { x: [map.x], y: [map.y], ...look }, [0])]);
  }
  function select(indices) {
    chosen = indices && indices.length ? indices : null;
    tell();
    return Promise.all([Plotly.restyle(show.sl, { selectedpoints: [chosen] }, [1]), Plotly.restyle(show.map, { selectedpoints: [chosen] }, [0])]);
  }

  // ---- what the reader does
  S.on("stage", () => Promise.all([drawPoints(), drawLikeness()]));
  S.on("method", () => Promise.all([drawPoints(), drawLikeness()]));
  S.on("colour", drawPoints);
  S.on("tau", drawLikeness);
  S.on("anchor", (i) => { anchor = sample[i]; document.getElementById("follow").checked = false; return drawLikeness(); });
  S.on("light", (name) => { const k = D.names.indexOf(name); return select(k < 0 ? null : Array.from(sample.keys()).filter((i) => labels[sample[i]] === k)); });
  S.on("follow", () => {});
  S.on("clear", () => { for (const e of [show.sl, show.map]) Plotly.relayout(e, { selections: [] }); document.getElementById("light").value = "nothing"; return select(null); });

  function under(point, element) {
    const trace = point.curveNumber;
    if (element === show.map) return trace === 0 ? sample[point.pointNumber] : -1;
    if (element === show.sl && trace === 1) return sample[point.pointNumber];
    return pixelAt(Math.round(point.y), Math.round(point.x));
  }
  let waiting = -1, under_way = false;
  async function move(pixel) {
    if (pixel < 0 || pixel === anchor) return;
    waiting = pixel;
    if (under_way) return;
    under_way = true;
    while (waiting >= 0) { anchor = waiting; waiting = -1; await S.timed("hover", drawLikeness); }
    under_way = false;
  }
  for (const element of Object.values(show)) {
    element.on("plotly_hover", (event) => { if (S.value("follow")) move(under(event.points[0], element)); });
    element.on("plotly_click", (event) => { document.getElementById("follow").checked = false; move(under(event.points[0], element)); });
  }
  let ignore = false;
  for (const [element, trace] of [[show.sl, 1], [show.map, 0]]) {
    element.on("plotly_selected", (event) => {
      if (!event) return;
      const lit = event.points.filter((p) => p.curveNumber === trace).map((p) => p.pointNumber).sort((a, b) => a - b);
      // The line that was drawn goes away: plotly would ask it again, a little differently, whenever the page changes its size
      S.timed("lasso", async () => { ignore = true; await Plotly.relayout(element, { selections: [] }); ignore = false; await select(lit); });
    });
    element.on("plotly_deselect", () => { if (!ignore) select(null); });
  }

  await Promise.all([drawPoints(), drawLikeness()]);
  fit();
  tell();
  S.state = () => ({ anchor, chosen, weights });
  document.body.dataset.ready = "true";
})().catch(semicon.fail);
