// Asks the kernel for a sign of life when the reader touches the explorer; shows a sentence when none comes.
const SENTENCE = "The kernel does not answer: it was closed, restarted, or is busy. What you see stays; what needs the kernel does nothing until the cell is run again.";
function render({ model, el }) {
  el.innerHTML = "";
  const note = document.createElement("div");
  note.setAttribute("role", "status");
  note.className = "semicon-closed";
  note.style.cssText = "border-left:4px solid #d55e00;padding:.5rem .8rem;line-height:1.4";
  note.hidden = true;
  note.textContent = SENTENCE;
  el.appendChild(note);
  let waiting = 0;
  const heard = () => { clearTimeout(waiting); waiting = 0; note.hidden = true; };
  const ask = () => {
    if (waiting) return;
    waiting = setTimeout(() => { waiting = 0; note.hidden = false; }, 4000);
    try {
      model.set("asked", Date.now() % 1e9);
      model.save_changes();
    } catch (error) { note.hidden = false; }
  };
  let last = 0, box = null;
  const touched = () => { if (Date.now() - last > 2000) { last = Date.now(); ask(); } };
  const kinds = ["pointerup", "keyup", "change"];
  const start = setTimeout(() => { // by then the element stands in the page
    box = el.closest(".semicon-explorer") || el.getRootNode().host?.closest(".semicon-explorer") || el;
    for (const kind of kinds) box.addEventListener(kind, touched, true);
  }, 500);
  model.on("change:answered", heard);
  return () => { clearTimeout(waiting); clearTimeout(start); for (const kind of kinds) if (box) box.removeEventListener(kind, touched, true); model.off("change:answered", heard); };
}
export default { render };
