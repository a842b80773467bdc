// Plotly's widget, loaded once for all figures of a page instead of once for each: five megabytes of script take a slow machine
// longer than the two seconds that anywidget grants a figure to start.
const shared = (model) => (globalThis.semiconPlotly ??= (async () => {
  const script = new Response(new Blob([model.get("_bundle")]).stream().pipeThrough(new DecompressionStream("gzip")));
  const address = URL.createObjectURL(new Blob([await script.arrayBuffer()], { type: "text/javascript" }));
  const module = await import(address);
  URL.revokeObjectURL(address);
  return module.default;
})());
const started = new WeakMap();
const start = (model) => {
  if (!started.has(model)) started.set(model, shared(model).then(async (make) => {
    const widget = typeof make === "function" ? await make() : make; // one for each figure: it keeps the figure's state
    await widget.initialize?.({ model });
    return widget;
  }));
  return started.get(model);
};
export default {
  initialize({ model }) { start(model); },
  async render({ model, el }) {
    const widget = await start(model);
    // What changed while the script was loading has not been heard: ask for the figure as it is now, and do not wait for a busy kernel
    await new Promise((resolve) => {
      const done = () => { model.off("change:_answered", done); clearTimeout(late); resolve(); };
      const late = setTimeout(done, 1500);
      model.on("change:_answered", done);
      model.set("_asked", model.get("_asked") + 1);
      model.save_changes();
    });
    const gone = widget.render({ model, el });
    // The line of a lasso is dropped: plotly keeps it in the wrong place here, and would ask it again, wrongly, at every redraw
    const listen = setInterval(() => {
      if (!el.on) return;
      clearInterval(listen);
      el.on("plotly_relayout", (change) => { if (change && change.selections && el.layout) el.layout.selections = []; });
    }, 50);
    return () => gone?.();
  },
};
