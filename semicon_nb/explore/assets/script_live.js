// The same explorer in a notebook: Python hears what the reader did, and makes what is too slow for the browser.
let explorersMade = 0;
function render({ model, el }) {
  const prefix = `semicon${++explorersMade}-`, root = make("div"), aloud = make("p", { role: "status", "aria-live": "polite" });
  aloud.style.cssText = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap";
  root.dataset.lmSuppressShortcuts = "true"; // JupyterLab leaves the keys of controls alone
  root.addEventListener("keydown", (event) => event.stopPropagation());
  el.append(root, aloud);
  el.style.width = "100%";
  let shown = null, late = 0, waiting = null, serial = 0;
  const save = () => { clearTimeout(late); late = 0; if (waiting) { model.set("state", waiting); waiting = null; model.save_changes(); } };
  const host = {
    id: (name) => prefix + name,
    timed: (name, work) => work(),
    say: (text) => { aloud.textContent = text; },
    changed(state) { // a moving pointer changes it often: Python hears a few times a second
      waiting = state;
      if (!late) late = setTimeout(save, 200);
    },
    ask: (what) => { model.set("asked", { ...what, serial: ++serial }); model.save_changes(); },
  };
  const start = () => {
    if (shown) shown.stop();
    root.replaceChildren();
    shown = explorer(root, JSON.parse(model.get("data")), host);
    put();
  };
  const put = () => { const wanted = model.get("state"); if (Object.keys(wanted).length && JSON.stringify(wanted) !== JSON.stringify(waiting || shown.state())) shown.put(wanted); };
  const heard = (message) => { if (message.news) shown.news(JSON.parse(message.news)); };
  start();
  model.on("change:data", start);
  model.on("change:state", put);
  model.on("msg:custom", heard);
  return () => { clearTimeout(late); model.off("change:data", start); model.off("change:state", put); model.off("msg:custom", heard); shown.stop(); };
}
export default { render };
