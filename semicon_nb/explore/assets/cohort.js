// A cohort, browsed: slices, labels, window, split, and views of the very slice that is shown.
"use strict";

function explorer(root, data, host) {
  root.className = "semicon-scene";
  const { height, width } = data, tints = data.colours.map(bytesOf), places = unpack(data.places), parts = data.parts.map(unpack), kinds = Object.keys(data.settings);
  const loaded = new Map(), waiting = new Map(), foreground = data.classes.slice(1);
  let state = { ...data.state }, volume = null;

  // Where no complete outline is, nobody knows the share of a structure
  function slice(stored) {
    const labels = unrolled(stored.labels, height * width), share = (k) => labels.reduce((sum, label) => sum + (label === k + 1), 0) / labels.length * 100;
    return { ...stored, image: unpack(stored.image), labels, shares: foreground.map((_, k) => (stored.labelled ? share(k) : NaN)) };
  }

  async function load(index) {
    if (!loaded.has(index)) {
      const found = data.stored.find((stored) => stored.index === index) || await new Promise((given) => { waiting.set(index, given); host.ask({ volume: index }); });
      loaded.set(index, { ...data.volumes[index], ...found, slices: found.slices.map(slice) });
    }
    return loaded.get(index);
  }

  const here = () => volume.slices.find((found) => found.number === state.slice);
  const use = (index) => parts[state.labelled][index];

  // Two views of the slice that is shown: the same for the same slice, kind and number of draws
  function pair() {
    const { image, labels } = here(), settings = data.settings[kinds[state.kind]], grey = Float64Array.from(image, (v) => v / 255);
    const random = randomNumbers(7919 * volume.index + 104729 * state.slice + 1299709 * state.draws);
    return [0, 1].map(() => makeView(grey, labels, drawView(settings, height, width, random), height, width, random));
  }

  function show(canvas, grey, labels, alt, cursor) {
    const [low, high] = state.window, scale = Math.max(high - low, 1e-6), shown = state.labels ? labels : new Uint8Array(labels.length);
    const levels = Float64Array.from(grey, (v) => 255 * Math.max(0, Math.min(1, (v - low) / scale)));
    const marks = shown.map((label) => (label ? 1 + (label - 1) % 7 : 0));
    canvas.draw({ height, width, rgb: paint(levels, shown, tints, (i) => (shown[i] ? 0.4 : 0)), marks, labels: state.labels ? labels : null, colours: data.colours, cursor, alt });
  }

  function words() {
    const now = here(), said = `Volume ${name(volume)} (${data.uses[use(volume.index)]}), slice ${now.number} of ${volume.count}.`;
    const outline = now.labelled ? "" : " This slice has no complete outline: unlabelled, not background.";
    if (!state.pixel) return said + outline;
    const [row, column] = state.pixel, i = row * width + column, label = now.labelled || now.labels[i] ? data.classes[now.labels[i]] : "label unknown";
    return `${said}${outline} Row ${row}, column ${column}: ${label}, intensity ${(now.image[i] / 255).toFixed(2)}.`;
  }

  const percent = (share, digits) => (Number.isFinite(share) ? share.toFixed(digits) + " %" : "unknown");

  function numbers() {
    const counts = data.uses.map((_, k) => parts[state.labelled].reduce((sum, part) => sum + (part === k), 0)), now = here();
    const all = {
      "training volumes with labels used": `${counts[0]} of ${counts[0] + counts[1]}`, "of this slice is a structure": percent(now.shares.reduce((a, b) => a + b, 0), 1),
      "outlined slices show a structure": `${volume.shows} of ${volume.outlined}`,
    };
    foreground.forEach((name, k) => { all[`${name}, of this slice`] = percent(now.shares[k], 2); });
    return { ...all, "Volumes to validate": String(counts[2]), "Volumes to test": String(counts[3]), Subjects: String(data.subjects) };
  }

  const name = ({ subject, name }) => (name.startsWith(subject) ? name : `${subject}: ${name}`);
  const said = make("p", { class: "said" }), note = make("p", { class: "note", role: "status" }), table = facts();
  const heads = ["Slice", "One view", "Another view"], frames = heads.map(() => make("div"));
  const canvases = frames.map((place, k) => pixelCanvas(place, k ? null : (...at) => host.timed("pixel", () => { state.pixel = at; draw(); host.say(said.textContent); })));
  const [split, along] = [make("div"), make("div")];
  const rows = data.uses.map((_, k) => k).filter((k) => k < 4 || parts.some((part) => part.includes(4)));
  const charts = [
    chart(split, 230, "Each volume in the row of its part of the split, a column for each subject", (_, index) => host.timed("split", () => choose(index))),
    chart(along, 230, "Share of each structure in each slice of the volume", (_, index) => host.timed("profile", () => { state.slice = volume.slices[index].number; draw(); })),
  ];

  function drawSplit() {
    const mine = parts[state.labelled], line = (k) => rows.length - 1 - rows.indexOf(k);
    charts[0].draw({
      x: { title: "one column for each subject", range: [-0.8, data.subjects + 0.2], bare: true }, y: { names: rows.map((k) => data.uses[k]).reverse(), range: [-0.6, rows.length - 0.4] },
      lines: [{ bare: true, size: Math.max(8, Math.min(13, 0.34 * (split.clientWidth - 130) / data.subjects)), x: Array.from(places), y: Array.from(mine, line), symbols: Array.from(mine, (k) => data.looks[k][1]), colours: Array.from(mine, (k) => data.looks[k][0]),
        texts: data.volumes.map((v, i) => `${name(v)}, ${data.uses[mine[i]]}`) }],
      rings: [[places[volume.index], line(use(volume.index))]],
    });
  }

  function drawProfile() {
    const numbers = volume.slices.map((found) => found.number), top = Math.max(1, ...volume.slices.flatMap((found) => found.shares).filter(Number.isFinite)) * 1.08;
    charts[1].draw({
      x: { title: "slice", whole: true, range: [0.4, volume.count + 0.6] }, y: { title: "% of the slice", range: [0, top] }, rule: state.slice,
      lines: foreground.map((name, k) => ({ name, x: numbers, y: volume.slices.map((found) => found.shares[k]), colour: data.colours[k + 1], symbol: data.symbols[k + 1],
        texts: volume.slices.map((found) => `slice ${found.number}: ${found.shares[k].toFixed(2)} % ${name}`) })),
    });
  }

  const texts = () => volume.slices.map((found) => String(found.number));
  const controls = {
    volume: menu(host, "volume", "Volume", data.held.map((v) => [v, name(data.volumes[v])]), state.volume, (v) => choose(v)),
    slice: slider(host, "slice", "Slice", ["1"], 0, (at) => { state.slice = volume.slices[at].number; draw(); }),
    labelled: slider(host, "labelled", "Labelled share of the training volumes", data.stops, state.labelled, (at) => { state.labelled = at; draw(); }),
    kind: menu(host, "kind", "Views as in", kinds.map((kind, k) => [k, kind]), state.kind, (at) => { state.kind = at; draw(); }),
  };
  const labelsShown = tick(host, "labels", "Show labels", state.labels, (ticked) => { state.labels = ticked; draw(); });
  const fiftieths = Array.from({ length: 51 }, (_, k) => (k / 50).toFixed(2)), ends = ["low", "high"].map((name, k) => slider(host, name, k ? "Shown as white" : "Shown as black", fiftieths, 50 * state.window[k], (at) => {
    const other = Math.round(50 * state.window[1 - k]), kept = k ? Math.max(at, other + 1) : Math.min(at, other - 1); // black stays below white
    state.window = state.window.map((old, j) => (j === k ? kept / 50 : old));
    draw();
  }));

  // Draw the slice, two views of it, the words, the numbers and the charts
  function draw() {
    const now = here(), text = words(), grey = Float64Array.from(now.image, (v) => v / 255);
    controls.slice.set(texts(), volume.slices.indexOf(now));
    ends.forEach((end, k) => end.put(Math.round(50 * state.window[k])));
    show(canvases[0], grey, now.labels, `Slice. ${text} Arrow keys choose a pixel.`, state.pixel);
    pair().forEach((view, k) => show(canvases[k + 1], view.image, view.labels, `${heads[k + 1]} of slice ${now.number}, as in ${kinds[state.kind]}`));
    said.textContent = text;
    table.draw(numbers());
    drawSplit();
    drawProfile();
    host.changed({ ...state });
  }

  // Another volume: its middle slice, or the one that is asked for
  async function choose(index, number = 0) {
    if (!data.held.includes(index)) { note.textContent = "That volume is not in this page: it holds a sample. In a notebook all are there."; return; }
    state.volume = index;
    const found = await load(index);
    if (state.volume !== index) return;
    if (volume && volume !== found) state.pixel = null;
    [volume, note.textContent] = [found, data.note];
    const middle = volume.slices[Math.floor(volume.slices.length / 2)].number;
    state.slice = volume.slices.some((stored) => stored.number === number) ? number : middle;
    controls.volume.put(index);
    draw();
  }

  const element = (name) => controls[name].element;
  root.append(
    make("div", { class: "controls" }, element("volume"), element("slice"), element("labelled"), labelsShown.element),
    meanings(data, []), said,
    make("div", { class: "row thirds first" }, ...heads.map((head, k) => part(head, frames[k]))),
    make("div", { class: "controls" }, element("kind"), button(host, "again", "Draw other views", () => { state.draws++; draw(); }),
      make("details", {}, make("summary", { text: "Intensity window" }), make("div", { class: "controls" }, ...ends.map((end) => end.element)))),
    table.element,
    make("div", { class: "row halves" }, part("Who is used for what", split), part("Through the volume", along)), note,
  );
  const ready = choose(state.volume, state.slice);
  return {
    ready, state: () => ({ ...state }),
    put: (fresh) => { state = { ...state, ...fresh }; controls.labelled.put(state.labelled); controls.kind.put(state.kind); labelsShown.put(state.labels); return choose(state.volume, state.slice); },
    news: (found) => waiting.get(found.index)?.(found),
    stop: () => [...canvases, ...charts].forEach((shown) => shown.stop()),
    labels: () => Array.from(here().labels), views: () => pair().map((view) => ({ image: Array.from(view.image), labels: Array.from(view.labels) })),
    charts: () => charts.map((c) => c.now()),
  };
}
