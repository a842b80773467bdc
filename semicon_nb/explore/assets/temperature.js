// What the temperature does to one anchor: similarities, weights, forces and loss of any anchor, computed here from stored embeddings.
"use strict";

function explorer(root, data, host) {
  root.className = "semicon-scene";
  const [height, width] = data.image.shape, pixels = height * width, rank = data.codes.shape[1], bins = 40;
  const image = unpack(data.image).map((grey) => 0.45 * grey), labels = unpack(data.labels), codes = unpack(data.codes), tints = data.tints.map(bytesOf);
  let { anchor, stop } = data.state, similarity, sweep;

  function similarities(here) {
    const found = new Float64Array(pixels), own = Float64Array.from(codes.subarray(here * rank, (here + 1) * rank), (v) => v * data.step * data.step);
    for (let i = 0, j = 0; i < pixels; i++) {
      let sum = 0;
      for (let k = 0; k < rank; k++) sum += codes[j++] * own[k];
      found[i] = Math.max(-1, Math.min(1, sum));
    }
    return found;
  }

  // Weights, how many pixels they are as good as, the positives of the loss (none for background), and the loss of one anchor at one
  // temperature (semicon_nb.explore.temperature)
  function attention(similarity, here, t) {
    const weight = new Float64Array(pixels);
    let most = -1, total = 0, count = 0, mean = 0, entropy = 0;
    for (let i = 0; i < pixels; i++) if (i !== here) most = Math.max(most, similarity[i]);
    for (let i = 0; i < pixels; i++) if (i !== here) {
      const score = (similarity[i] - most) / t;
      total += weight[i] = Math.exp(score);
      entropy -= weight[i] * score;
      if (labels[here] && labels[i] === labels[here]) { count++; mean += score; }
    }
    for (let i = 0; i < pixels; i++) weight[i] /= total;
    return { weight, count, keys: Math.exp(entropy / total + Math.log(total)), loss: count ? Math.log(total) - mean / count : NaN };
  }

  // The same with forces (below 0 pulled, above 0 pushed) and what they add up to
  function felt(similarity, here, t) {
    const found = attention(similarity, here, t), force = new Float64Array(pixels), negatives = [];
    let positives = 0, pushes = 0;
    found.weight.forEach((w, i) => {
      if (i === here) return;
      const same = labels[i] === labels[here];
      if (same) positives += w; else negatives.push(w);
      if (found.count) force[i] = (w - (same ? 1 / found.count : 0)) / t;
      if (force[i] > 0) pushes += force[i];
    });
    const ordered = Float64Array.from(negatives).sort().reverse(), sum = (values) => values.reduce((a, b) => a + b, 0);
    const hardest = ordered.length ? sum(ordered.subarray(0, Math.max(1, Math.floor(ordered.length / 100)))) / Math.max(sum(ordered), 1e-300) : NaN;
    return { ...found, force, positives, pushes, hardest };
  }

  // Weight of positives and of negatives, and share of the pixels, in bins of similarity
  function spread(weight, here) {
    const low = Math.min(0.999, similarity.reduce((a, b) => Math.min(a, b), 1)), step = (1 - low) / bins;
    const [positive, negative, share] = [0, 1, 2].map(() => new Array(bins).fill(0));
    for (let i = 0; i < pixels; i++) if (i !== here && similarity[i] >= low) {
      const b = Math.min(bins - 1, Math.floor((similarity[i] - low) / step));
      share[b] += 1 / (pixels - 1);
      (labels[i] === labels[here] ? positive : negative)[b] += weight[i];
    }
    return { x: share.map((_, b) => low + (b + 0.5) * step), low, positive, negative, share };
  }

  const numbers = (now, t) => ({
    "pixels listened to": now.keys >= 10 ? inWords(now.keys) : now.keys.toFixed(1),
    "attention on positives": (100 * now.positives).toFixed(1) + " %",
    "loss of this anchor": Number.isFinite(now.loss) ? now.loss.toFixed(3) : "none",
    "Temperature τ": threeDigits(t),
    "Hardest 1 % of the negatives carry": Number.isFinite(now.hardest) ? (100 * now.hardest).toFixed(1) + " %" : "none there",
    "Sum of all pushes": now.count ? threeDigits(now.pushes) : "none",
  });

  function words(now, t, here) {
    if (labels[here] === 0) return "Background: never an anchor in the loss. Pick a pixel inside an outline.";
    if (!now.count) return "No positive here: as an anchor, this pixel takes no part in the loss.";
    const many = now.keys >= 10 ? inWords(now.keys) : now.keys.toFixed(1);
    return `Anchor in row ${anchor[0]}, column ${anchor[1]}, ${data.classes[labels[here]]}, at temperature ${threeDigits(t)}: it listens to about ${many} of ${inWords(pixels - 1)} pixels.`;
  }

  // Colour by the root of a strength, so that the weak show too; a mark where it is above `least`
  function picture(canvas, heading, strengths, kinds, least, said, here) {
    const most = strengths.reduce((a, b) => Math.max(a, b), 1e-300);
    const marks = kinds.map((kind, i) => (i === here ? 3 : strengths[i] > least ? kind : 0));
    const rgb = paint(image, kinds, tints, (i) => (i === here ? 0 : 0.9 * Math.sqrt(strengths[i] / most)));
    canvas.draw({ height, width, rgb, marks, labels, colours: data.colours, cursor: anchor, alt: `${heading}. ${said} Arrow keys move the anchor.` });
  }

  const control = slider(host, "temperature", "Temperature τ", data.temperatures.map(threeDigits), stop, (index) => { stop = index; show(); changed(); });
  const said = make("p", { class: "said" }), table = facts("More numbers");
  const headings = ["Where its attention goes", "Pulled and pushed"], places = headings.map(() => make("div"));
  const canvases = places.map((place) => pixelCanvas(place, (...at) => host.timed("anchor", () => { anchor = at; move(); host.say(said.textContent); changed(); })));
  const [bars, keys, losses] = [make("div"), make("div"), make("div")];
  const charts = [chart(bars, 270, "Weight of positives and of negatives by their similarity to the anchor"), chart(keys, 230, "Pixels listened to over all temperatures"), chart(losses, 230, "Loss of this anchor over all temperatures")];
  const changed = () => host.changed({ anchor, stop });
  const grey = "#8a8a8a", temperatures = { title: "temperature τ", range: [0.0085, 1.18], log: true, ticks: [0.01, 0.03, 0.1, 0.3, 1] };

  function curve(drawn, values, y) {
    drawn.draw({ x: temperatures, y, lines: [{ x: data.temperatures, y: values, colour: grey }], rings: [[data.temperatures[stop], values[stop]]] });
  }

  // Everything that depends on the temperature
  function show() {
    const t = data.temperatures[stop], here = anchor[0] * width + anchor[1], now = felt(similarity, here, t), text = words(now, t, here);
    picture(canvases[0], headings[0], now.weight, labels.map((label) => (label === labels[here] ? 1 : 2)), 1 / (pixels - 1), text, here);
    const size = now.force.map(Math.abs);
    picture(canvases[1], headings[1], size, Uint8Array.from(now.force, (f) => (f < 0 ? 1 : 2)), size.reduce((a, b) => a + b, 0) / pixels, text, here);
    said.textContent = text;
    table.draw(numbers(now, t));
    const found = spread(now.weight, here), top = Math.max(...found.share, ...found.positive.map((p, b) => p + found.negative[b]));
    charts[0].draw({
      x: { title: "similarity to the anchor", range: [found.low, 1] }, y: { title: "share", range: [0, 1.05 * top] },
      bars: [{ name: "attention on positives", x: found.x, y: found.positive, colour: data.tints[1], sign: "+" }, { name: "on negatives", x: found.x, y: found.negative, colour: data.tints[2], sign: "−" }],
      lines: [{ name: "share of the pixels", x: found.x, y: found.share, colour: grey, dash: "dot" }],
    });
    const many = sweep.map((f) => f.keys), loss = sweep.map((f) => f.loss), finite = loss.filter(Number.isFinite);
    curve(charts[1], many, { title: "pixels", range: [Math.min(...many) / 1.6, pixels * 1.3], log: true });
    const [low, high] = finite.length ? [Math.min(...finite), Math.max(...finite)] : [0, 1], room = 0.12 * (high - low || 1);
    curve(charts[2], loss, { title: "loss", range: [low - room, high + room] });
  }

  // Another anchor: its similarities, and its curves over all temperatures
  function move() {
    const here = anchor[0] * width + anchor[1];
    similarity = similarities(here);
    sweep = data.temperatures.map((t) => { const { keys, loss } = attention(similarity, here, t); return { keys, loss }; });
    show();
  }

  control.element.classList.add("wide");
  const third = part("In three numbers", table.element, make("h3", { text: "Attention by similarity" }), bars);
  third.classList.add("span");
  root.append(
    make("div", { class: "controls" }, control.element),
    meanings(data, [["+", "positive, or pulled", data.tints[1]], ["−", "negative, or pushed", data.tints[2]]]), said,
    make("div", { class: "row thirds" }, ...headings.map((heading, k) => part(heading, places[k])), third),
    make("div", { class: "row halves" }, part("How many pixels it listens to", keys), part("Its loss", losses)),
    make("p", { class: "note", text: data.note }),
  );
  move();
  return {
    state: () => ({ anchor, stop }),
    put: (state) => { ({ anchor, stop } = { anchor, stop, ...state }); control.put(stop); move(); },
    stop: () => [...canvases, ...charts].forEach((shown) => shown.stop()),
    felt: (row, column, t) => { const here = row * width + column, f = felt(similarities(here), here, t); return { ...f, weight: Array.from(f.weight), force: Array.from(f.force) }; },
    bars: () => charts[0].now().bars.map((b) => b.y), share: () => charts[0].now().lines[0].y, curves: () => charts.slice(1).map((c) => c.now().lines[0].y), rings: () => charts.slice(1).map((c) => c.now().rings[0]),
  };
}
