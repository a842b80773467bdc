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
    Object.keys(layout).filter((k) => /^[xy]axis\d*$/.test(k)).forEach((k) => { out[k] = { ...layout[k], gridcolor: grid, linecolor: grid }; });
    return out;
  };

  const draw = (box) => {
    if (!box.figure) box.figure = JSON.parse(box.querySelector('script[type="application/json"]').textContent);
    const options = { responsive: true, displaylogo: false, displayModeBar: "hover", modeBarButtonsToRemove: ["sendDataToCloud"] };
    window.Plotly.react(box, box.figure.data, themed(box.figure.layout), options);
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
  new MutationObserver(redraw).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
  new MutationObserver(redraw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
})();
