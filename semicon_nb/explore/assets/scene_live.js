// The same explorer in a notebook: Python holds its state, and sends what is too large to be sent at once.
let scenesMade = 0;
function render({ model, el }) {
  const prefix = `semicon${++scenesMade}-`, root = document.createElement("div"), aloud = make("p", { class: "unseen", role: "status", "aria-live": "polite" });
  root.className = "semicon-scene";
  root.dataset.lmSuppressShortcuts = "true"; // JupyterLab leaves the keys of controls alone
  root.addEventListener("keydown", (event) => event.stopPropagation());
  el.append(root, aloud);
  el.style.width = "100%";
  const waiting = new Map();
  const host = {
    id: (name) => prefix + name,
    timed: (name, work) => work(),
    changed: (state) => { model.set("state", state); model.save_changes(); },
    say: (text) => { aloud.textContent = text; },
    volume: (v) => new Promise((found) => { waiting.set(v, found); model.set("wanted", v); model.save_changes(); }),
  };
  const arrived = () => {
    const volume = JSON.parse(model.get("volume") || "null");
    if (volume && waiting.has(volume.index)) { waiting.get(volume.index)(volume); waiting.delete(volume.index); }
  };
  const data = JSON.parse(model.get("data"));
  data.state = { ...data.state, ...model.get("state") };
  const scene = scenes[data.kind](root, data, host);
  const put = () => { if (JSON.stringify(model.get("state")) !== JSON.stringify(scene.state())) scene.put(model.get("state")); };
  model.on("change:state", put);
  model.on("change:volume", arrived);
  return () => { model.off("change:state", put); model.off("change:volume", arrived); scene.stop(); };
}
export default { render };
