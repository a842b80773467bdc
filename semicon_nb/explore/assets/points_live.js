// The points of points.js as a widget: Python sends the places of all moments once, then only which moment is shown.
function render({ model, el }) {
  const view = (name, kind = Uint8Array) => { const bytes = model.get(name); return new kind(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)); };
  const place = document.createElement("div");
  place.style.cssText = `position:relative;width:100%;height:${model.get("height")}px`;
  el.style.width = "100%";
  el.appendChild(place);
  const shown = pointsCanvas(place, view("kinds"), model.get("looks"), model.get("alt"));
  shown.canvas.style.cssText = "position:absolute;inset:0;width:100%;height:100%;cursor:grab";
  let places = [];
  const unpack = () => { places = unpackedPlaces(view("places", Uint16Array), model.get("moments")); };
  const redraw = () => { if (places[model.get("moment")]) shown.draw(places[model.get("moment")]); };
  const replaced = () => { unpack(); redraw(); };
  model.on("change:places", replaced);
  model.on("change:moment", redraw);
  replaced();
  return () => { model.off("change:places", replaced); model.off("change:moment", redraw); shown.stop(); };
}
export default { render };
