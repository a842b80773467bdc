// A picture made of pixels that can be pointed at: colours, marks, outlines and a cursor. Used live and in exported pages.
"use strict";

// Draw one mark in a cell of side `s` whose corner is (x, y): 1 plus, 2 minus, 3 dot, 4 bar, 5 slash, 6 backslash, 7 box
function pixelMark(pen, mark, x, y, s) {
  const t = Math.max(1, Math.round(s / 7)), a = Math.round(s * 0.22), b = Math.round(s) - 2 * a, m = Math.round((s - t) / 2);
  if (mark === 3) { pen.fillRect(x + m, y + m, t + 1, t + 1); return; }
  if (mark === 4) { pen.fillRect(x + m, y + a, t, b); return; }
  if (mark === 5 || mark === 6) {
    for (let i = 0; i < b; i++) pen.fillRect(x + a + i, mark === 6 ? y + a + i : y + a + b - 1 - i, t, t);
    return;
  }
  if (mark === 7) { pen.fillRect(x + a, y + a, b, t); pen.fillRect(x + a, y + a + b - t, b, t); pen.fillRect(x + a, y + a, t, b); pen.fillRect(x + a + b - t, y + a, t, b); return; }
  pen.fillRect(x + a, y + m, b, t);
  if (mark === 1) pen.fillRect(x + m, y + a, t, b);
}

// The lines between pixels of different labels, on black so that they show on any colour: white, or, where `colours` has one for
// each label, each structure's own, drawn on its inside
function pixelOutlines(pen, labels, height, width, s, colours) {
  const lines = new Map(), inset = colours ? s * 0.15 : 0;
  const edge = (label, x1, y1, x2, y2) => { if (colours && !label) return; if (!lines.has(label)) lines.set(label, new Path2D()); lines.get(label).moveTo(x1, y1); lines.get(label).lineTo(x2, y2); };
  for (let r = 0; r < height; r++) for (let c = 0; c < width; c++) {
    const here = labels[r * width + c], right = c + 1 < width ? labels[r * width + c + 1] : here, below = r + 1 < height ? labels[(r + 1) * width + c] : here;
    for (const [other, side] of [[here, -1], [right, 1]]) if (here !== right) edge(other, (c + 1) * s + side * inset, r * s, (c + 1) * s + side * inset, (r + 1) * s);
    for (const [other, side] of [[here, -1], [below, 1]]) if (here !== below) edge(other, c * s, (r + 1) * s + side * inset, (c + 1) * s, (r + 1) * s + side * inset);
  }
  pen.lineCap = "square";
  pen.strokeStyle = "#000000"; pen.lineWidth = Math.max(3, s * 0.62);
  for (const path of lines.values()) pen.stroke(path);
  pen.lineWidth = Math.max(1.5, s * 0.3);
  for (const [label, path] of lines) { pen.strokeStyle = colours ? colours[label] : "#ffffff"; pen.stroke(path); }
}

// The dashed grid of a block division: lines every `size` pixels
function pixelGrid(pen, size, height, width, s) {
  pen.beginPath();
  for (let c = size; c < width; c += size) { pen.moveTo(c * s, 0); pen.lineTo(c * s, height * s); }
  for (let r = size; r < height; r += size) { pen.moveTo(0, r * s); pen.lineTo(width * s, r * s); }
  pen.strokeStyle = "rgba(255,255,255,.45)"; pen.lineWidth = Math.max(1, s * 0.12); pen.setLineDash([s * 0.5, s * 0.5]); pen.stroke(); pen.setLineDash([]);
}

// A ring with a cross: where the reader points
function pixelCursor(pen, [row, column], s, height, width) {
  const x = (column + 0.5) * s, y = (row + 0.5) * s, radius = Math.max(7 * s / 5, Math.min(height, width) * s / 28);
  for (const [colour, wide] of [["#000000", 0.36], ["#ffffff", 0.17]]) {
    pen.strokeStyle = colour; pen.lineWidth = Math.max(colour === "#000000" ? 4 : 2, radius * wide); pen.lineCap = "butt";
    pen.beginPath(); pen.arc(x, y, radius, 0, 2 * Math.PI);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) { pen.moveTo(x + dx * radius * 0.8, y + dy * radius * 0.8); pen.lineTo(x + dx * radius * 1.9, y + dy * radius * 1.9); }
    pen.stroke();
  }
}

// Make `place` a canvas. `pick(row, column)` is called by pointer and arrow keys; returns draw(picture)
// picture: {height, width, rgb (bytes), marks?, labels? (outlines), colours? (of the outlines), cursor? [row, column], grid?, alt?}
function pixelCanvas(place, pick) {
  const canvas = document.createElement("canvas");
  canvas.style.cssText = "width:100%;height:auto;display:block;border-radius:6px;touch-action:manipulation;image-rendering:pixelated";
  canvas.className = "pixels";
  canvas.tabIndex = pick ? 0 : -1;
  canvas.setAttribute("role", pick ? "application" : "img");
  place.appendChild(canvas);
  const small = document.createElement("canvas");
  let now = null;

  function draw(picture) {
    now = picture;
    const { height, width, rgb } = picture;
    const room = Math.max(place.clientWidth || 320, 64) * Math.min(window.devicePixelRatio || 1, 2);
    const s = Math.max(1, Math.min(12, Math.round(room / width)));
    if (canvas.width !== width * s || canvas.height !== height * s) { canvas.width = width * s; canvas.height = height * s; }
    canvas.style.aspectRatio = width + " / " + height;
    if (small.width !== width || small.height !== height) { small.width = width; small.height = height; }
    const bytes = new Uint8ClampedArray(4 * height * width);
    for (let i = 0, j = 0; i < height * width; i++) { bytes[4 * i] = rgb[j++]; bytes[4 * i + 1] = rgb[j++]; bytes[4 * i + 2] = rgb[j++]; bytes[4 * i + 3] = 255; }
    small.getContext("2d").putImageData(new ImageData(bytes, width, height), 0, 0);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, width * s, height * s);
    if (picture.marks && s >= 4) {
      pen.fillStyle = "rgba(255,255,255,.7)";
      for (let i = 0; i < height * width; i++) if (picture.marks[i]) pixelMark(pen, picture.marks[i], (i % width) * s, Math.floor(i / width) * s, s);
    }
    if (picture.grid) pixelGrid(pen, picture.grid, height, width, s);
    if (picture.labels) pixelOutlines(pen, picture.labels, height, width, s, picture.colours);
    if (picture.cursor) pixelCursor(pen, picture.cursor, s, height, width);
    if (picture.alt) canvas.setAttribute("aria-label", picture.alt);
    canvas.dispatchEvent(new CustomEvent("semicon-redraw", { bubbles: true }));
  }

  if (pick) {
    canvas.style.cursor = "crosshair";
    // The ring goes there at once: the next key moves on from it, however late the picture comes
    const choose = (row, column) => { draw({ ...now, cursor: [row, column] }); pick(row, column); };
    const clamp = (value, size) => Math.max(0, Math.min(size - 1, value));
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect();
      if (now) choose(clamp(Math.floor((event.clientY - box.top) / box.height * now.height), now.height), clamp(Math.floor((event.clientX - box.left) / box.width * now.width), now.width));
    });
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    canvas.addEventListener("keydown", (event) => {
      if (!steps[event.key] || !now) return;
      event.preventDefault(); event.stopPropagation();
      const far = event.shiftKey ? 8 : 1, [row, column] = now.cursor || [now.height >> 1, now.width >> 1]; // from the middle at first
      choose(clamp(row + far * steps[event.key][0], now.height), clamp(column + far * steps[event.key][1], now.width));
    });
  }
  const watch = new ResizeObserver(() => { if (now) draw(now); });
  watch.observe(place);
  return { draw, canvas, now: () => now, stop: () => watch.disconnect() };
}

// Grey levels (bytes) mixed with a colour: share 0 keeps the grey, 1 is all colour
function mixedColour(grey, colour, share) {
  return [0, 1, 2].map((k) => Math.round((1 - share) * grey + share * colour[k]));
}
