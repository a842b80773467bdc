// The page that compares strategies: masks of any anchor from the labels and each stop's map of groups.
"use strict";
const strategies = (() => {
  const { array, data, on, put, value } = semicon;
  const [height, width] = data.image.shape;
  const image = array(data.image), labels = array(data.labels), tints = array(data.tints);
  const panels = data.panels.map((panel) => ({ ...panel, stops: panel.stops.map((stop) => ({ ...stop, groups: array(stop.groups) })) }));
  let anchor = data.anchor;
  const shown = panels.map((panel) => panel.start);

  // What the anchor meets: 0 never compared, 1 positive, 2 negative, 3 the anchor (the rule of semicon_nb.strategies)
  function compared(groups, row, column) {
    const here = row * width + column, seen = new Int8Array(height * width);
    if (labels[here] === 0 || groups[here] < 0) return seen;
    for (let i = 0; i < seen.length; i++) if (groups[i] === groups[here]) seen[i] = labels[i] === labels[here] ? 1 : 2;
    seen[here] = 3;
    return seen;
  }

  function painted(seen) {
    const rgb = new Uint8Array(3 * seen.length), marks = new Uint8Array(seen.length);
    for (let i = 0; i < seen.length; i++) {
      const kind = seen[i], share = data.shares[kind];
      for (let k = 0; k < 3; k++) rgb[3 * i + k] = Math.round((1 - share) * image[i] + share * tints[3 * kind + k]);
      marks[i] = data.marks[kind];
    }
    return { rgb, marks };
  }

  function told(seen) {
    const here = anchor[0] * width + anchor[1];
    if (labels[here] === 0) return "Background: never an anchor. Pick a pixel inside an outline.";
    if (!seen.includes(3)) return "Not kept: this pixel takes no part in the loss.";
    let positive = 0, negative = 0;
    const there = new Set(), met = new Set();
    for (let i = 0; i < seen.length; i++) {
      positive += seen[i] === 1; negative += seen[i] === 2;
      there.add(labels[i]);
      if (seen[i]) met.add(labels[i]);
    }
    let same = 0;
    for (const label of labels) same += label === labels[here];
    const missed = [...there].filter((k) => !met.has(k)).sort((a, b) => a - b).map((k) => data.classes[k]);
    const n = (x) => x.toLocaleString("en-US");
    return `Sees ${n(positive)} of ${n(same - 1)} positives and ${n(negative)} of ${n(seen.length - same)} negatives.` + (missed.length ? ` Never meets: ${missed.join(", ")}.` : "");
  }

  const canvases = panels.map((_, k) => pixelCanvas(document.getElementById("picture" + k), (row, column) => {
    semicon.timed("anchor", () => { anchor = [row, column]; panels.forEach((_, j) => show(j)); semicon.say(document.getElementById("said" + k).textContent); });
  }));

  function show(k) {
    const stop = panels[k].stops[shown[k]];
    const seen = compared(stop.groups, ...anchor);
    const said = told(seen);
    const where = `row ${anchor[0]}, column ${anchor[1]}, ${data.classes[labels[anchor[0] * width + anchor[1]]]}`;
    canvases[k].draw({ height, width, ...painted(seen), labels, cursor: anchor, grid: stop.grid, alt: `${panels[k].name} ${stop.label}, anchor in ${where}. ${said} Arrow keys move the anchor.` });
    document.getElementById("said" + k).textContent = said;
    const place = document.getElementById("numbers" + k);
    place.replaceChildren(Object.assign(document.createElement("table"), { className: "facts" }));
    for (const [name, text] of Object.entries(stop.numbers)) {
      const line = place.firstChild.insertRow();
      const head = Object.assign(document.createElement("th"), { scope: "row", textContent: name });
      line.appendChild(head);
      line.insertCell().textContent = text;
    }
  }

  function ring() {
    const now = panels.map((panel, k) => panel.stops[shown[k]]);
    return Plotly.restyle("trade", { x: [now.map((s) => s.pairs)], y: [now.map((s) => s.cosine)] }, [data.figure.data.length - 1]);
  }

  panels.forEach((_, k) => { show(k); on("stop" + k, (index) => { shown[k] = index; show(k); return ring(); }); });
  semicon.plot("trade", data.figure).then((place) => place.on("plotly_click", (event) => {
    const { curveNumber, pointNumber } = event.points[0];
    if (curveNumber < panels.length && document.getElementById("stop" + curveNumber)) put("stop" + curveNumber, pointNumber);
  }));
  const state = () => ({ anchor, stops: shown.map((index, k) => panels[k].stops[index].label) });
  return { compared: (k, stop, row, column) => Array.from(compared(panels[k].stops[stop].groups, row, column)), told: (k) => { const s = compared(panels[k].stops[shown[k]].groups, ...anchor); return told(s); }, state };
})();
