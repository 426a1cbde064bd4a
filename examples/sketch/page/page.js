// Draw on the board, send it stroke by stroke, and show what the others draw and where their pointers are.

"use strict";

const WIDTH = 1500;
const HEIGHT = 1200;
const COLOURS = ["ink", "red", "orange", "yellow", "green", "blue", "violet", "rubber"];
const WIDTHS = [4, 9, 20];
const RUBBER = 7;
const RUBBER_FACTOR = 3;
const MAX_POINTS_OF_STROKE = 1000;
const CURSOR_EVERY_MS = 45;
const CURSOR_SHOWN_MS = 4000;
const SURE_MS = 3000;
const SETTLED_MS = 250;
const by = (id) => document.getElementById(id);
const canvas = by("canvas");
const pen = canvas.getContext("2d");
const strokes = new Map();
const cursors = new Map();
let palette = [];
let you = 0;
let count = 0;
let colour = 0;
let width = 1;
let drawing = null;
let unsent = [];
let pointed = -Infinity;
let settling = 0;

function readPalette() {
  const style = getComputedStyle(document.documentElement);
  palette = COLOURS.map((_, index) => style.getPropertyValue(`--colour-${index}`).trim());
}

function fit() {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  redraw();
}

function redraw() {
  pen.setTransform(canvas.width / WIDTH, 0, 0, canvas.height / HEIGHT, 0, 0);
  pen.clearRect(0, 0, WIDTH, HEIGHT);
  pen.lineCap = "round";
  pen.lineJoin = "round";
  for (const stroke of strokes.values()) trace(stroke, 0);
  tellCount();
}

function tellCount() {
  document.body.dataset.strokes = strokes.size;
  by("undo").disabled = ![...strokes.keys()].some((key) => key.startsWith(`${you}.`));
  by("clear").disabled = strokes.size === 0;
}

/* Draw a stroke from its point number `first` on, through the middles between points, so that corners become curves. */
function trace(stroke, first) {
  const { points } = stroke;
  // The rubber takes away instead of painting over, so that the dots of the paper come back.
  pen.globalCompositeOperation = stroke.colour === RUBBER ? "destination-out" : "source-over";
  pen.strokeStyle = palette[stroke.colour];
  pen.lineWidth = WIDTHS[stroke.width] * (stroke.colour === RUBBER ? RUBBER_FACTOR : 1);
  const middle = (index) => [(points[index] + points[index - 2]) / 2, (points[index + 1] + points[index - 1]) / 2];
  const start = Math.max(0, first - 1) * 2;
  pen.beginPath();
  if (start < 2) pen.moveTo(points[0], points[1]);
  else pen.moveTo(...middle(start));
  if (points.length === 2) pen.lineTo(points[0] + 0.1, points[1]);
  for (let index = Math.max(2, start + 2); index < points.length; index += 2) {
    pen.quadraticCurveTo(points[index - 2], points[index - 1], ...middle(index));
  }
  pen.lineTo(points.at(-2), points.at(-1));
  pen.stroke();
}

function begin(key, strokeColour, strokeWidth, at) {
  const stroke = { colour: strokeColour, width: strokeWidth, points: [...at] };
  strokes.set(key, stroke);
  trace(stroke, 0);
  tellCount();
  return stroke;
}

function extend(stroke, points) {
  const first = stroke.points.length / 2;
  stroke.points.push(...points);
  trace(stroke, first);
  // Pieces overlap, which shows at their edges; once the hand rests, each stroke is drawn in one piece.
  clearTimeout(settling);
  settling = setTimeout(redraw, SETTLED_MS);
}

const heard = {
  board: (content) => {
    you = content.you;
    document.body.dataset.you = you;
    drawing = null;
    strokes.clear();
    for (const [key, strokeColour, strokeWidth, points] of content.strokes) {
      strokes.set(key, { colour: strokeColour, width: strokeWidth, points });
    }
    redraw();
  },
  begin: (content) => begin(content.stroke, content.colour, content.width, content.at),
  draw: (content) => { if (strokes.has(content.stroke)) extend(strokes.get(content.stroke), content.points); },
  erase: (content) => { content.strokes.forEach((key) => strokes.delete(key)); redraw(); },
  wiped: () => { strokes.clear(); redraw(); },
  artists: (content) => introduce(content.artists),
  cursor: (content) => point(content.artist, content.at),
};

const tone = (number) => `var(--colour-${1 + ((number - 1) % 6)})`;

function introduce(artists) {
  by("artists").replaceChildren(...artists.map((artist) => {
    const row = document.createElement("li");
    row.textContent = artist.number === you ? `${artist.name} (you)` : artist.name;
    row.style.setProperty("--who", tone(artist.number));
    return row;
  }));
  document.body.dataset.artists = artists.length;
  const present = new Map(artists.map((artist) => [artist.number, artist.name]));
  for (const [number, cursor] of cursors) {
    if (present.has(number)) continue;
    cursor.remove();
    cursors.delete(number);
  }
  for (const [number, name] of present) if (number !== you && !cursors.has(number)) makeCursor(number, name);
}

function makeCursor(number, name) {
  const cursor = document.createElement("div");
  cursor.className = "cursor idle";
  cursor.innerHTML = '<svg viewBox="0 0 20 20"><path d="M2 1l15 8-7 2-3 7z" fill="currentColor"/></svg><span></span>';
  cursor.querySelector("span").textContent = name;
  cursor.style.setProperty("--who", tone(number));
  cursor.dataset.artist = number;
  by("cursors").append(cursor);
  cursors.set(number, cursor);
}

function point(number, [x, y]) {
  const cursor = cursors.get(number);
  if (!cursor) return;
  cursor.dataset.at = `${x},${y}`;
  cursor.style.transform = `translate(${(x / WIDTH) * canvas.clientWidth}px, ${(y / HEIGHT) * canvas.clientHeight}px)`;
  cursor.classList.remove("idle");
  clearTimeout(cursor.fading);
  cursor.fading = setTimeout(() => cursor.classList.add("idle"), CURSOR_SHOWN_MS);
}

function state(name, facts) {
  document.body.dataset.state = name;
  if (facts.code) document.body.dataset.code = facts.code;
  by("state").textContent = {
    open: "connected",
    connecting: "connecting…",
    waiting: `${facts.code === 1012 ? "the server restarts" : "connection lost"}, again in ${facts.seconds} s`,
  }[name] || name;
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  const within = (value, most) => Math.round(Math.min(Math.max(value, 0), 1) * most);
  return [within((event.clientX - box.left) / box.width, WIDTH), within((event.clientY - box.top) / box.height, HEIGHT)];
}

function start(at) {
  count += 1;
  drawing = { number: count, stroke: begin(`${you}.${count}`, colour, width, at) };
  line.send({ kind: "begin", stroke: count, colour, width, at });
}

function flush() {
  if (drawing && unsent.length) line.send({ kind: "draw", stroke: drawing.number, points: unsent });
  unsent = [];
}

const line = new Line(() => lineAddress("socket"), { message: (content) => heard[content.kind]?.(content), state });

canvas.addEventListener("pointerdown", (event) => {
  if (event.button || !event.isPrimary || line.state !== "open" || !you) return;
  canvas.setPointerCapture(event.pointerId);
  by("sheet").classList.add("drawing");
  start(place(event));
});
canvas.addEventListener("pointermove", (event) => {
  if (!event.isPrimary) return;
  if (drawing) {
    const moves = event.getCoalescedEvents?.() || [];
    const points = (moves.length ? moves : [event]).flatMap(place);
    extend(drawing.stroke, points);
    unsent.push(...points);
    if (drawing.stroke.points.length >= 2 * MAX_POINTS_OF_STROKE) {
      flush();
      start(place(event));
    }
  }
  if (performance.now() - pointed > CURSOR_EVERY_MS) {
    pointed = performance.now();
    flush();
    line.send({ kind: "cursor", at: place(event) });
  }
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, (event) => {
    if (!event.isPrimary) return;
    flush();
    drawing = null;
    by("sheet").classList.remove("drawing");
  });
}

function choose(group, index) {
  [...by(group).children].forEach((each, number) => each.setAttribute("aria-pressed", number === index));
  if (group === "colours") colour = index;
  else width = index;
}

function tool(group, label, index, property, value) {
  const button = document.createElement("button");
  button.type = "button";
  button.title = label;
  button.setAttribute("aria-label", label);
  button.style.setProperty(property, value);
  button.addEventListener("click", () => choose(group, index));
  by(group).append(button);
}

function clear() {
  const button = by("clear");
  if (!button.classList.contains("sure")) {
    button.classList.add("sure");
    button.textContent = "For all?";
    setTimeout(() => { button.classList.remove("sure"); button.textContent = "Clear"; }, SURE_MS);
    return;
  }
  button.classList.remove("sure");
  button.textContent = "Clear";
  line.send({ kind: "clear" });
}

function save() {
  const copy = document.createElement("canvas");
  copy.width = WIDTH;
  copy.height = HEIGHT;
  const paint = copy.getContext("2d");
  paint.fillStyle = palette[RUBBER];
  paint.fillRect(0, 0, WIDTH, HEIGHT);
  paint.drawImage(canvas, 0, 0, WIDTH, HEIGHT);
  const link = document.createElement("a");
  link.download = "sketch.png";
  link.href = copy.toDataURL("image/png");
  link.click();
}

COLOURS.forEach((name, index) => tool("colours", name, index, "--own", `var(--colour-${index})`));
WIDTHS.forEach((size, index) => tool("widths", `${["thin", "medium", "thick"][index]} line`, index, "--size", `${5 + size * 0.6}px`));
choose("colours", 0);
choose("widths", 1);
by("undo").addEventListener("click", () => line.send({ kind: "undo" }));
by("clear").addEventListener("click", clear);
by("save").addEventListener("click", save);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key >= "1" && event.key <= "8") choose("colours", Number(event.key) - 1);
  if (event.key === "u") line.send({ kind: "undo" });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readPalette(); redraw(); });
new ResizeObserver(fit).observe(canvas);
readPalette();
