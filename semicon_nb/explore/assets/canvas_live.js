// The canvas of canvas.js as a widget: Python sends bytes, the reader's choice goes back as `anchor`.
function render({ model, el }) {
  const bytes = (name) => { const view = model.get(name); return view && view.byteLength ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : null; };
  const place = document.createElement("div");
  place.style.cssText = "width:100%;max-width:" + model.get("widest") + "px";
  el.style.width = "100%";
  el.appendChild(place);
  const pick = model.get("picks") ? (row, column) => { model.set("anchor", [row, column]); model.save_changes(); } : null;
  const shown = pixelCanvas(place, pick);
  function redraw() {
    const [height, width] = model.get("shape");
    const rgb = bytes("rgb");
    if (!rgb || rgb.length !== 3 * height * width) return;
    const anchor = model.get("anchor");
    shown.draw({ height, width, rgb, marks: bytes("marks"), labels: bytes("labels"), grid: model.get("grid"), cursor: anchor.length ? anchor : null, alt: model.get("alt") });
  }
  model.on("change:serial", redraw);
  redraw();
  return () => { model.off("change:serial", redraw); shown.stop(); };
}
export default { render };
