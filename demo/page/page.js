// Fire requests at both parts, time them and show how they were served.

"use strict";

const CHART_S = 2.5;
const LOG_ROWS = 14;
const paths = {
  flask: { quick: "/flask/", slow: "/flask/slow", echo: "/flask/echo" },
  starlette: { quick: "/starlette", slow: "/starlette/slow", echo: "/starlette/echo" },
};
const by = (id) => document.getElementById(id);
const milliseconds = (value) => value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(1)} ms`;
let answers = 0;

async function ask(part, kind) {
  const path = paths[part][kind];
  const options = kind === "echo" ? { method: "POST", body: new Uint8Array(65536) } : {};
  const began = performance.now();
  const seen = { part, path, method: options.method || "GET", began, status: 0, facts: {} };
  try {
    const response = await fetch(path, { cache: "no-store", ...options });
    seen.status = response.status;
    seen.facts = await response.json();
  } catch (fault) {
    seen.facts = { interface: String(fault.message || fault) };
  }
  seen.duration = performance.now() - began;
  return seen;
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function show(seen) {
  const { facts } = seen;
  answers += 1;
  by("count").textContent = answers;
  by("sun").classList.remove("beat");
  void by("sun").offsetWidth;
  by("sun").classList.add("beat");
  document.querySelectorAll("[data-fact]").forEach((cell) => {
    cell.textContent = facts[cell.dataset.fact] ?? cell.textContent;
  });
  const rows = [
    ["took", milliseconds(seen.duration), "big"],
    ["interface", facts.interface],
    ["ran", facts.runs],
    ["thread", facts.thread],
    [facts.mount?.[0], JSON.stringify(facts.mount?.[1])],
    [facts.path?.[0], JSON.stringify(facts.path?.[1])],
  ];
  if (facts.received !== undefined) rows.splice(1, 0, ["received", `${facts.received.toLocaleString("en")} bytes`]);
  const list = document.querySelector(`#${seen.part} .answer`);
  list.replaceChildren(...rows.filter(([, value]) => value !== undefined)
    .flatMap(([key, value, tone]) => [element("dt", key), element("dd", value, tone)]));
  log(seen);
}

function log(seen) {
  const { facts } = seen;
  const row = document.createElement("tr");
  row.className = (seen.part === "flask" ? "wsgi" : "asgi") + (seen.status === 200 ? "" : " failed");
  for (const text of [`${seen.method} ${seen.path}`, facts.interface, facts.protocol, facts.thread, facts.process]) {
    row.append(element("td", text ?? ""));
  }
  row.append(element("td", seen.status || "failed", "number"), element("td", milliseconds(seen.duration), "number"));
  by("log").prepend(row);
  while (by("log").children.length > LOG_ROWS) by("log").lastChild.remove();
}

function draw(lane, seen, origin, className) {
  const bar = element("div", "", `bar ${className || ""}`);
  bar.style.left = `${(seen.began - origin) / (CHART_S * 10)}%`;
  bar.style.width = `${seen.duration / (CHART_S * 10)}%`;
  bar.title = `${seen.path}: ${milliseconds(seen.duration)}`;
  document.querySelector(`[data-lane="${lane}"]`).append(bar);
  return bar;
}

function grow(lane, origin, request) {
  const state = { began: performance.now(), duration: 0, path: "" };
  const bar = draw(lane, state, origin, "waiting");
  let running = true;
  const step = () => {
    if (!running) return;
    bar.style.width = `${(performance.now() - state.began) / (CHART_S * 10)}%`;
    requestAnimationFrame(step);
  };
  step();
  return request.then((seen) => {
    running = false;
    bar.style.width = `${seen.duration / (CHART_S * 10)}%`;
    bar.title = `${seen.path}: ${milliseconds(seen.duration)}`;
    show(seen);
    return seen;
  });
}

const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

async function race() {
  by("race").disabled = true;
  by("verdict").textContent = "Both slow requests are waiting; quick ones go on meanwhile.";
  document.querySelectorAll(".track").forEach((track) => track.replaceChildren());
  const origin = performance.now();
  let waiting = true;
  const slow = Promise.all(["flask", "starlette"].map((part) => grow(`${part}-slow`, origin, ask(part, "slow"))))
    .then((seen) => { waiting = false; return seen; });
  const quick = async (part) => {
    const durations = [];
    while (waiting) {
      const seen = await ask(part, "quick");
      if (waiting) {
        draw(`${part}-quick`, seen, origin);
        show(seen);
        durations.push(seen.duration);
      }
      await pause(110);
    }
    return durations;
  };
  const [flask, starlette] = await Promise.all([quick("flask"), quick("starlette")]);
  const seen = await slow;
  const waited = milliseconds(Math.max(...seen.map((each) => each.duration)));
  const told = (name, durations) => `${name} gave <b>${durations.length}</b> quick answers`
    + (durations.length ? ` in <b>${milliseconds(median(durations))}</b> each (median)` : "");
  const held = Math.min(flask.length, starlette.length) < 5;
  by("verdict").innerHTML = `${held ? "Yes" : "No"}. While both slow requests waited <b>${waited}</b>, `
    + `${told("Flask", flask)} and ${told("Starlette", starlette)}.`;
  by("race").disabled = false;
}

document.querySelectorAll("button[data-part]").forEach((button) => {
  button.addEventListener("click", async () => show(await ask(button.dataset.part, button.dataset.kind)));
});
by("both").addEventListener("click", () => ["flask", "starlette"].forEach(async (part) => show(await ask(part, "quick"))));
by("race").addEventListener("click", race);
by("both").click();
setTimeout(race, 600);
