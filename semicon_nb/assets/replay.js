// TrainingReplay without a kernel: one slider moves map, segmentation and course of one or two trainings.
"use strict";
(async () => {
  const S = semicon, films = S.data.films, palette = S.data.palette;
  const shapes = ["circle", "diamond", "square", "triangle-up", "cross", "x", "star", "triangle-down"];
  const bytes = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

  // Points on a canvas of their own, stamped into its bytes: thousands of them in a few milliseconds, where plotly needs hundreds
  function pointsCanvas(place, kinds) {
    const canvas = document.createElement("canvas");
    canvas.className = "dots";
    place.appendChild(canvas);
    const order = Array.from(kinds.keys()).sort((a, b) => kinds[a] - kinds[b]); // the background lies below
    let now = null, stamps = [], picture = null;
    function sized() {
      const scale = Math.min(window.devicePixelRatio || 1, 2), width = Math.round(place.clientWidth * scale), height = Math.round(place.clientHeight * scale);
      if (picture && canvas.width === width && canvas.height === height) return;
      canvas.width = width;
      canvas.height = height;
      picture = new ImageData(Math.max(width, 1), Math.max(height, 1));
      stamps = palette.map((colour, c) => {
        const made = S.stamp(shapes[c % shapes.length], colour, Math.round(8 * scale)), side = made.width;
        return { side, bytes: made.getContext("2d").getImageData(0, 0, side, side).data };
      });
    }
    function draw(points) {
      now = points;
      sized();
      const { width, height, data } = picture, room = Math.min(width, height) / 1.08;
      data.fill(0);
      for (const i of order) {
        const { side, bytes: stamp } = stamps[kinds[i] % stamps.length];
        const left = Math.round(width / 2 + (points.x[i] - 0.5) * room - side / 2), top = Math.round(height / 2 - (points.y[i] - 0.5) * room - side / 2);
        if (left < 0 || top < 0 || left + side > width || top + side > height) continue;
        for (let y = 0, from = 0; y < side; y++) for (let x = 0, to = 4 * ((top + y) * width + left); x < side; x++, from += 4, to += 4) {
          const over = 0.75 * stamp[from + 3] / 255;
          if (!over) continue;
          const under = data[to + 3] / 255 * (1 - over), all = over + under;
          for (let c = 0; c < 3; c++) data[to + c] = (stamp[from + c] * over + data[to + c] * under) / all;
          data[to + 3] = 255 * all;
        }
      }
      canvas.getContext("2d").putImageData(picture, 0, 0);
    }
    new ResizeObserver(() => { if (now) draw(now); }).observe(place);
    return { draw, canvas };
  }

  // A line over a plotly figure that moves without asking plotly to draw again
  function lineOver(place) {
    const line = Object.assign(document.createElement("i"), { className: "moment" });
    place.appendChild(line);
    let now = 0;
    const put = (step) => {
      const { xaxis: x, yaxis: y } = place._fullLayout;
      now = step;
      line.style.cssText = `left:${x._offset + x.d2p(step) - 1.5}px;top:${y._offset}px;height:${y._length}px`;
      line.hidden = step < x.range[0] || step > x.range[1];
    };
    place.on("plotly_afterplot", () => put(now));
    return { put, step: () => now };
  }

  for (const film of films) {
    const [slices, height, width] = film.shape, area = height * width;
    const down = Math.ceil(slices / film.across), rows = down * (height + film.gap) - film.gap, columns = film.across * (width + film.gap) - film.gap;
    const prediction = S.array(film.prediction), grey = S.array(film.grey), truth = S.array(film.truth);
    const where = Int32Array.from({ length: slices * area }, (_, p) => {
      const s = Math.floor(p / area), r = Math.floor((p % area) / width), c = p % width;
      return (r + Math.floor(s / film.across) * (height + film.gap)) * columns + c + (s % film.across) * (width + film.gap);
    });
    const tints = palette.map(bytes), labels = new Uint8Array(rows * columns);
    where.forEach((q, p) => { labels[q] = truth[p]; });
    film.predicted = (t) => prediction.subarray(t * slices * area, (t + 1) * slices * area);
    film.picture = (t) => {
      const rgb = new Uint8Array(3 * rows * columns).fill(24), marks = new Uint8Array(rows * columns), found = film.predicted(t);
      for (let p = 0; p < found.length; p++) {
        const q = where[p], k = found[p], share = k ? 0.55 : 0, tint = tints[k ? 1 + (k - 1) % 7 : 0];
        for (let c = 0; c < 3; c++) rgb[3 * q + c] = (1 - share) * grey[p] + share * tint[c];
        marks[q] = k ? 1 + (k - 1) % 7 : 0;
      }
      return { height: rows, width: columns, rgb, marks, labels };
    };
    film.aspect = columns / rows;
    film.kinds = S.array(film.marks);
    film.at = {};
    for (const [method, pack] of Object.entries(film.places)) {
      const all = S.array(pack), n = pack.shape[1];
      film.at[method] = Array.from({ length: film.steps.length }, (_, t) => ({ x: Float32Array.from({ length: n }, (_, i) => all[2 * (t * n + i)] / 65535), y: Float32Array.from({ length: n }, (_, i) => all[2 * (t * n + i) + 1] / 65535) }));
    }
  }
  const nearest = (film, share) => { const goal = share * (film.steps.at(-1) || 1); let best = 0; film.steps.forEach((s, i) => { if (Math.abs(s - goal) < Math.abs(film.steps[best] - goal)) best = i; }); return best; };

  const buttons = { modeBarButtonsToRemove: ["toImage", "select2d", "lasso2d", "autoScale2d"] };
  await Promise.all(films.map((film, i) => {
    film.map = pointsCanvas(document.getElementById(`map-${i}`), film.kinds);
    const place = document.getElementById(`segmentation-${i}`);
    place.style.height = "auto";
    film.slices = pixelCanvas(place, null);
    film.slices.canvas.style.maxWidth = `${Math.round(380 * Math.max(1, film.aspect))}px`;
    film.curves.layout.margin = { l: 40, r: 8, t: 28, b: 40 };
    film.curves.data.pop(); // the line at the moment
    return S.plot(`course-${i}`, film.curves, buttons).then((course) => { film.line = lineOver(course); });
  }));

  function show() {
    const moment = S.value("moment"), method = S.value("method"), share = films[0].steps[moment] / (films[0].steps.at(-1) || 1);
    films.forEach((film, i) => {
      film.now = i === 0 ? moment : nearest(film, share);
      film.shown = film.at[method][film.now];
      document.getElementById(`words-${i}`).textContent = film.words[film.now];
      film.map.draw(film.shown);
      film.slices.draw({ ...film.picture(film.now), alt: film.words[film.now] });
      film.line.put(film.steps[film.now]);
    });
  }
  S.on("moment", show);
  S.on("method", show);

  let playing = 0;
  const button = document.getElementById("play");
  const stop = () => { clearInterval(playing); playing = 0; button.textContent = "Play"; button.setAttribute("aria-pressed", "false"); };
  S.on("play", () => {
    if (playing) return stop();
    button.textContent = "Stop";
    button.setAttribute("aria-pressed", "true");
    const last = films[0].steps.length - 1;
    if (S.value("moment") >= last) S.put("moment", 0);
    playing = setInterval(() => { if (S.value("moment") >= last) stop(); else S.put("moment", S.value("moment") + 1); }, 450);
  });

  S.legend("legend", films[0].names.map((name, c) => ({ name, colour: palette[c % palette.length], symbol: shapes[c % shapes.length] })));
  show();
  S.state = () => ({ moment: S.value("moment"), method: S.value("method"), films: films.map((film) => ({ x: Array.from(film.shown.x), y: Array.from(film.shown.y), predicted: Array.from(film.predicted(film.now)), step: film.line.step() })) });
  document.body.dataset.ready = "true";
})().catch(semicon.fail);
