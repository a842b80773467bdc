// Points on a canvas of their own, stamped into its bytes: thousands of them in a few milliseconds, where plotly needs hundreds.
// Used live and in exported pages, after markers.js.
"use strict";

// Fill `place` with a map of points: kinds[i] is the class of point i, looks[k] = {colour, symbol} how class k is drawn.
// Returns draw({x, y}) with places in 0 .. 1. Drag to move, + and - (or the wheel, once it has the focus) to zoom, 0 to start again
function pointsCanvas(place, kinds, looks, alt) {
  const canvas = document.createElement("canvas"), how = "drag to move, plus, minus or double click to zoom, arrows to move, 0 to see all";
  canvas.className = "dots";
  canvas.tabIndex = 0;
  canvas.title = how[0].toUpperCase() + how.slice(1);
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", `${alt}; ${how}`);
  if (place.getAttribute("role") === "img") place.setAttribute("role", "group"); // there is something to operate inside
  place.appendChild(canvas);
  const order = Array.from(kinds.keys()).sort((a, b) => kinds[a] - kinds[b]); // the background lies below
  const seen = { x: 0.5, y: 0.5, zoom: 1 }; // the middle of what is seen, and how much closer than all
  let now = null, stamps = [], picture = null;

  function sized() {
    const scale = Math.min(window.devicePixelRatio || 1, 2), width = Math.round(place.clientWidth * scale), height = Math.round(place.clientHeight * scale);
    if (picture && canvas.width === width && canvas.height === height) return;
    canvas.width = width;
    canvas.height = height;
    picture = new ImageData(Math.max(width, 1), Math.max(height, 1));
    stamps = looks.map(({ colour, symbol }) => {
      const made = markerStamp(symbol, colour, Math.round(8 * scale)), side = made.width;
      return { side, bytes: made.getContext("2d").getImageData(0, 0, side, side).data };
    });
  }

  const room = () => Math.min(picture.width, picture.height) / 1.08 * seen.zoom;

  function draw(points) {
    now = points;
    sized();
    const { width, height, data } = picture, far = room();
    data.fill(0);
    for (const i of order) {
      const { side, bytes: stamp } = stamps[kinds[i] % stamps.length];
      const left = Math.round(width / 2 + (points.x[i] - seen.x) * far - side / 2), top = Math.round(height / 2 - (points.y[i] - seen.y) * far - side / 2);
      if (left < 0 || top < 0 || left + side > width || top + side > height) continue;
      for (let y = 0, from = 0; y < side; y++) for (let x = 0, to = 4 * ((top + y) * width + left); x < side; x++, from += 4, to += 4) {
        const over = 0.75 * stamp[from + 3] / 255;
        if (!over) continue;
        const under = data[to + 3] / 255 * (1 - over), all = over + under;
        for (let c = 0; c < 3; c++) data[to + c] = (stamp[from + c] * over + data[to + c] * under) / all;
        data[to + 3] = 255 * all;
      }
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
    canvas.dispatchEvent(new CustomEvent("semicon-redraw", { bubbles: true }));
  }

  // Pixels of the canvas that a pointer is away from its middle, to the right and upwards
  function away(event) {
    const box = canvas.getBoundingClientRect(), scale = canvas.width / Math.max(box.width, 1);
    return [(event.clientX - box.left - box.width / 2) * scale, (box.top + box.height / 2 - event.clientY) * scale];
  }
  let asked = false;
  function again() { // many moves, one picture
    if (asked || !now) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(now); });
  }
  function closer(by, [right, up] = [0, 0]) { // what lies under the pointer stays there
    if (!picture) return;
    const before = room();
    seen.zoom = Math.max(1, Math.min(40, seen.zoom * by));
    const after = room();
    seen.x += right / before - right / after;
    seen.y += up / before - up / after;
    if (seen.zoom === 1) seen.x = seen.y = 0.5;
    again();
  }
  let held = null;
  canvas.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointercancel", () => { held = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (!held || !picture || seen.zoom === 1) return;
    const scale = canvas.width / Math.max(canvas.getBoundingClientRect().width, 1);
    seen.x -= (event.clientX - held[0]) * scale / room();
    seen.y += (event.clientY - held[1]) * scale / room();
    held = [event.clientX, event.clientY];
    again();
  });
  canvas.addEventListener("dblclick", (event) => { event.preventDefault(); closer(event.shiftKey ? 0.5 : 2, away(event)); });
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas) return; // a reader who scrolls past must not be caught
    event.preventDefault();
    closer(event.deltaY < 0 ? 1.2 : 1 / 1.2, away(event));
  }, { passive: false });
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  canvas.addEventListener("keydown", (event) => {
    const { key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key === "+" || key === "=") closer(1.5);
    else if (key === "-") closer(1 / 1.5);
    else if (key === "0") closer(0);
    else if (moves[key] && seen.zoom > 1) { seen.x += 0.1 * moves[key][0] / seen.zoom; seen.y += 0.1 * moves[key][1] / seen.zoom; again(); } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  const watch = new ResizeObserver(() => { if (now) draw(now); });
  watch.observe(place);
  Object.assign(canvas, { semicon: { points: () => now, seen } });
  return { draw, canvas, stop: () => watch.disconnect() };
}

// Places [T, N, 2] as 16-bit numbers -> for each moment {x, y} in 0 .. 1
function unpackedPlaces(all, moments) {
  const n = all.length / 2 / moments;
  const column = (t, axis) => Float32Array.from({ length: n }, (_, i) => all[2 * (t * n + i) + axis] / 65535);
  return Array.from({ length: moments }, (_, t) => ({ x: column(t, 0), y: column(t, 1) }));
}
