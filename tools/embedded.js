// Tells the explorers inside a page whether it is light or dark, when they ask and whenever that changes, and makes their frames
// as high as they say. Works from disk, too.
(() => {
  "use strict";
  if (window.semiconEmbedded) return;
  window.semiconEmbedded = true;
  const dark = () => [document.documentElement, document.body].some((e) => e.classList.contains("quarto-dark"));
  const tell = (frame) => frame.postMessage({ semiconTheme: dark() ? "dark" : "light" }, "*");
  const frames = () => Array.from(document.querySelectorAll("iframe.explorer"), (e) => e.contentWindow);
  addEventListener("message", (event) => { if (event.data && event.data.semiconTheme === "?" && frames().includes(event.source)) tell(event.source); });
  addEventListener("message", (event) => {
    const frame = Array.from(document.querySelectorAll("iframe.explorer")).find((e) => e.contentWindow === event.source);
    const height = event.data && event.data.semiconHeight;
    if (frame && height > 100 && height < 9000) frame.style.height = `${height + 2}px`; // and its border
  });
  for (const place of [document.documentElement, document.body]) {
    new MutationObserver(() => frames().forEach(tell)).observe(place, { attributes: true, attributeFilter: ["class"] });
  }
  frames().forEach(tell);
})();
