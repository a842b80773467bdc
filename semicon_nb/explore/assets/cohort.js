// The page that browses a cohort: slices, labels, window, split and views from what the page holds.
"use strict";
const cohort = (() => {
  const { array, data, on, put, value } = semicon;
  const { height, width } = data, tints = array(data.tints), places = array(data.places), parts = data.parts.map(array);
  const unpack = (stored) => {
    const values = array(stored.values), lengths = array(stored.lengths), labels = new Uint8Array(height * width);
    for (let i = 0, at = 0; i < values.length; i++) { labels.fill(values[i], at, at + lengths[i]); at += lengths[i]; }
    return { ...stored, image: array(stored.image), labels };
  };
  const volumes = data.volumes.map((v) => ({ ...v, slices: v.slices.map(unpack), views: Object.fromEntries(Object.entries(v.views).map(([name, pair]) => [name, pair.map(unpack)])) }));
  let v = 0, k = volumes[0].middle, pixel = null;

  function painted(stored) {
    const low = value("low") / 50, high = value("high") / 50, show = value("overlay");
    const rgb = new Uint8Array(3 * height * width), marks = new Uint8Array(height * width), scale = Math.max(high - low, 1e-6);
    for (let i = 0; i < marks.length; i++) {
      const grey = 255 * Math.max(0, Math.min(1, (stored.image[i] / 255 - low) / scale)), label = show ? stored.labels[i] : 0, share = label ? 0.45 : 0;
      for (let c = 0; c < 3; c++) rgb[3 * i + c] = Math.round((1 - share) * grey + share * tints[3 * label + c]);
      marks[i] = label ? 1 + (label - 1) % 7 : 0;
    }
    return { height, width, rgb, marks, labels: show ? stored.labels : null };
  }

  const canvases = [0, 1, 2].map((j) => pixelCanvas(document.getElementById("picture" + j), j ? null : (row, column) => { pixel = [row, column]; show(); semicon.say(words()); }));
  const fraction = () => value("fraction");

  function words() {
    const volume = volumes[v], stored = volume.slices[k];
    let said = `${volume.subject}, volume ${volume.name} (${data.uses[parts[fraction()][volume.index]]}), slice ${stored.number} of ${volume.count}.`;
    if (!stored.labelled) said += " This slice has no complete outline: unlabelled, not background.";
    if (pixel) {
      const i = pixel[0] * width + pixel[1];
      said += ` Row ${pixel[0]}, column ${pixel[1]}: ${data.classes[stored.labels[i]]}, intensity ${(stored.image[i] / 255).toFixed(2)}.`;
    }
    return said;
  }

  // Draw the slice, the stored views, the words and the line in the profile
  function show() {
    const volume = volumes[v], said = words(), pair = volume.views[value("kind")];
    canvases[0].draw({ ...painted(volume.slices[k]), cursor: pixel, alt: "Slice. " + said });
    pair.forEach((stored, j) => canvases[j + 1].draw({ ...painted(stored), alt: `View ${j + 1} of slice ${volume.slices[volume.middle].number}, ${value("kind")}` }));
    ["One view", "Another view"].forEach((head, j) => { document.getElementById("head" + (j + 1)).textContent = `${head} of slice ${volume.slices[volume.middle].number}`; });
    document.getElementById("said").textContent = said;
    const number = volume.slices[k].number;
    return Plotly.restyle("profile", { x: [[number, number]] }, [data.classes.length - 1]);
  }

  function ring() {
    const index = volumes[v].index;
    return Plotly.restyle("split", { x: [[places[index]]], y: [[data.uses[parts[fraction()][index]]]] }, [1]);
  }

  // Another volume: its slices in the slider, its classes in the profile
  async function choose(next) {
    v = Number(next);
    k = volumes[v].middle;
    const slider = document.getElementById("slice"), slices = volumes[v].slices, numbers = slices.map((s) => s.number);
    slider.max = slices.length - 1;
    slider.dataset.shown = JSON.stringify(numbers.map(String));
    slider.value = k;
    slider.setAttribute("aria-valuetext", String(numbers[k]));
    slider.parentElement.querySelector("output").textContent = numbers[k];
    let top = 1;
    const shares = data.classes.slice(1).map((_, c) => slices.map((s) => {
      const share = s.labels.reduce((sum, label) => sum + (label === c + 1), 0) / s.labels.length * 100;
      top = Math.max(top, share * 1.08);
      return share;
    }));
    await Plotly.restyle("profile", { x: shares.map(() => numbers), y: shares }, shares.map((_, c) => c));
    await Plotly.restyle("profile", { y: [[0, top]] }, [shares.length]);
    await Plotly.relayout("profile", { "xaxis.range": [0.4, volumes[v].count + 0.6], "yaxis.range": [0, top] });
    await show();
    return ring();
  }

  async function deal(index) {
    const fresh = data.split[index].data[0];
    await Plotly.restyle("split", { y: [fresh.y], "marker.color": [fresh.marker.color], "marker.symbol": [fresh.marker.symbol] }, [0]);
    await ring();
    return show();
  }

  const ready = Promise.all([semicon.plot("split", data.split[fraction()]), semicon.plot("profile", data.profile)]).then(async ([chart, along]) => {
    chart.on("plotly_click", (event) => {
      if (event.points[0].curveNumber) return;
      const index = volumes.findIndex((volume) => volume.index === event.points[0].pointNumber);
      if (index >= 0) put("volume", String(index));
      else semicon.note("split-note", "That volume is not in this page: it holds a sample. The live browser shows all.");
    });
    along.on("plotly_click", (event) => { if (event.points[0].curveNumber < data.classes.length - 1) put("slice", event.points[0].pointNumber); });
    await choose(0);
  });
  on("volume", (next) => { pixel = null; semicon.note("split-note", ""); return choose(next); });
  on("slice", (index) => { k = Number(index); return show(); });
  for (const id of ["low", "high", "overlay", "kind"]) on(id, show);
  on("fraction", deal);
  return { ready, labels: (volume, index) => Array.from(volumes[volume].slices[index].labels), state: () => ({ volume: volumes[v].name, slice: volumes[v].slices[k].number, pixel }) };
})();
