// TrainingReplay without a kernel: one slider moves map, segmentation and course of one or two trainings.
"use strict";
(async () => {
  const S = semicon, films = S.data.films, palette = S.data.palette;
  const looks = palette.map((colour, k) => ({ colour, symbol: S.data.symbols[k % S.data.symbols.length] }));
  const bytes = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

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
    for (const [method, pack] of Object.entries(film.places)) film.at[method] = unpackedPlaces(S.array(pack), film.steps.length);
  }
  const nearest = (film, share) => { const goal = share * (film.steps.at(-1) || 1); let best = 0; film.steps.forEach((s, i) => { if (Math.abs(s - goal) < Math.abs(film.steps[best] - goal)) best = i; }); return best; };

  const buttons = { modeBarButtonsToRemove: ["toImage", "select2d", "lasso2d", "autoScale2d"] };
  await Promise.all(films.map((film, i) => {
    film.map = pointsCanvas(document.getElementById(`map-${i}`), film.kinds, looks, film.alt);
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

  S.legend("legend", films[0].names.map((name, c) => ({ name, ...looks[c % looks.length] })));
  show();
  S.state = () => ({ moment: S.value("moment"), method: S.value("method"), films: films.map((film) => ({ x: Array.from(film.shown.x), y: Array.from(film.shown.y), predicted: Array.from(film.predicted(film.now)), step: film.line.step() })) });
  document.body.dataset.ready = "true";
})().catch(semicon.fail);
