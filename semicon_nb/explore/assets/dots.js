// What PixelExplorer and TrainingReplay draw with, the same in a notebook and in an exported page. Used after markers.js.
// A `host` (script_live.js or script_page.js) tells what differs: {id(name), timed(name, work), changed(state), ask(what)}.
"use strict";

const percent = (x) => (100 * x).toFixed(0) + " %";
const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const between = (value, low, high) => Math.max(low, Math.min(high, value));
// How high a reader's window is; inside a frame that grows with what it holds nobody knows
const screenHeight = () => (window.parent === window ? window.innerHeight : 900);

// A class's marker as an image of its own, for legends
function markerImage(symbol, colour) {
  const image = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 14 14", width: 14, height: 14, fill: colour, "aria-hidden": "true" })) image.setAttribute(name, value);
  image.innerHTML = markerShapes[symbol] || markerShapes.circle; // the package's own shapes
  return image;
}

// Slices [slices, height, width] laid out in rows of `across` with gaps between: a pixel is a position in the flattened stack
function mosaic([slices, height, width], across, gap) {
  const area = height * width, total = slices * area, down = Math.ceil(slices / across);
  const rows = down * (height + gap) - gap, columns = across * (width + gap) - gap;
  const row = (p) => Math.floor((p % area) / width) + Math.floor(Math.floor(p / area) / across) * (height + gap);
  const column = (p) => (p % width) + (Math.floor(p / area) % across) * (width + gap);
  function at(r, c) { // the pixel in this row and column of the picture, -1 in a gap
    const a = Math.floor(r / (height + gap)), b = Math.floor(c / (width + gap)), y = r - a * (height + gap), x = c - b * (width + gap), s = a * across + b;
    return y < 0 || x < 0 || y >= height || x >= width || b >= across || b < 0 || s >= slices || s < 0 ? -1 : s * area + y * width + x;
  }
  const where = Int32Array.from({ length: total }, (_, p) => row(p) * columns + column(p));
  return { slices, height, width, area, total, rows, columns, row, column, at, where };
}

// The lines between pixels of different labels, in units of a pixel
function outlinePath(grid, labels) {
  const path = new Path2D(), { width, height, area } = grid;
  for (let p = 0; p < grid.total; p++) {
    const x = grid.column(p), y = grid.row(p), c = p % width, r = Math.floor((p % area) / width);
    if (c + 1 < width && labels[p] !== labels[p + 1]) { path.moveTo(x + 1, y); path.lineTo(x + 1, y + 1); }
    if (r + 1 < height && labels[p] !== labels[p + width]) { path.moveTo(x, y + 1); path.lineTo(x + 1, y + 1); }
  }
  return path;
}

// A canvas as wide as its place and `tall(width)` high; paint(pen, width, height) draws in CSS pixels. `keys(key, shift)` says whether it knew the key
function board(name, tall, paint, keys = null) {
  const canvas = make("canvas", { class: name, tabindex: keys ? 0 : -1, role: keys ? "application" : "img" });
  const place = make("div", { class: "board" }, canvas), pen = canvas.getContext("2d");
  let width = 0, height = 0, scale = 1;
  function fit() {
    const wide = place.clientWidth;
    if (!wide) return false;
    const high = Math.round(tall(wide)), now = Math.min(window.devicePixelRatio || 1, 2);
    if (wide !== width || high !== height || now !== scale) {
      [width, height, scale] = [wide, high, now];
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      canvas.style.height = height + "px";
    }
    return true;
  }
  function draw() {
    if (!width && !fit()) return;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    paint(pen, width, height, scale);
    canvas.dispatchEvent(new CustomEvent("semicon-redraw", { bubbles: true }));
  }
  if (keys) canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys(event.key, event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
  });
  const watch = new ResizeObserver(() => { if (fit()) draw(); });
  watch.observe(place);
  const point = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  return { place, canvas, draw, point, size: () => [width, height], stop: () => watch.disconnect() };
}

// A pointer on a board: moves without a button, lines drawn with it held down (a box with Shift), and clicks
function pointer(found, { move, leave, line, shape, click }) {
  const { canvas, point } = found;
  let path = null;
  const add = (event) => {
    const [x, y] = point(event);
    path = event.shiftKey ? [path[0], [x, path[0][1]], [x, y], [path[0][0], y]] : [...path, [x, y]];
  };
  const far = () => path && path.some(([x, y]) => Math.hypot(x - path[0][0], y - path[0][1]) > 5);
  canvas.addEventListener("pointerdown", (event) => { if (event.button === 0) { path = [point(event)]; canvas.setPointerCapture(event.pointerId); } });
  canvas.addEventListener("pointermove", (event) => {
    if (!path) return move(...point(event));
    add(event);
    if (far()) line(path);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!path) return;
    add(event);
    const done = path, drawn = far();
    path = null;
    line(null);
    if (drawn) shape(done); else click(...point(event));
  });
  canvas.addEventListener("pointercancel", () => { path = null; line(null); });
  canvas.addEventListener("pointerleave", () => { if (!path) leave(); });
}

function inside(polygon, x, y) {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i], [bx, by] = polygon[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}

function drawLine(pen, path, ink) {
  if (!path) return;
  pen.beginPath();
  path.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.closePath();
  pen.fillStyle = "rgba(128,128,128,.18)";
  pen.fill();
  pen.setLineDash([5, 4]);
  pen.lineWidth = 1.8;
  pen.strokeStyle = ink;
  pen.stroke();
  pen.setLineDash([]);
}

// A white ring in a black one: seen on any ground
function drawRing(pen, x, y, radius = 8) {
  for (const [colour, wide] of [["#000000", 4.5], ["#ffffff", 2.2]]) {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.strokeStyle = colour;
    pen.lineWidth = wide;
    pen.stroke();
  }
}

// Where a map's places 0 .. 1 lie on a board of this size
function mapFrame(width, height) {
  const side = Math.min(width, height) - 22;
  return { x: (v) => width / 2 + (v - 0.5) * side, y: (v) => height / 2 - (v - 0.5) * side, side };
}

// Points stamped into bytes: thousands of them in a few milliseconds
function dotPainter(symbols) {
  let picture = null, masks = [], made = 0;
  const small = make("canvas");
  const kinds = [...new Set(symbols)];
  function fit(width, height, scale) {
    if (!picture || picture.width !== width || picture.height !== height) {
      picture = new ImageData(Math.max(width, 1), Math.max(height, 1));
      small.width = picture.width;
      small.height = picture.height;
    }
    if (made === scale) return;
    made = scale;
    masks = kinds.map((symbol) => {
      const stamp = markerStamp(symbol, "#000000", Math.round(7.5 * scale)), side = stamp.width, bytes = stamp.getContext("2d").getImageData(0, 0, side, side).data;
      return { side, alpha: Float32Array.from({ length: side * side }, (_, k) => bytes[4 * k + 3] / 255) };
    });
  }
  // dots: {x, y (0 .. 1), order (what lies below first), kind(i) -> symbol, rgb [3 N], alpha [N]}
  return (pen, width, height, scale, { x, y, order, symbolOf, rgb, alpha }) => {
    const wide = Math.round(width * scale), high = Math.round(height * scale);
    fit(wide, high, scale);
    const frame = mapFrame(width, height), data = picture.data, numbers = symbols.map((s) => kinds.indexOf(s));
    data.fill(0);
    for (const i of order) {
      const { side, alpha: mask } = masks[numbers[symbolOf[i]]];
      const left = Math.round(frame.x(x[i]) * scale - side / 2), top = Math.round(frame.y(y[i]) * scale - side / 2);
      if (left < 0 || top < 0 || left + side > wide || top + side > high) continue;
      const strong = alpha[i], r = rgb[3 * i], g = rgb[3 * i + 1], b = rgb[3 * i + 2];
      for (let v = 0, from = 0; v < side; v++) for (let u = 0, to = 4 * ((top + v) * wide + left); u < side; u++, from++, to += 4) {
        const over = strong * mask[from];
        if (over < 0.004) continue;
        const under = (data[to + 3] / 255) * (1 - over), all = over + under;
        data[to] = (r * over + data[to] * under) / all;
        data[to + 1] = (g * over + data[to + 1] * under) / all;
        data[to + 2] = (b * over + data[to + 2] * under) / all;
        data[to + 3] = 255 * all;
      }
    }
    small.getContext("2d").putImageData(picture, 0, 0);
    pen.drawImage(small, 0, 0, width, height);
  };
}

// A picture [rows, columns] whose colours paint(bytes) writes, four a pixel, drawn as large as it fits; returns where it lies
function cellPainter(rows, columns) {
  const small = make("canvas", { width: columns, height: rows }), picture = new ImageData(columns, rows);
  picture.data.fill(0);
  const frame = (width, height) => { const side = Math.min(width / columns, height / rows); return { side, left: (width - side * columns) / 2, top: (height - side * rows) / 2 }; };
  return {
    frame,
    bytes: picture.data,
    write: () => small.getContext("2d").putImageData(picture, 0, 0),
    draw(pen, width, height) {
      const { side, left, top } = frame(width, height);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(small, left, top, side * columns, side * rows);
    },
  };
}

// Places [N, 2] as 16-bit numbers, from the moment `t` of many -> {x, y} in 0 .. 1
function unpackPlaces(all, count, t = 0) {
  const column = (axis) => Float32Array.from({ length: count }, (_, i) => all[2 * (t * count + i) + axis] / 65535);
  return { x: column(0), y: column(1) };
}
