// A chart of lines, bars and single marks, drawn as SVG: small, swift, in the colours of the page that it stands in.
"use strict";

const svg = (tag, settings, ...children) => {
  const found = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(settings)) if (name === "text") found.textContent = value; else if (value !== undefined) found.setAttribute(name, value);
  found.append(...children);
  return found;
};

// Round numbers between two ends, about `most` of them, `least` apart or more
function roundTicks(low, high, most, least = 0) {
  const rough = (high - low) / most || 1, ten = 10 ** Math.floor(Math.log10(rough)), step = Math.max(least, [1, 2, 5, 10].find((k) => k * ten >= rough) * ten);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

// Powers of ten between two ends, with their thirds where there are few
function powerTicks(low, high, most) {
  const found = [];
  for (let n = Math.floor(Math.log10(low)); n <= Math.log10(high); n++) found.push(10 ** n, ...(Math.log10(high / low) < 3 ? [3 * 10 ** n] : []));
  const inside = found.filter((t) => t >= low * 0.999 && t <= high * 1.001), every = Math.ceil(inside.length / Math.max(2, most));
  return inside.filter((_, k) => k % every === 0);
}

const axisText = (x) => (Math.abs(x) >= 1e9 ? x / 1e9 + " G" : Math.abs(x) >= 1e6 ? x / 1e6 + " M" : Math.abs(x) >= 1e4 ? x / 1e3 + " k" : Number(x.toPrecision(6)).toLocaleString("en-US"));

// Make `place` a chart, `tall` pixels high and named `alt`; returns draw(picture). heard(line, point) is called when a point is clicked
// picture: {x: {title, range, log?, ticks?, whole? (no ticks between whole numbers)}, y: {the same, or names: [...]}, lines: [{name?, x, y, colour, symbol?, dash?, texts?, symbols?,
//   bare?, halves? (of intervals), dots? ([[x, y], ...]), label? (its name at the end of the line, at the height `at`)}], right? (room for
//   such names), bars: [{name, x, y, colour, sign}] (stacked, wide as their spacing), rings: [[x, y], ...], rule: x}
function chart(place, tall, alt, heard) {
  place.classList.add("chart");
  let now = null, last = 0;
  const shape = (symbol, x, y, colour, size = 13) => {
    const found = svg("g", { transform: `translate(${x - size / 2},${y - size / 2}) scale(${size / 14})`, fill: colour });
    found.innerHTML = markerShapes[symbol] || markerShapes.circle;
    return found;
  };
  const scale = (axis, from, to) => {
    const f = axis.log ? Math.log : (v) => v, [low, high] = axis.range.map(f);
    return (v) => from + (f(v) - low) / (high - low || 1) * (to - from);
  };

  function frame(x, y, box, picture, pen) {
    const across = picture.x.names ? picture.x.names.map((_, k) => k) : picture.x.ticks || (picture.x.log ? powerTicks : roundTicks)(...picture.x.range, box.wide / 70, picture.x.whole ? 1 : 0);
    const names = picture.y.names, down = names ? names.map((_, k) => k) : picture.y.ticks || (picture.y.log ? powerTicks : roundTicks)(...picture.y.range, box.high / 36);
    for (const t of down) pen.append(svg("line", { class: "grid", x1: box.left, x2: box.left + box.wide, y1: y(t), y2: y(t) }), svg("text", { x: box.left - 7, y: y(t) + 4, "text-anchor": "end", text: names ? names[t] : axisText(t) }));
    if (!picture.x.bare) for (const t of across) pen.append(svg("line", { class: "grid", x1: x(t), x2: x(t), y1: box.top, y2: box.top + box.high }), svg("text", { x: x(t), y: box.top + box.high + 16, "text-anchor": "middle", text: picture.x.names ? picture.x.names[t] : axisText(t) }));
    pen.append(svg("text", { class: "title", x: box.left + box.wide / 2, y: box.top + box.high + 33, "text-anchor": "middle", text: picture.x.title || "" }));
    pen.append(svg("text", { class: "title", x: box.left - (names ? 0 : 40), y: box.top - 9, text: picture.y.title || "" }));
  }

  function bars(x, y, picture, pen) {
    const base = new Array((picture.bars[0] || { x: [] }).x.length).fill(0);
    for (const { x: xs, y: ys, colour, sign, name } of picture.bars) xs.forEach((middle, i) => {
      const step = xs[1] - xs[0] || 1, left = x(middle - 0.46 * step), right = x(middle + 0.46 * step), top = y(base[i] + ys[i]), low = y(base[i]);
      base[i] += ys[i];
      if (low - top < 0.3) return;
      pen.append(svg("rect", { x: left, y: top, width: Math.max(1, right - left), height: low - top, fill: colour }, svg("title", { text: `${name}: ${threeDigits(ys[i])}` })));
      if (low - top > 11 && right - left > 6) pen.append(svg("text", { class: "sign", x: (left + right) / 2, y: (low + top) / 2 + 4, "text-anchor": "middle", text: sign }));
    });
  }

  // The intervals and single values behind a line, and its name in the room on the right
  function besides(x, y, { colour, halves = [], dots = [], label, x: xs, y: ys }, end, pen) {
    for (const [a, b] of dots) pen.append(svg("circle", { class: "dot", cx: x(a), cy: y(b), r: 2.6, fill: colour }));
    halves.forEach((half, i) => {
      if (half) pen.append(svg("path", { class: "half", stroke: colour, d: [-half, half].map((h) => `M${x(xs[i]) - 4} ${y(ys[i] + h)}h8`).join("") + `M${x(xs[i])} ${y(ys[i] - half)}V${y(ys[i] + half)}` }));
    });
    if (!label) return;
    pen.append(svg("path", { class: "leader", stroke: colour, d: `M${x(xs.at(-1))} ${y(ys.at(-1))}L${end} ${y(label.at)}` }));
    const words = label.text.split("\n"), top = y(label.at) + 4.5 - 7.5 * (words.length - 1);
    pen.append(svg("text", { class: "label", style: `fill:color-mix(in oklab, ${colour} 60%, currentColor)` }, ...words.map((text, k) => svg("tspan", { x: end + 4, y: top + 15 * k, text }))));
  }

  function line(x, y, found, number, pen) {
    const places = found.x.map((v, i) => [x(v), y(found.y[i])]).filter(([a, b]) => Number.isFinite(a) && Number.isFinite(b));
    if (!found.bare) pen.append(svg("polyline", { points: places.map((p) => p.join()).join(" "), fill: "none", stroke: found.colour, "stroke-width": 2, "stroke-dasharray": { dash: "6 4", dot: "2 4" }[found.dash] }));
    if (found.symbol || found.symbols) found.x.forEach((v, i) => {
      if (!Number.isFinite(x(v)) || !Number.isFinite(y(found.y[i]))) return;
      const mark = shape(found.symbols ? found.symbols[i] : found.symbol, x(v), y(found.y[i]), found.colours ? found.colours[i] : found.colour, found.size);
      mark.append(svg("title", { text: found.texts ? found.texts[i] : found.name }));
      mark.dataset.point = `${number} ${i}`;
      pen.append(mark);
    });
  }

  function legend(picture) {
    const entries = [...picture.bars.map((b) => [b.name, b.colour, null, b.sign]), ...picture.lines.filter((l) => l.name).map((l) => [l.name, l.colour, l])];
    if (entries.length < 2) return [];
    return [make("ul", { class: "key" }, ...entries.map(([name, colour, found, sign]) => {
      const mark = svg("svg", { viewBox: "0 0 22 14", width: 22, height: 14, "aria-hidden": "true" });
      if (found) mark.append(svg("line", { x1: 0, x2: 22, y1: 7, y2: 7, stroke: colour, "stroke-width": 2, "stroke-dasharray": { dash: "6 4", dot: "2 4" }[found.dash] }));
      if (found && found.symbol) mark.append(shape(found.symbol, 11, 7, colour));
      if (!found) mark.append(svg("rect", { width: 14, height: 14, x: 4, fill: colour }), svg("text", { class: "sign", x: 11, y: 11.5, "text-anchor": "middle", text: sign }));
      return make("li", {}, mark, name);
    }))];
  }

  function draw(picture) {
    picture = now = { lines: [], bars: [], rings: [], ...picture };
    const room = last = place.clientWidth || 480, names = picture.y.names || [];
    const left = names.length ? 14 + 6.6 * Math.max(...names.map((n) => n.length)) : 52;
    const box = { left, top: picture.y.title ? 24 : 10, wide: Math.max(60, room - left - (picture.right || 14)), high: tall - (picture.x.bare ? 32 : 44) - (picture.y.title ? 24 : 10) };
    const x = scale(picture.x, box.left, box.left + box.wide), y = scale(picture.y, box.top + box.high, box.top);
    const pen = svg("svg", { viewBox: `0 0 ${room} ${tall}`, width: room, height: tall, role: "img", "aria-label": picture.alt || alt });
    frame(x, y, box, picture, pen);
    bars(x, y, picture, pen);
    if (picture.rule !== undefined) pen.append(svg("line", { class: "rule", x1: x(picture.rule), x2: x(picture.rule), y1: box.top, y2: box.top + box.high }));
    picture.lines.forEach((found) => besides(x, y, found, box.left + box.wide, pen));
    picture.lines.forEach((found, k) => line(x, y, found, k, pen));
    for (const [a, b] of picture.rings) if (Number.isFinite(x(a)) && Number.isFinite(y(b))) pen.append(svg("circle", { class: "ring", cx: x(a), cy: y(b), r: 9 }));
    if (pen.querySelector("[data-point]")) pen.setAttribute("tabindex", "0");
    tip.hidden = true;
    place.replaceChildren(...legend(picture), pen, tip);
  }

  // The words of a point beside it, at once: under the pointer, a finger, or the arrow keys
  const tip = make("p", { class: "tip", role: "status", hidden: true });
  let told = null;
  function tell(mark) {
    told = mark;
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.querySelector("title").textContent;
    const at = mark.getBoundingClientRect(), home = place.getBoundingClientRect();
    tip.style.left = `${Math.max(0, Math.min(at.left - home.left + 14, home.width - tip.offsetWidth))}px`;
    tip.style.top = `${at.top - home.top - tip.offsetHeight - 6}px`;
  }
  for (const kind of ["pointerover", "pointerdown"]) place.addEventListener(kind, (event) => tell(event.target.closest("[data-point]")));
  place.addEventListener("pointerleave", () => tell(null));
  place.addEventListener("focusout", () => tell(null));
  place.addEventListener("keydown", (event) => {
    const marks = [...place.querySelectorAll("[data-point]")], step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") tell(null);
    if (!step || !marks.length || !event.target.matches("svg")) return;
    event.preventDefault();
    const from = marks.indexOf(told);
    tell(marks[from < 0 ? (step > 0 ? 0 : marks.length - 1) : (from + step + marks.length) % marks.length]);
  });

  place.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-point]");
    if (mark && heard) heard(...mark.dataset.point.split(" ").map(Number));
  });
  const watch = new ResizeObserver(() => { if (now && place.clientWidth !== last) draw(now); });
  watch.observe(place);
  return { draw, now: () => now, stop: () => watch.disconnect() };
}
