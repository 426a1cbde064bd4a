// Show the latest readings, kept fresh, and send uploads as JSON and as files.

"use strict";

const REFRESH_MS = 2000;
const TREND_WIDTH = 118;
const TREND_HEIGHT = 40;
const by = (id) => document.getElementById(id);
const DIGITS = { temperature: 1, humidity: 0, pressure: 1 };
let shown = "";
const seenBefore = new Map();

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function drawn(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function trend(values) {
  const svg = drawn("svg", { class: "trend", viewBox: `0 0 ${TREND_WIDTH} ${TREND_HEIGHT}`, "aria-hidden": "true" });
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  const flat = Math.max(...values) === low;
  const x = (index) => (values.length > 1 ? (index / (values.length - 1)) * (TREND_WIDTH - 4) : TREND_WIDTH - 4);
  const y = (value) => (flat ? TREND_HEIGHT / 2 : TREND_HEIGHT - 4 - ((value - low) / span) * (TREND_HEIGHT - 8));
  const line = values.map((value, index) => `${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join(" L ");
  if (values.length > 1) {
    const last = x(values.length - 1).toFixed(1);
    svg.append(drawn("path", { class: "under", d: `M 0 ${TREND_HEIGHT} L ${line} L ${last} ${TREND_HEIGHT} Z` }));
    svg.append(drawn("path", { d: `M ${line}` }));
  }
  svg.append(drawn("circle", { cx: x(values.length - 1), cy: y(values.at(-1)), r: 4 }));
  return svg;
}

function ago(seconds) {
  const passed = Math.max(0, Date.now() / 1000 - seconds);
  if (passed < 5) return "just now";
  if (passed < 90) return `${Math.round(passed)} s ago`;
  if (passed < 5400) return `${Math.round(passed / 60)} min ago`;
  return `${Math.round(passed / 3600)} h ago`;
}

function card(station) {
  const made = element("article", undefined, "card");
  made.dataset.station = station.name;
  made.append(element("h3", station.name));
  const seen = element("p", undefined, "seen");
  const when = element("time", ago(station.seen));
  when.dataset.at = station.seen;
  const count = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;
  seen.append(element("span", `${count(station.readings, "reading")} in ${count(station.uploads, "upload")}`), when);
  made.append(seen);
  for (const facts of station.latest) {
    const row = element("div", undefined, "quantity");
    row.dataset.quantity = facts.quantity;
    const list = element("dl");
    list.style.margin = "0";
    const value = element("dd", facts.value.toFixed(DIGITS[facts.quantity]));
    value.append(element("small", facts.unit));
    list.append(element("dt", facts.quantity[0].toUpperCase() + facts.quantity.slice(1)), value);
    row.append(list, trend(facts.trend));
    made.append(row);
  }
  if (seenBefore.has(station.name) && seenBefore.get(station.name) !== station.seen) made.classList.add("fresh");
  seenBefore.set(station.name, station.seen);
  return made;
}

function uploadRow(upload) {
  const row = element("tr");
  row.dataset.upload = upload.id;
  const interfaceCell = element("td");
  interfaceCell.append(element("span", upload.interface, `pill ${upload.interface}`));
  row.append(element("td", upload.id), element("td", upload.station), interfaceCell,
    element("td", upload.readings, "number"),
    element("td", upload.state, upload.state === "failed" ? "failed" : ""),
    element("td", upload.took_ms === null ? "" : `${upload.took_ms.toFixed(1)} ms`, "number"),
    element("td", new Date(upload.received * 1000).toLocaleTimeString(), "number"));
  return row;
}

async function refresh() {
  try {
    const answer = await fetch("latest", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    const text = await answer.text();
    by("light").className = "light on";
    if (text !== shown) {
      const facts = JSON.parse(text);
      by("served").textContent = `${facts.interface} · ${facts.framework}`;
      by("stations").replaceChildren(...facts.stations.map(card));
      by("empty").hidden = facts.stations.length > 0;
      by("uploads").replaceChildren(...facts.uploads.map(uploadRow));
      shown = text;
    }
  } catch {
    by("light").className = "light off";
    by("served").textContent = "the server does not answer";
    shown = "";
  }
  document.querySelectorAll("time[data-at]").forEach((each) => { each.textContent = ago(Number(each.dataset.at)); });
}

async function upload(options) {
  const buttons = document.querySelectorAll("form button");
  buttons.forEach((button) => { button.disabled = true; });
  let words;
  let failed = true;
  try {
    const answer = await fetch("uploads", { method: "POST", ...options });
    const facts = await answer.json();
    failed = !answer.ok;
    words = failed ? facts.error
      : `Upload ${facts.upload}: ${facts.readings} readings stored by ${facts.interface} in ${facts.took_ms.toFixed(1)} ms.`;
  } catch {
    words = "The server does not answer; try again in a moment.";
  }
  by("told").textContent = words;
  by("told").className = failed ? "failed" : "";
  buttons.forEach((button) => { button.disabled = false; });
  await refresh();
}

function sendFile(content) {
  const form = new FormData();
  form.set("station", by("station").value);
  form.set("file", content, "readings.csv");
  return upload({ body: form });
}

function day() {
  const lines = ["quantity,value,at"];
  const start = Date.now() - 24 * 3600e3;
  const warmth = 8 + Math.random() * 14;
  const weight = 1003 + Math.random() * 20;
  for (let step = 1; step <= 48; step += 1) {
    const at = new Date(start + step * 1800e3);
    const sun = Math.sin(((at.getHours() + at.getMinutes() / 60 - 9) / 24) * 2 * Math.PI);
    const noise = () => Math.random() - 0.5;
    lines.push(`temperature,${(warmth + 5 * sun + noise() * 0.8).toFixed(2)},${at.toISOString()}`);
    lines.push(`humidity,${(62 - 18 * sun + noise() * 4).toFixed(1)},${at.toISOString()}`);
    lines.push(`pressure,${(weight + 3 * Math.sin(step / 11) + noise() * 0.6).toFixed(1)},${at.toISOString()}`);
  }
  return new Blob([lines.join("\n")], { type: "text/csv" });
}

const dials = [...document.querySelectorAll(".dials > div")];
for (const dial of dials) {
  const input = dial.querySelector("input");
  const tell = () => { dial.querySelector("output").textContent = `${input.value} ${input.dataset.unit}`; };
  input.addEventListener("input", tell);
  tell();
}

by("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const readings = dials.map((dial) => ({ quantity: dial.dataset.quantity, value: Number(dial.querySelector("input").value) }));
  const body = JSON.stringify({ station: by("station").value, readings });
  upload({ headers: { "content-type": "application/json" }, body });
});
by("day").addEventListener("click", () => { if (by("form").reportValidity()) sendFile(day()); });
by("file").addEventListener("change", () => {
  const [file] = by("file").files;
  if (file && by("form").reportValidity()) sendFile(file);
  by("file").value = "";
});

async function keepFresh() {
  if (!document.hidden) await refresh();
  setTimeout(keepFresh, REFRESH_MS);
}
keepFresh();
