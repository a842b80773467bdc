// What each strategy compares one anchor with: masks of any anchor from the labels and each setting's map of groups.
"use strict";

function explorer(root, data, host) {
  root.className = "semicon-scene";
  const [height, width] = data.image.shape, image = unpack(data.image), labels = unpack(data.labels), tints = data.tints.map(bytesOf);
  const families = data.families.map((family) => ({ ...family, stops: family.stops.map((stop) => ({ ...stop, groups: unpack(stop.groups) })) }));
  let { anchor, stops } = data.state;
  const share = [0.72, 0.62, 0.5, 0.85];

  // What the anchor meets: 0 never compared, 1 positive, 2 negative, 3 the anchor (the rule of semicon_nb.strategies); these are marks, too
  function compared(k, stop, row, column) {
    const { groups } = families[k].stops[stop], here = row * width + column, met = new Uint8Array(height * width);
    const alike = labels.reduce((sum, label, i) => sum + (groups[i] === groups[here] && label === labels[here]), 0);
    if (labels[here] === 0 || groups[here] < 0 || alike < 2) return met;
    for (let i = 0; i < met.length; i++) if (groups[i] === groups[here]) met[i] = labels[i] === labels[here] ? 1 : 2;
    met[here] = 3;
    return met;
  }

  function words(met, groups) {
    const place = anchor[0] * width + anchor[1], here = labels[place];
    if (here === 0) return "Background: never an anchor. Pick a pixel inside an outline.";
    if (groups[place] < 0) return "Not kept: this pixel takes no part in the loss.";
    if (!met.includes(3)) return "No positive here: as an anchor, this pixel takes no part in the loss.";
    const counts = [0, 0, 0, 0], there = new Set(labels), known = new Set(labels.filter((_, i) => met[i]));
    for (const kind of met) counts[kind]++;
    const same = labels.reduce((sum, label) => sum + (label === here), 0);
    const missed = [...there].filter((k) => !known.has(k)).sort((a, b) => a - b).map((k) => data.classes[k]);
    const never = missed.length ? ` Never meets: ${missed.join(", ")}.` : "";
    return `Pulls ${inWords(counts[1])} of ${inWords(same - 1)} positives, pushes ${inWords(counts[2])} of ${inWords(met.length - same)} negatives.${never}`;
  }

  const changed = () => host.changed({ anchor, stops: [...stops] });
  const panels = families.map((family, k) => {
    const control = family.control ? slider(host, `stop${k}`, family.control, family.stops.map((stop) => stop.label), stops[k], (index) => choose(k, index)) : null;
    const place = make("div"), said = make("p", { class: "said" }), numbers = facts();
    const above = control ? control.element : make("p", { class: "control note", text: "Every pixel: nothing to set." });
    const element = part(family.name, above, place, said, numbers.element);
    element.classList.add("strategy");
    return { element, control, said, numbers, canvas: pixelCanvas(place, (...at) => host.timed("anchor", () => move(at, k))) };
  });
  for (const { numbers } of panels) numbers.fold.addEventListener("toggle", () => panels.forEach((panel) => { panel.numbers.fold.open = numbers.fold.open; }));

  function show(k) {
    const stop = families[k].stops[stops[k]], met = compared(k, stops[k], ...anchor), said = words(met, stop.groups);
    const where = `row ${anchor[0]}, column ${anchor[1]}, ${data.classes[labels[anchor[0] * width + anchor[1]]]}`;
    const alt = `${families[k].name} ${stop.label}, anchor in ${where}. ${said} Arrow keys move the anchor.`;
    panels[k].canvas.draw({ height, width, rgb: paint(image, met, tints, (i) => share[met[i]]), marks: met, labels, colours: data.colours, cursor: anchor, grid: stop.grid, alt });
    panels[k].said.textContent = said;
    panels[k].numbers.draw(stop.numbers);
  }

  const low = Math.min(0, ...families.flatMap((f) => f.stops.map((s) => s.cosine))) - 0.05, pairs = families.flatMap((f) => f.stops.map((s) => s.pairs)).filter(Boolean);
  const lines = families.map((family, k) => ({
    ...data.looks[k], name: family.name, x: family.stops.map((s) => s.pairs), y: family.stops.map((s) => s.cosine),
    texts: family.stops.map((s) => `${family.name}${family.control ? ` ${family.control.toLowerCase()} ${s.label}` : ""}: ${inWords(s.pairs)} pairs, cosine ${s.cosine.toFixed(3)}`),
  }));
  const trade = make("div"), drawn = chart(trade, 300, "Cosine to the exact gradient against pairs, a line for each strategy", (k, index) => { if (panels[k].control) { panels[k].control.put(index); choose(k, index); } });
  const ring = () => drawn.draw({
    x: { title: "pairs compared", range: [Math.min(...pairs) / 1.5, Math.max(...pairs) * 1.5], log: true }, y: { title: "cosine to the exact gradient", range: [low, 1.06] },
    lines, rings: families.map((family, k) => [family.stops[stops[k]].pairs, family.stops[stops[k]].cosine]),
  });

  function choose(k, index) { stops = stops.map((old, j) => (j === k ? index : old)); show(k); ring(); changed(); }
  function move(at, k = 0) { anchor = at; families.forEach((_, j) => show(j)); host.say(panels[k].said.textContent); changed(); }

  root.append(
    meanings(data, [["+", "pulled: the anchor's own class", data.tints[1]], ["−", "pushed: another class", data.tints[2]], ["", "never compared", data.tints[0]]]),
    make("div", { class: "row quarters" }, ...panels.map((panel) => panel.element)),
    part("Fewer pairs, and how true the gradient stays", make("p", { class: "said", id: host.id("dip"), text: "Up and to the left is better. The line of block division can fall: where the borders of the blocks cut a structure, its parts never meet, and where they happen to cut counts for more than how large the blocks are." }), trade,
      make("p", { class: "note", text: "Click a mark to choose that setting; rings are the settings shown. " + data.note })),
  );
  families.forEach((_, k) => show(k));
  ring();
  return {
    state: () => ({ anchor, stops }),
    put: (state) => { ({ anchor, stops } = { anchor, stops, ...state }); panels.forEach((panel, k) => { panel.control?.put(stops[k]); show(k); }); ring(); },
    stop: () => { panels.forEach((panel) => panel.canvas.stop()); drawn.stop(); },
    compared: (...at) => Array.from(compared(...at)),
  };
}
