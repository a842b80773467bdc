// Random views of a slice, as semicon_nb.views makes them: what is drawn (`drawView`) apart from what is done with it (`makeView`).
"use strict";

// Weights [size][knots + 3] of the cubic B-spline's control points at each pixel
function splineWeights(size, knots) {
  return Array.from({ length: size }, (_, i) => Array.from({ length: knots + 3 }, (_, k) => {
    const d = Math.abs((i + 0.5) * knots / size - (k - 1));
    return d < 1 ? 2 / 3 - d * d + d ** 3 / 2 : Math.max(0, 2 - d) ** 3 / 6;
  }));
}

// The smooth field [height * width] that control points [(knots + 3) ** 2] pull up and down
function splineField(control, height, width) {
  const n = Math.round(Math.sqrt(control.length)), rows = splineWeights(height, n - 3), columns = splineWeights(width, n - 3), found = new Float64Array(height * width);
  for (let r = 0; r < height; r++) {
    const along = Array.from({ length: n }, (_, l) => rows[r].reduce((sum, w, k) => sum + w * control[k * n + l], 0));
    for (let c = 0; c < width; c++) found[r * width + c] = columns[c].reduce((sum, w, l) => sum + w * along[l], 0);
  }
  return found;
}

// Numbers from 0 to 1 that repeat with their seed (mulberry32)
function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// What one random view does, drawn from the ranges of a ViewSettings; lengths in pixels, control points row by row
function drawView(settings, height, width, random) {
  const draw = (low, high) => low + (high - low) * random(), knots = settings.knots, sides = [height, width];
  const power = (size, pieces) => Math.sqrt(splineWeights(size, pieces).flat().reduce((sum, w) => sum + w * w, 0) / size);
  const field = (pieces) => { const most = Math.sqrt(3) / (power(height, pieces) * power(width, pieces)); return Array.from({ length: (pieces + 3) ** 2 }, () => draw(-most, most)); };
  const angle = draw(-settings.rotation, settings.rotation), zoom = Math.exp(-draw(...settings.scale.map(Math.log))), shear = draw(-settings.shear, settings.shear);
  const [up, across] = ["rows", "columns"].map((axis) => (settings.mirror.includes(axis) && random() < 0.5 ? -1 : 1));
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)], matrix = [[cos * up, (cos * shear - sin) * across], [sin * up, (sin * shear + cos) * across]];
  const shift = sides.map((side) => draw(-settings.shift, settings.shift) * side), bend = sides.map(() => field(knots)), n = knots + 3;
  const points = sides.map((side, axis) => bend[axis].map((b, k) => (((axis ? k % n : Math.floor(k / n)) - 1) / knots - 0.5) * side + settings.elastic * side * b));
  const control = sides.map((_, axis) => points[0].map((_, k) => zoom * (matrix[axis][0] * points[0][k] + matrix[axis][1] * points[1][k]) + shift[axis]));
  const moves = settings.rotation || settings.shear || settings.shift || settings.elastic || settings.mirror.length || settings.scale[0] !== settings.scale[1];
  return {
    control: moves ? control : null, gamma: Math.exp(draw(...settings.gamma.map(Math.log))), contrast: draw(...settings.contrast), brightness: draw(-settings.brightness, settings.brightness),
    bias: settings.bias ? field(Math.min(knots, 3)).map((b) => settings.bias * b) : null, blur: draw(0, settings.blur), reach: Math.max(1, Math.ceil(2.5 * settings.blur)), noise: draw(0, settings.noise),
  };
}

// Image [0 to 1] and labels of a view that comes from other places of the slice; 0 outside, labels of the nearest pixel
function warpView(image, labels, control, height, width) {
  const [rows, columns] = control.map((points) => splineField(points, height, width)), moved = new Float64Array(image.length), kinds = new Uint8Array(image.length);
  const even = (v) => { const low = Math.floor(v); return v - low === 0.5 ? low + (low & 1) : Math.round(v); };
  const inside = (r, c) => r >= 0 && c >= 0 && r < height && c < width, read = (values, r, c) => (inside(r, c) ? values[r * width + c] : 0);
  for (let i = 0; i < moved.length; i++) {
    const r = rows[i] + (height - 1) / 2, c = columns[i] + (width - 1) / 2, top = Math.floor(r), left = Math.floor(c), y = r - top, x = c - left;
    moved[i] = (1 - y) * ((1 - x) * read(image, top, left) + x * read(image, top, left + 1)) + y * ((1 - x) * read(image, top + 1, left) + x * read(image, top + 1, left + 1));
    kinds[i] = read(labels, even(r), even(c));
  }
  return [moved, kinds];
}

function blurView(image, sigma, reach, height, width) {
  const taps = Array.from({ length: 2 * reach + 1 }, (_, k) => Math.exp(-0.5 * ((k - reach) / Math.max(sigma, 0.05)) ** 2)), total = taps.reduce((a, b) => a + b, 0);
  const along = (values, size, step) => values.map((_, i) => {
    const at = Math.floor(i / step) % size;
    return taps.reduce((sum, w, k) => sum + w / total * values[i + (Math.max(0, Math.min(size - 1, at + k - reach)) - at) * step], 0);
  });
  return along(along(image, width, 1), height, width);
}

// The view of `image` [0 to 1] and `labels` that `drawn` describes: {image, labels}
function makeView(image, labels, drawn, height, width, random = Math.random) {
  let [now, kinds] = drawn.control ? warpView(image, labels, drawn.control, height, width) : [Float64Array.from(image), labels];
  now = now.map((v) => Math.max(1e-6, Math.min(1, v)) ** drawn.gamma);
  const mean = now.reduce((a, b) => a + b, 0) / now.length;
  now = now.map((v) => drawn.contrast * v + (1 - drawn.contrast) * mean + drawn.brightness);
  if (drawn.bias) { const field = splineField(drawn.bias, height, width); now = now.map((v, i) => v * Math.exp(field[i])); }
  now = blurView(now, drawn.blur, drawn.reach, height, width);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return { image: drawn.noise ? now.map((v) => v + drawn.noise * normal()) : now, labels: kinds };
}
