// Guess before you look: the reader drags what each claim will bring, then what was measured appears beside the guess.
"use strict";

const signed = (x) => (x > 0 ? "+" : x < 0 ? "−" : "") + Math.abs(x);
const tenths = (x) => (x > 0 ? "+" : x < 0 ? "−" : "") + Math.abs(x).toFixed(1);
const inPoints = (x) => `${signed(x)} ${Math.abs(x) === 1 ? "point" : "points"}`;
const within = (mean, half) => (half === null ? tenths(mean) : `${tenths(mean)} ± ${half.toFixed(1)}`);
const between = (found) => found.claim.replace(" > ", " against ");
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// A span from one value to another on the scale, whose ends are those of the thumb's centre
const spanned = (kind, from, to, scale, more = {}) => {
  const [a, b] = [from, to].map((x) => (Math.min(Math.max(x, scale.low), scale.high) - scale.low) / (scale.high - scale.low));
  return make("span", { class: kind, style: `--from:${a.toFixed(4)};--to:${b.toFixed(4)}`, "aria-hidden": "true", ...more });
};

// One claim: its slider, the room, and below it a bar for each comparison that was run; heard() when the reader moves it
function claimRow(claim, id, scale, heard) {
  const input = make("input", { type: "range", id, min: scale.low, max: scale.high, step: 0.5, value: 0, class: "unset" });
  const said = make("output", { for: id, text: "drag the dot" });
  const write = () => {
    const found = Number(input.value);
    said.textContent = `your guess: ${inPoints(found)}`;
    input.setAttribute("aria-valuetext", `${inPoints(found)} of Dice`);
  };
  const moved = () => { input.classList.remove("unset"); write(); heard(); };
  input.setAttribute("aria-valuetext", "no guess yet");
  input.addEventListener("input", moved);
  input.addEventListener("click", moved); // a guess of zero is a guess
  const track = make("div", { class: "track" });
  for (const x of scale.ticks) track.append(spanned(x ? "tick" : "tick zero", x, x, scale));
  track.append(input);
  for (const found of claim.found) {
    if (found.room !== null && found === claim.found[0]) {
      const most = found.room + (found.room_half || 0);
      track.prepend(spanned("room", 0, found.room, scale), spanned("room faint", found.room, most, scale));
    }
    const half = found.half || 0;
    track.append(make("div", { class: "lane" }, spanned("bar", found.difference - half, found.difference + half, scale), spanned("mean", found.difference, found.difference, scale)));
  }
  const told = make("ul", {}, ...claim.found.map((found) => make("li", {}, make("b", { text: within(found.difference, found.half) }), ` ${between(found)}: ${found.verdict}`)));
  const head = make("div", { class: "head" }, make("label", { for: id, text: claim.text }), said);
  const guess = () => (input.classList.contains("unset") ? null : Number(input.value));
  const again = () => { input.value = 0; input.disabled = false; input.classList.add("unset"); said.textContent = "drag the dot"; input.setAttribute("aria-valuetext", "no guess yet"); };
  const close = () => { input.disabled = true; if (guess() === null) said.textContent = "no guess"; };
  return { element: make("div", { class: "claim" }, head, track, told), input, claim, guess, again, close };
}

// The row with the boldest guess, how many guesses lie in an interval, and what to say of both
function reckoned(rows) {
  const guessed = rows.filter((row) => row.guess() !== null), all = rows.flatMap((row) => row.claim.found);
  const inside = guessed.filter((row) => row.claim.found.some((f) => f.half !== null && Math.round(10 * Math.abs(row.guess() - f.difference)) <= Math.round(10 * f.half)));
  const bold = guessed.reduce((best, row) => (!best || Math.abs(row.guess()) > Math.abs(best.guess()) ? row : best), null);
  const room = all.find((found) => found.room !== null), words = [...new Set(all.map((found) => found.verdict))];
  return { guessed, inside, bold, room, verdicts: words.map((word) => `${word} (${all.filter((f) => f.verdict === word).length} of ${all.length})`).join(", ") };
}

const counted = (guessed) => `${guessed.length} ${guessed.length === 1 ? "guess" : "guesses"}`;
const measured = (claim) => claim.found.map((found) => within(found.difference, found.half)).join(" and ");

function conclusion({ guessed, inside, bold, room, verdicts }, data) {
  const said = [];
  if (bold) said.push(`Your boldest guess: ${inPoints(bold.guess())} for “${bold.claim.text}”. Measured: ${measured(bold.claim)}.`);
  else said.push("You looked without a guess; that is allowed.");
  if (room) said.push(`All labels in place of ${data.labels} brought training from scratch ${within(room.room, room.room_half)} points. A method can win about as much, and hardly more.`);
  else said.push("Training with all labels was not run here, so nobody knows how much there was to win.");
  if (guessed.length) said.push(`Inside a measured interval: ${inside.length} of your ${counted(guessed)}.`);
  return [said.join(" "), `The verdicts: ${verdicts}.`];
}

function sentence({ guessed, inside, bold, room }, data) {
  const here = location.protocol === "https:" && document.getElementById("quarto-content") ? ` ${location.href.split(/[?#]/)[0]}` : "";
  const there = room ? `, where all labels bring ${within(room.room, room.room_half)}` : "";
  const score = ` Inside a measured interval: ${inside.length} of my ${counted(guessed)}.`;
  return bold ? `I guessed ${inPoints(bold.guess())} of Dice for “${bold.claim.text}” (${data.about}). Measured: ${measured(bold.claim)}${there}.${score}${here}` : "";
}

// A sentence to share and the button that copies it
function sharing() {
  const text = make("q", {}), button = make("button", { type: "button", text: "Copy the sentence" });
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(text); // where a browser refuses to copy, the reader can
    const done = await navigator.clipboard?.writeText(text.textContent).then(() => true, () => false);
    button.textContent = done ? "Copied" : "Selected: press Ctrl or ⌘ and C";
  });
  const element = make("p", { class: "share", hidden: true }, text, " ", button);
  return { element, put: (said) => { text.textContent = said; element.hidden = !said; button.textContent = "Copy the sentence"; } };
}

// The runs that are played, and a button for each other experiment, which begins anew
function experiments(root, all, name, which) {
  const note = make("p", { class: "note", text: `The runs: ${all[which].about}.` });
  if (all.length < 2) return note;
  const buttons = all.map((one, k) => make("button", { type: "button", "aria-pressed": String(k === which), text: `${one.about}: ${one.claims.length} ${one.claims.length === 1 ? "claim" : "claims"}` }));
  buttons.forEach((button, k) => button.addEventListener("click", () => { guessing(root, all, name, k); root.querySelectorAll(".runs button")[k].focus(); }));
  return make("div", { class: "runs", role: "group", "aria-label": "Which runs" }, make("span", { class: "note", text: "The runs: " }), ...buttons);
}

function guessing(root, all, name, which = 0) {
  root.classList.remove("shown", "begun");
  const data = all[which];
  const share = sharing(), status = make("div", { class: "told", role: "status" });
  const look = make("button", { type: "button", class: "look", text: "Show what was measured" }), shown = () => root.classList.contains("shown");
  const heard = () => root.classList.add("begun");
  const rows = data.claims.map((claim, k) => claimRow(claim, `${name}-${k}`, data.scale, heard));
  const key = make("p", { class: "key" }, make("span", {}, make("i", { class: "dot" }), "your guess"), make("span", {}, make("i", { class: "bar" }), "measured, 95 % interval"), make("span", {}, make("i", { class: "room" }), "room: what all labels bring"));
  const axis = make("div", { class: "track axis", "aria-hidden": "true" }, ...data.scale.ticks.map((x) => { const found = spanned("at", x, x, data.scale); found.textContent = signed(x); return found; }));
  look.addEventListener("click", () => {
    const open = root.classList.toggle("shown");
    for (const row of rows) if (open) row.close(); else row.again();
    if (!open) root.classList.remove("begun");
    look.textContent = open ? "Guess again" : "Show what was measured";
    const found = reckoned(rows);
    status.replaceChildren(...(open ? conclusion(found, data).map((text) => make("p", { text })) : []));
    share.put(open ? sentence(found, data) : "");
    if (open) status.scrollIntoView({ block: "nearest", behavior: still() ? "auto" : "smooth" });
  });
  const lead = make("p", { class: "invite" }, make("b", { text: "Drag each dot" }), " to the gain that you expect, in points of Dice: one point is 0.01. Then look.");
  root.replaceChildren(lead, experiments(root, all, name, which), key, ...rows.map((row) => row.element), axis, make("p", { class: "ends", "aria-hidden": "true" }, make("span", { text: "← points lost" }), make("span", { text: "points gained →" })), make("div", { class: "press" }, look), status, share.element);
}

document.querySelectorAll(".semicon-guess:not([data-alive])").forEach((root) => {
  root.dataset.alive = "true";
  guessing(root, JSON.parse(root.dataset.guess).experiments, `guess-${crypto.getRandomValues(new Uint32Array(1))[0]}`); // a cell may run again
});
