// The supervised local contrastive loss of single pixels, its gradient, and a small network that it trains. No DOM: the page hands
// this function to its worker as text, and the tests call it with numbers of their own.
"use strict";

function pixelLoss() {
  // Random numbers in 0 .. 1 from a seed, the same in every browser
  function randomOf(seed) {
    let state = (seed * 2654435761 + 1013904223) >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  // The numbers 0 .. count - 1 in random order
  function shuffled(count, random) {
    const order = Int32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1)), kept = order[i];
      order[i] = order[j];
      order[j] = kept;
    }
    return order;
  }

  // An image [H, W] smoothed with a Gaussian of `sigma` pixels, the border repeated
  function smooth(image, height, width, sigma) {
    const radius = Math.floor(3 * sigma + 0.5), kernel = Float64Array.from({ length: 2 * radius + 1 }, (_, k) => Math.exp(-((k - radius) ** 2) / (2 * sigma * sigma)));
    const total = kernel.reduce((a, b) => a + b), near = (k, size) => Math.max(0, Math.min(size - 1, k));
    const along = (values, step, size, other, jump) => {
      const out = new Float64Array(values.length);
      for (let a = 0; a < other; a++) for (let b = 0; b < size; b++) {
        let sum = 0;
        for (let k = -radius; k <= radius; k++) sum += kernel[k + radius] * values[a * jump + near(b + k, size) * step];
        out[a * jump + b * step] = sum / total;
      }
      return out;
    };
    return along(along(image, width, height, width, 1), 1, width, height, width);
  }

  // Length of the gradient of an image, from central differences
  function slope(image, height, width) {
    const difference = (row, column, down, right) => {
      const a = [Math.min(height - 1, row + down), Math.min(width - 1, column + right)], b = [Math.max(0, row - down), Math.max(0, column - right)];
      return (image[a[0] * width + a[1]] - image[b[0] * width + b[1]]) / (a[0] - b[0] + a[1] - b[1]);
    };
    return Float64Array.from(image, (_, i) => Math.hypot(difference(Math.floor(i / width), i % width, 1, 0), difference(Math.floor(i / width), i % width, 0, 1)));
  }

  const FEATURES = 11;

  // What is known of each pixel [P, 11]: brightness at four scales, what each scale adds, two slopes, and where it is; each with mean 0 and spread 1
  function features(image, height, width) {
    const one = smooth(image, height, width, 1), two = smooth(image, height, width, 2), four = smooth(image, height, width, 4);
    const minus = (a, b) => a.map((value, i) => value - b[i]), start = Float64Array.from(image);
    const planes = [start, one, two, four, minus(start, one), minus(one, two), minus(two, four), slope(one, height, width), slope(two, height, width),
      start.map((_, i) => ((i % width) / (width - 1)) * 2 - 1), start.map((_, i) => (Math.floor(i / width) / (height - 1)) * 2 - 1)];
    const table = new Float64Array(FEATURES * start.length);
    planes.forEach((plane, f) => {
      const mean = plane.reduce((a, b) => a + b) / plane.length, spread = Math.sqrt(plane.reduce((a, b) => a + (b - mean) ** 2, 0) / plane.length) + 1e-6;
      plane.forEach((value, i) => { table[i * FEATURES + f] = (value - mean) / spread; });
    });
    return table;
  }

  // A balanced sample: as many pixels of each class, each counting for all those that it stands for (semicon_nb.strategies.RandomSampling)
  function sample(labels, count, random) {
    const order = shuffled(labels.length, random), rank = new Map(), ranked = [];
    for (const i of order) {
      const before = rank.get(labels[i]) || 0;
      rank.set(labels[i], before + 1);
      ranked.push([before, i]);
    }
    const chosen = ranked.sort((a, b) => a[0] - b[0]).slice(0, count).map((pair) => pair[1]), kept = new Map();
    for (const i of chosen) kept.set(labels[i], (kept.get(labels[i]) || 0) + 1);
    return { index: Int32Array.from(chosen), weight: Float64Array.from(chosen, (i) => rank.get(labels[i]) / kept.get(labels[i])) };
  }

  // Which pixels meet: [{index, weight or null}], one for each group. strategy: {kind: "every" | "stride" | "block" | "random", size}
  function groupsOf(strategy, labels, height, width, random) {
    if (strategy.kind === "random") return [sample(labels, strategy.size, random)];
    const found = new Map();
    for (let i = 0; i < labels.length; i++) {
      const row = Math.floor(i / width), column = i % width;
      if (strategy.kind === "stride" && (row % strategy.size || column % strategy.size)) continue;
      const key = strategy.kind === "block" ? Math.floor(row / strategy.size) * width + Math.floor(column / strategy.size) : 0;
      if (!found.has(key)) found.set(key, []);
      found.get(key).push(i);
    }
    return [...found.values()].map((index) => ({ index: Int32Array.from(index), weight: null }));
  }

  // The pixels of a group that take part, anchors first: foreground with another pixel of its class; then those that are only keys
  function arrange(group, labels, background) {
    const count = new Map(), all = [...group.index.keys()].filter((k) => background || labels[group.index[k]]);
    for (const k of all) count.set(labels[group.index[k]], (count.get(labels[group.index[k]]) || 0) + 1);
    const anchor = (k) => labels[group.index[k]] > 0 && count.get(labels[group.index[k]]) > 1;
    const order = [...all.filter(anchor), ...all.filter((k) => !anchor(k))];
    return { index: order.map((k) => group.index[k]), weight: order.map((k) => (group.weight ? group.weight[k] : 1)), anchors: all.filter(anchor).length, count };
  }

  // Loss and gradient of one group, added to `gradient` divided by the number of groups; the raw rows [P, D] are made unit first
  function groupLoss(rows, dims, labels, { index, weight, anchors, count }, temperature, gradient, groups) {
    const n = index.length, unit = new Float64Array(n * dims), scale = new Float64Array(n), push = new Float64Array(n * dims);
    for (let a = 0; a < n; a++) {
      let square = 0;
      for (let d = 0; d < dims; d++) square += rows[index[a] * dims + d] ** 2;
      scale[a] = square > 1e-24 ? 1 / Math.sqrt(square) : 0;
      for (let d = 0; d < dims; d++) unit[a * dims + d] = rows[index[a] * dims + d] * scale[a];
    }
    const sums = new Float64Array(anchors), keep = anchors * n <= 4194304 ? new Float32Array(anchors * n) : null;
    const similarity = (a, b) => { let s = 0; for (let d = 0; d < dims; d++) s += unit[a * dims + d] * unit[b * dims + d]; return Math.exp((s - 1) / temperature); };
    for (let a = 0; a < anchors; a++) for (let b = a + 1; b < n; b++) { // exp((s - 1) / t): the 1 / t comes back with the logarithm
      const e = similarity(a, b);
      if (keep) keep[a * n + b] = e;
      sums[a] += weight[b] * e;
      if (b < anchors) sums[b] += weight[a] * e;
    }
    let mass = 0, loss = 0;
    for (let a = 0; a < anchors; a++) mass += weight[a];
    const share = Float64Array.from(sums, (sum, a) => weight[a] / mass / sum);
    for (let a = 0; a < anchors; a++) loss += (weight[a] / mass) * (Math.log(sums[a]) + 1 / temperature);
    for (let a = 0; a < anchors; a++) for (let b = a + 1; b < n; b++) {
      const e = (keep ? keep[a * n + b] : similarity(a, b)) * (share[a] * weight[b] + (b < anchors ? share[b] * weight[a] : 0));
      for (let d = 0; d < dims; d++) { push[a * dims + d] += e * unit[b * dims + d]; push[b * dims + d] += e * unit[a * dims + d]; }
    }
    const total = new Map();
    for (let a = 0; a < anchors; a++) {
      const label = labels[index[a]];
      if (!total.has(label)) total.set(label, new Float64Array(dims));
      for (let d = 0; d < dims; d++) total.get(label)[d] += unit[a * dims + d];
    }
    for (let a = 0; a < anchors; a++) { // pulls: each anchor to the mean of its positives
      const label = labels[index[a]], sum = total.get(label), factor = weight[a] / mass / (count.get(label) - 1);
      for (let d = 0; d < dims; d++) {
        const others = sum[d] - unit[a * dims + d];
        loss -= (factor / temperature) * unit[a * dims + d] * others;
        push[a * dims + d] -= 2 * factor * others;
      }
    }
    for (let a = 0; a < n; a++) {
      let along = 0;
      for (let d = 0; d < dims; d++) along += push[a * dims + d] * unit[a * dims + d];
      for (let d = 0; d < dims; d++) gradient[index[a] * dims + d] += ((push[a * dims + d] - along * unit[a * dims + d]) * scale[a]) / temperature / groups;
    }
    return loss;
  }

  // Mean loss of the groups that hold an anchor, its gradient [P, D] of the raw rows, and what was compared
  function contrast(rows, dims, labels, groups, temperature, background) {
    const gradient = new Float64Array(rows.length), kept = groups.map((group) => arrange(group, labels, background)).filter((group) => group.anchors);
    let loss = 0, anchors = 0, pulls = 0, pairs = 0;
    for (const group of kept) {
      loss += groupLoss(rows, dims, labels, group, temperature, gradient, kept.length) / kept.length;
      anchors += group.anchors;
      pairs += group.anchors * (group.index.length - 1);
      for (const [label, count] of group.count) if (label > 0 && count > 1) pulls += count * (count - 1);
    }
    return { loss, gradient, anchors, pulls, pushes: pairs - pulls, index: kept.map((group) => group.index) };
  }

  const HIDDEN = 32;

  // Two layers with a bend between them, the same for every pixel: its features -> its embedding
  function network(dims, seed) {
    const random = randomOf(seed), layer = (count, size) => Float64Array.from({ length: count }, () => (2 * random() - 1) / Math.sqrt(size));
    const weights = [layer(FEATURES * HIDDEN, FEATURES), layer(HIDDEN, FEATURES), layer(HIDDEN * dims, HIDDEN), layer(dims, HIDDEN)];
    const moments = weights.map((w) => [new Float64Array(w.length), new Float64Array(w.length)]);
    let steps = 0;
    // Hidden values [P, 32] and raw embeddings [P, D] of the pixels in `list` (null for all), written where they belong
    function forward(table, list, hidden, rows) {
      const [w1, b1, w2, b2] = weights, many = list ? list.length : hidden.length / HIDDEN;
      for (let k = 0; k < many; k++) {
        const i = list ? list[k] : k;
        for (let h = 0; h < HIDDEN; h++) {
          let sum = b1[h];
          for (let f = 0; f < FEATURES; f++) sum += table[i * FEATURES + f] * w1[f * HIDDEN + h];
          hidden[i * HIDDEN + h] = Math.tanh(sum);
        }
        for (let d = 0; d < dims; d++) {
          let sum = b2[d];
          for (let h = 0; h < HIDDEN; h++) sum += hidden[i * HIDDEN + h] * w2[h * dims + d];
          rows[i * dims + d] = sum;
        }
      }
    }
    // One step of Adam from the gradient [P, D] of the rows in `list`
    function learn(table, list, hidden, gradient, rate) {
      const [, , w2] = weights, grads = weights.map((w) => new Float64Array(w.length));
      for (const i of list) for (let h = 0; h < HIDDEN; h++) {
        let back = 0;
        for (let d = 0; d < dims; d++) { back += gradient[i * dims + d] * w2[h * dims + d]; grads[2][h * dims + d] += gradient[i * dims + d] * hidden[i * HIDDEN + h]; }
        back *= 1 - hidden[i * HIDDEN + h] ** 2;
        grads[1][h] += back;
        for (let f = 0; f < FEATURES; f++) grads[0][f * HIDDEN + h] += back * table[i * FEATURES + f];
      }
      for (const i of list) for (let d = 0; d < dims; d++) grads[3][d] += gradient[i * dims + d];
      steps += 1;
      weights.forEach((w, k) => w.forEach((_, j) => {
        const [first, second] = moments[k], g = grads[k][j];
        first[j] = 0.9 * first[j] + 0.1 * g;
        second[j] = 0.999 * second[j] + 0.001 * g * g;
        w[j] -= (rate * (first[j] / (1 - 0.9 ** steps))) / (Math.sqrt(second[j] / (1 - 0.999 ** steps)) + 1e-8);
      }));
    }
    return { forward, learn };
  }

  // Every pixel by the nearest mean direction of a label: unit rows [P, D], the label of each pixel, and the centres
  function nearest(rows, dims, labels, background) {
    const many = rows.length / dims, unit = new Float32Array(rows.length), centres = new Map();
    for (let i = 0; i < many; i++) {
      let square = 0;
      for (let d = 0; d < dims; d++) square += rows[i * dims + d] ** 2;
      const scale = square > 1e-24 ? 1 / Math.sqrt(square) : 0;
      for (let d = 0; d < dims; d++) unit[i * dims + d] = rows[i * dims + d] * scale;
      if (!labels[i] && !background) continue;
      if (!centres.has(labels[i])) centres.set(labels[i], new Float64Array(dims));
      for (let d = 0; d < dims; d++) centres.get(labels[i])[d] += unit[i * dims + d];
    }
    for (const centre of centres.values()) { const length = Math.hypot(...centre) || 1; centre.forEach((value, d) => { centre[d] = value / length; }); }
    const named = new Uint8Array(many);
    for (let i = 0; i < many; i++) {
      let best = -Infinity;
      for (const [label, centre] of centres) {
        let likeness = 0;
        for (let d = 0; d < dims; d++) likeness += unit[i * dims + d] * centre[d];
        if (likeness > best) { best = likeness; named[i] = label; }
      }
    }
    return { unit, named };
  }

  // A training that goes step by step. task: {image, labels, height, width, strategy, temperature, dims, background, seed}
  function training(task) {
    const { height, width, dims } = task, many = height * width, table = features(task.image, height, width);
    const net = network(dims, task.seed), random = randomOf(task.seed + 7919), hidden = new Float64Array(many * HIDDEN), rows = new Float64Array(many * dims);
    let labels = task.labels, settings = task, count = 0;
    function step() {
      const groups = groupsOf(settings.strategy, labels, height, width, random), list = groups.flatMap((group) => [...group.index]);
      net.forward(table, list, hidden, rows);
      const found = contrast(rows, dims, labels, groups, settings.temperature, settings.background);
      if (found.anchors) net.learn(table, found.index.flat(), hidden, found.gradient, 0.01);
      count += 1;
      return found;
    }
    function look() {
      net.forward(table, null, hidden, rows);
      return nearest(rows, dims, labels, settings.background);
    }
    return { step, look, change: (fresh) => { settings = { ...settings, ...fresh }; labels = settings.labels; }, steps: () => count };
  }

  // Dice of a label between what was painted (or drawn) and what a pixel is named
  function dice(named, labels, label) {
    let both = 0, all = 0;
    for (let i = 0; i < labels.length; i++) { both += named[i] === label && labels[i] === label; all += (named[i] === label) + (labels[i] === label); }
    return all ? (2 * both) / all : 1;
  }

  return { randomOf, features, groupsOf, contrast, network, nearest, training, dice, FEATURES };
}
