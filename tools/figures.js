// Draws the plotly figures of a page when they come into view, in the colours of the page.
(() => {
  "use strict";
  const dark = () => document.documentElement.classList.contains("quarto-dark") || document.body.classList.contains("quarto-dark");
  const colours = () => (dark() ? { text: "#d7dde3", grid: "rgba(255,255,255,.16)" } : { text: "#3b444d", grid: "rgba(0,0,0,.12)" });

  const themed = (layout) => {
    const { text, grid } = colours();
    const out = { ...layout, autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" };
    out.font = { ...(layout.font || {}), color: text, family: "system-ui, sans-serif" };
    delete out.width;
    if (out.legend && out.legend.y < 0 && out.legend.yanchor === "bottom") out.legend = { ...out.legend, y: -0.1, yanchor: "top" }; // a second row grows downwards
    Object.keys(layout).filter((k) => /^[xy]axis\d*$/.test(k)).forEach((k) => { out[k] = { ...layout[k], gridcolor: grid, linecolor: grid }; });
    return out;
  };

  // on a phone the titles of panels beside each other would run into one: each is broken to the width of its panel
  const broken = (layout, width) => {
    const { l = 80, r = 80, t = 100 } = layout.margin || {};
    const panels = Object.keys(layout).filter((k) => /^xaxis\d*$/.test(k)).map((k) => layout[k].domain || [0, 1]);
    let more = 0;
    const annotations = (layout.annotations || []).map((note) => {
      const panel = panels.find(([from, to]) => from <= note.x && note.x <= to);
      if (!panel || note.xref !== "paper" || note.showarrow || note.yanchor !== "bottom" || note.text.includes("<")) return note;
      const room = (panel[1] - panel[0]) * (width - l - r);
      const size = 12;
      const letters = Math.floor(room / (size * 0.58));
      if (note.text.length * ((note.font || {}).size || size) * 0.58 < room * 1.15) return note;
      const lines = note.text.split(" ").reduce((done, word) => {
        const last = done.length - 1;
        return last >= 0 && done[last].length + word.length < letters ? [...done.slice(0, last), `${done[last]} ${word}`] : [...done, word];
      }, []);
      if (note.y > 0.99) more = Math.max(more, (lines.length - 1) * size * 1.3);
      return { ...note, text: lines.join("<br>"), font: { ...note.font, size } };
    });
    return { ...layout, annotations, margin: { ...layout.margin, t: t + more } };
  };

  // two rows of panels cannot be read on a phone: they keep a width that can, and scroll sideways
  const room = (box, layout) => {
    const panels = Object.keys(layout).filter((k) => /^xaxis\d*$/.test(k)).length;
    const narrow = panels > 4 && box.clientWidth < 700;
    box.style.overflowX = narrow ? "auto" : "";
    if (narrow) box.tabIndex = 0;
    return narrow ? 860 : box.clientWidth;
  };

  const draw = (box) => {
    if (!box.figure) box.figure = JSON.parse(box.querySelector('script[type="application/json"]').textContent);
    const options = { responsive: true, displaylogo: false, displayModeBar: "hover", modeBarButtonsToRemove: ["sendDataToCloud"] };
    const width = room(box, box.figure.layout);
    const layout = themed(broken(box.figure.layout, width));
    if (width > box.clientWidth) Object.assign(layout, { width, autosize: false });
    window.Plotly.react(box, box.figure.data, layout, options);
    box.dataset.drawn = "yes";
  };

  // plotly is 4.8 MB: it loads when the first figure comes near, so that the text does not wait for it
  const here = document.currentScript.src;
  let library = null;
  const ready = () => (library ||= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = here.replace("figures.js", "plotly.min.js");
    script.onload = done;
    script.onerror = failed;
    document.head.append(script);
  }));

  const boxes = Array.from(document.querySelectorAll(".plotly-figure"));
  const near = new IntersectionObserver((seen) => seen.filter((s) => s.isIntersecting).forEach((s) => { near.unobserve(s.target); ready().then(() => draw(s.target)); }), { rootMargin: "400px" });
  boxes.forEach((box) => near.observe(box));
  const redraw = () => boxes.filter((box) => box.dataset.drawn).forEach(draw);
  window.addEventListener("orientationchange", () => setTimeout(redraw, 300));
  new MutationObserver(redraw).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
  new MutationObserver(redraw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
})();
