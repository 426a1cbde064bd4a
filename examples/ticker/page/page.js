// Follow the stream, keep the ticks that are shown, and say how the stream is doing.

"use strict";

const MEMORY_TICKS = 480;
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 15000;
const ABOUT = {
  SARSEN: "Silcrete, 25 tons each",
  BLUE: "Spotted dolerite, a long way from home",
  ALTAR: "Micaceous sandstone, one piece",
  SLAB: "For paving",
};
const by = (id) => document.getElementById(id);
const series = {};
const tiles = {};
const chart = new Chart(by("chart"));
let chosen = "SARSEN";
let span = 60;
let last = 0;
let ticks = 0;
let missing = 0;
let resumed = 0;
let resuming = false;
let skew = 0;
let retry = FIRST_RETRY_MS;
let waiting = 0;
let source = null;
let colours = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "soft", "grid", "card", "up", "down"]) colours[name] = style.getPropertyValue(`--${name}`).trim();
}

function state(name, text) {
  document.body.dataset.state = name;
  by("state").textContent = text;
}

function follow() {
  clearTimeout(waiting);
  source?.close();
  // A browser keeps at most six HTTP/1.1 connections to a site for all its tabs; a hidden one lets go of its own.
  if (document.hidden) {
    state("waiting", "paused until somebody looks");
    return;
  }
  source = new EventSource(last ? `events?after=${last}` : "events");
  source.onopen = () => {
    state("open", "live");
    retry = FIRST_RETRY_MS;
    resuming = last > 0;
  };
  source.onmessage = (event) => take(Number(event.lastEventId), JSON.parse(event.data));
  source.onerror = () => {
    state("waiting", "the stream broke off, trying again…");
    // It comes back by itself after a break, but not after a refusal such as 503.
    if (source.readyState !== EventSource.CLOSED) return;
    waiting = setTimeout(follow, retry * (0.5 + Math.random() / 2));
    retry = Math.min(retry * 2, LONGEST_RETRY_MS);
  };
}

function take(number, { at, prices }) {
  if (number <= last) return;
  const behind = Date.now() / 1000 - at;
  if (last && number > last + 1) missing += number - last - 1;
  if (resuming) {
    if (behind - skew > 0.6) resumed += 1;
    else resuming = false;
  }
  last = number;
  ticks += 1;
  skew = ticks === 1 ? behind : Math.min(skew + 0.002, behind);
  for (const [symbol, value] of Object.entries(prices)) {
    series[symbol] ||= [];
    series[symbol].push({ at, value });
    if (series[symbol].length > MEMORY_TICKS) series[symbol].shift();
  }
  Object.assign(document.body.dataset, { last, ticks, missing, resumed });
}

function makeTile(symbol) {
  const tile = document.createElement("button");
  tile.type = "button";
  tile.className = "tile";
  tile.innerHTML = '<b></b><span class="row"><span class="value"></span><span class="change"></span></span><canvas aria-hidden="true"></canvas>';
  tile.querySelector("b").textContent = symbol;
  tile.addEventListener("click", () => choose(symbol));
  by("tiles").append(tile);
  tiles[symbol] = tile;
  if (symbol === chosen) choose(symbol);
}

function choose(symbol) {
  chosen = symbol;
  chart.low = NaN;
  by("symbol").textContent = symbol;
  by("about").textContent = ABOUT[symbol] || "";
  for (const [name, tile] of Object.entries(tiles)) tile.setAttribute("aria-pressed", name === symbol);
}

function visible(points, now) {
  const first = points.findIndex((point) => point.at >= now - span);
  return points.slice(Math.max(0, first - 1));
}

function describe(points) {
  const change = points.at(-1).value - points[0].value;
  const percent = (change / points[0].value) * 100;
  const sign = change < 0 ? "−" : "+";
  return {
    up: change >= 0,
    amount: `${sign}${Math.abs(change).toFixed(2)}`,
    percent: `${sign}${Math.abs(percent).toFixed(2)} %`,
  };
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function draw() {
  requestAnimationFrame(draw);
  const now = Date.now() / 1000 - skew;
  for (const symbol of Object.keys(series)) {
    if (!tiles[symbol]) makeTile(symbol);
    const points = visible(series[symbol], now);
    if (points.length < 2) continue;
    const { up, amount, percent } = describe(points);
    const tone = up ? colours.up : colours.down;
    tiles[symbol].classList.toggle("up", up);
    tiles[symbol].classList.toggle("down", !up);
    set(tiles[symbol].querySelector(".value"), points.at(-1).value.toFixed(2));
    set(tiles[symbol].querySelector(".change"), percent);
    drawLine(tiles[symbol].querySelector("canvas"), points, now, span, tone);
    if (symbol !== chosen) continue;
    chart.draw(points, now, span, { ...colours, tone });
    set(by("price"), points.at(-1).value.toFixed(2));
    set(by("change"), `${amount}  (${percent})`);
    by("change").className = `change ${up ? "up" : "down"}`;
    const { low, high } = extremes(points);
    set(by("low"), low.toFixed(2));
    set(by("high"), high.toFixed(2));
  }
  set(by("last"), last ? String(last) : "–");
  set(by("ticks"), ticks.toLocaleString("en"));
  set(by("missing"), missing.toLocaleString("en"));
  set(by("resumed"), resumed.toLocaleString("en"));
}

document.querySelectorAll("[data-span]").forEach((button) => button.addEventListener("click", () => {
  span = Number(button.dataset.span);
  document.querySelectorAll("[data-span]").forEach((each) => each.setAttribute("aria-pressed", each === button));
}));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColours);
document.addEventListener("visibilitychange", follow);
readColours();
follow();
draw();
