// Enter a room, show what is said, send what is written, and carry on after the server was away.

"use strict";

const GROUP_S = 180;
const ROOMS_EVERY_MS = 5000;
const TYPING_EVERY_MS = 2000;
const TYPING_SHOWN_MS = 3500;
const MAX_SHOWN = 500;
const MAX_PENDING = 30;
const by = (id) => document.getElementById(id);
const mine = `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;
// Messages of ours that the server has not repeated yet: mark to { text, row }.
const pending = new Map();
const writers = new Map();
let line = null;
let me = "";
let room = "";
let epoch = "";
let last = 0;
let count = 0;
let typed = -Infinity;
// Whether the reader is at the end of the log, and so wants to stay there.
let atEnd = true;
let previous = { name: "", at: 0 };

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function hue(name) {
  let sum = 7;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  return (sum * 47) % 360;
}

function face(name) {
  const made = element("span", [...name].slice(0, 1).join("").toUpperCase(), "face");
  made.style.setProperty("--hue", hue(name));
  made.setAttribute("aria-hidden", "true");
  return made;
}

const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function append(row) {
  const log = by("log");
  log.querySelector(".quietly")?.remove();
  log.append(row);
  while (log.children.length > MAX_SHOWN) log.firstChild.remove();
  if (atEnd || row.classList.contains("own")) log.scrollTop = log.scrollHeight;
}

function message(name, text, at) {
  const own = name === me;
  const more = previous.name === name && at - previous.at < GROUP_S;
  const row = element("article", undefined, `said${own ? " own" : ""}${more ? " more" : ""}`);
  row.style.setProperty("--hue", hue(name));
  const who = element("span", name, "who");
  who.append(element("time", clock(at)));
  row.append(face(name), who, element("p", text));
  previous = { name, at };
  append(row);
  return row;
}

function note(text, className = "") {
  previous = { name: "", at: 0 };
  append(element("p", text, `note ${className}`));
}

function said(content) {
  last = Math.max(last, content.number);
  writers.delete(content.name);
  tellWriters();
  const waiting = pending.get(content.ref);
  if (waiting) {
    pending.delete(content.ref);
    waiting.row.classList.remove("pending");
    return;
  }
  const row = message(content.name, content.text, content.at);
  row.dataset.number = content.number;
}

function welcome(content) {
  const same = epoch === content.epoch;
  if (epoch && !same) {
    note("The server restarted. What stands above is kept by this page alone.", "restart");
    // What the new one is still to hear belongs below.
    for (const { row } of pending.values()) append(row);
  }
  if (!same) last = 0;
  epoch = content.epoch;
  content.history.filter((each) => each.number > last).forEach(said);
  if (!by("log").children.length) append(element("p", "Nobody has said anything yet.", "quietly"));
  people(content.people);
  for (const [ref, waiting] of pending) line.send({ say: waiting.text, ref });
}

function people(names) {
  by("count").textContent = names.length === 1 ? "You are alone here" : `${names.length} people here`;
  const inside = document.querySelector('#rooms [aria-current="true"] span:last-child');
  if (inside) inside.textContent = names.length;
  by("people").replaceChildren(...names.map((name) => {
    const row = element("li");
    row.append(face(name), element("span", name));
    if (name === me) row.append(element("span", "you", "you"));
    return row;
  }));
}

function tellWriters() {
  const names = [...writers.keys()];
  by("typing").textContent = names.length === 0 ? ""
    : names.length === 1 ? `${names[0]} is writing…` : `${names.length} people are writing…`;
}

const heard = {
  welcome,
  said,
  joined: (content) => { people(content.people); note(`${content.name} came in`); },
  left: (content) => { people(content.people); note(`${content.name} left`); },
  typing: (content) => {
    clearTimeout(writers.get(content.name));
    writers.set(content.name, setTimeout(() => { writers.delete(content.name); tellWriters(); }, TYPING_SHOWN_MS));
    tellWriters();
  },
  hushed: (content) => {
    const waiting = pending.get(content.ref);
    pending.delete(content.ref);
    waiting?.row.classList.replace("pending", "failed");
  },
};

function state(name, facts) {
  document.body.dataset.state = name;
  if (facts.code) document.body.dataset.code = facts.code;
  by("state").textContent = {
    open: "connected",
    connecting: "connecting…",
    waiting: `${facts.code === 1012 ? "the server restarts" : "connection lost"}, again in ${facts.seconds} s`,
    refused: facts.reason,
    closed: "left",
  }[name];
  if (name === "refused") leave(facts.reason);
}

function enter(name, where) {
  line?.close();
  me = name.trim().split(/\s+/).join(" ");
  room = where.trim().toLowerCase();
  epoch = "";
  last = 0;
  pending.clear();
  previous = { name: "", at: 0 };
  by("log").replaceChildren();
  sessionStorage.setItem("chat-name", me);
  localStorage.setItem("chat-name", me);
  history.replaceState(null, "", `#${encodeURIComponent(room)}`);
  document.title = `${room} · Chat`;
  by("title").textContent = room;
  by("door").hidden = true;
  by("house").hidden = false;
  by("refusal").textContent = "";
  const path = `rooms/${encodeURIComponent(room)}/socket?name=${encodeURIComponent(me)}`;
  line = new Line(() => lineAddress(path), { message: (content) => heard[content.kind]?.(content), state });
  by("text").focus();
  listRooms();
}

function leave(reason) {
  by("house").hidden = true;
  by("door").hidden = false;
  by("refusal").textContent = reason;
  by("name").value = me;
  sessionStorage.removeItem("chat-name");
  document.title = "Chat · Trilithon";
}

async function listRooms() {
  let rooms = [];
  try {
    rooms = await (await fetch("rooms", { cache: "no-store" })).json();
  } catch {
    return;
  }
  by("known").replaceChildren(...rooms.map((each) => element("option", each.name)));
  if (room && !rooms.some((each) => each.name === room)) rooms.push({ name: room, people: 0 });
  by("rooms").replaceChildren(...rooms.map((each) => {
    const button = element("button");
    button.type = "button";
    button.setAttribute("aria-current", each.name === room);
    const inside = element("span", each.people || "");
    if (each.people) inside.setAttribute("aria-label", `${each.people} inside`);
    button.append(element("span", each.name), inside);
    button.addEventListener("click", () => { if (each.name !== room) enter(me, each.name); });
    const row = element("li");
    row.append(button);
    return row;
  }));
}

function say() {
  const text = by("text").value.trim();
  if (!text || pending.size >= MAX_PENDING) return;
  count += 1;
  const ref = `${mine}-${count}`;
  const row = message(me, text, Date.now() / 1000);
  row.classList.add("pending");
  pending.set(ref, { text, row });
  line.send({ say: text, ref });
  by("text").value = "";
  typed = -Infinity;
  grow();
}

function grow() {
  by("text").style.height = "auto";
  by("text").style.height = `${Math.min(180, by("text").scrollHeight + 2)}px`;
}

by("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  if (by("name").value.trim() && by("room").value.trim()) enter(by("name").value, by("room").value);
});
by("another").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = by("another-name").value;
  by("another-name").value = "";
  if (name.trim()) enter(me, name);
});
by("leave").addEventListener("click", () => { line.close(); leave(""); });
by("compose").addEventListener("submit", (event) => { event.preventDefault(); say(); });
by("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  say();
});
by("log").addEventListener("scroll", () => {
  atEnd = by("log").scrollHeight - by("log").scrollTop - by("log").clientHeight < 40;
});
new ResizeObserver(() => { if (atEnd) by("log").scrollTop = by("log").scrollHeight; }).observe(by("log"));
by("text").addEventListener("input", () => {
  grow();
  const now = performance.now();
  if (by("text").value && now - typed > TYPING_EVERY_MS && line.send({ typing: true })) typed = now;
});

const wanted = decodeURIComponent(location.hash.slice(1));
if (wanted) by("room").value = wanted;
by("name").value = localStorage.getItem("chat-name") || "";
setInterval(() => { if (!document.hidden) listRooms(); }, ROOMS_EVERY_MS);
listRooms();
if (sessionStorage.getItem("chat-name")) enter(sessionStorage.getItem("chat-name"), wanted || "lobby");
else by("name").focus();
