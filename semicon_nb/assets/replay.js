// TrainingReplay without a kernel: one slider moves map, segmentation and course of one or two trainings.
"use strict";
(async () => {
  const S = semicon, films = S.data.films;
  for (const film of films) {
    const [slices, height, width] = film.shape, count = film.steps.length, area = slices * height * width;
    const down = Math.ceil(slices / film.across), rows = down * (height + film.gap) - film.gap, columns = film.across * (width + film.gap) - film.gap;
    const prediction = S.array(film.prediction);
    film.picture = (t) => {
      const whole = Array.from({ length: rows }, () => new Array(columns).fill(null));
      for (let p = 0; p < area; p++) {
        const s = Math.floor(p / (height * width)), r = Math.floor((p % (height * width)) / width), c = p % width;
        whole[r + Math.floor(s / film.across) * (height + film.gap)][c + (s % film.across) * (width + film.gap)] = prediction[t * area + p];
      }
      return whole;
    };
    film.at = {};
    for (const [method, pack] of Object.entries(film.places)) {
      const all = S.array(pack), n = pack.shape[1];
      film.at[method] = Array.from({ length: count }, (_, t) => ({ x: Float32Array.from({ length: n }, (_, i) => all[2 * (t * n + i)] / 65535), y: Float32Array.from({ length: n }, (_, i) => all[2 * (t * n + i) + 1] / 65535) }));
    }
  }
  const nearest = (film, share) => { const goal = share * (film.steps.at(-1) || 1); let best = 0; film.steps.forEach((s, i) => { if (Math.abs(s - goal) < Math.abs(film.steps[best] - goal)) best = i; }); return best; };

  const gl = (() => { try { return !!document.createElement("canvas").getContext("webgl"); } catch { return false; } })();
  const buttons = { modeBarButtonsToRemove: ["toImage", "select2d", "lasso2d", "autoScale2d"] };
  await Promise.all(films.flatMap((film, i) => {
    if (!gl) film.map.data[0].type = "scatter";
    for (const f of [film.map, film.slices]) f.layout.margin = { l: 4, r: 4, t: 28, b: 4 };
    film.curves.layout.margin = { l: 40, r: 8, t: 28, b: 40 };
    return [S.plot(`map-${i}`, film.map, buttons), S.plot(`segmentation-${i}`, film.slices, buttons), S.plot(`course-${i}`, film.curves, buttons)];
  }));

  function draw() {
    const moment = S.value("moment"), method = S.value("method"), share = films[0].steps[moment] / (films[0].steps.at(-1) || 1);
    return Promise.all(films.flatMap((film, i) => {
      const t = i === 0 ? moment : nearest(film, share), places = film.at[method][t], last = document.getElementById(`course-${i}`).data.length - 1;
      document.getElementById(`words-${i}`).textContent = film.words[t];
      return [
        Plotly.restyle(`map-${i}`, { x: [places.x], y: [places.y] }, [0]),
        Plotly.restyle(`segmentation-${i}`, { z: [film.picture(t)] }, [1]),
        Plotly.restyle(`course-${i}`, { x: [[film.steps[t], film.steps[t]]] }, [last]),
      ];
    }));
  }
  S.on("moment", draw);
  S.on("method", draw);

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

  const shapes = ["circle", "diamond", "square", "triangle-up", "cross", "x", "star", "triangle-down"];
  S.legend("legend", films[0].names.map((name, c) => ({ name, colour: S.data.palette[c % S.data.palette.length], symbol: shapes[c % shapes.length] })));
  await draw();
  S.state = () => ({ moment: S.value("moment"), method: S.value("method") });
  document.body.dataset.ready = "true";
})().catch(semicon.fail);
