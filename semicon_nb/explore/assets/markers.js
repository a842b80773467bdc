// The marker shapes of semicon_nb.show, for legends outside the figures and for points on a canvas. Used live and in exported pages.
"use strict";
const markerShapes = { circle: '<circle cx="7" cy="7" r="5"/>', diamond: '<path d="M7 1l6 6-6 6-6-6z"/>', square: '<path d="M2 2h10v10H2z"/>', "triangle-up": '<path d="M7 1l6 11H1z"/>', "triangle-down": '<path d="M7 13L1 2h12z"/>', cross: '<path d="M5 1h4v4h4v4H9v4H5V9H1V5h4z"/>', x: '<path d="M3 1l4 4 4-4 2 2-4 4 4 4-2 2-4-4-4 4-2-2 4-4-4-4z"/>', star: '<path d="M7 0l2 5h5l-4 3 2 6-5-4-5 4 2-6-4-3h5z"/>' };

// One marker of `size` device pixels, to be stamped on a canvas
function markerStamp(symbol, colour, size) {
  const found = Object.assign(document.createElement("canvas"), { width: Math.ceil(size), height: Math.ceil(size) });
  const pen = found.getContext("2d"), line = (markerShapes[symbol] || markerShapes.circle).match(/ d="([^"]+)"/);
  const path = new Path2D(line ? line[1] : undefined);
  if (!line) path.arc(7, 7, 5, 0, 2 * Math.PI);
  pen.scale(size / 14, size / 14);
  pen.fillStyle = colour;
  pen.fill(path);
  return found;
}
