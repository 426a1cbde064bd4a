// Show the ticker and the chat beside each other: two connections that stay open while all else goes on.

"use strict";

{
  const STONE = "SARSEN";
  const SPAN_S = 60;
  const MAX_LINES = 60;
  const RETRY_MS = 2000;
  const points = [];
  const style = getComputedStyle(document.documentElement);
  let last = 0;
  let skew = 0;

  const tell = (id, open, words) => {
    by(id).textContent = words;
    by(id).classList.toggle("open", open);
  };

  let source = null;
  let waiting = 0;
  const follow = () => {
    clearTimeout(waiting);
    source?.close();
    // A browser keeps at most six HTTP/1.1 connections to a site for all its tabs; a hidden one lets go of its own.
    if (document.hidden) return;
    source = new EventSource(last ? `/ticker/events?after=${last}` : "/ticker/events");
    source.onopen = () => tell("ticker-state", true, "connected: one request, still being answered");
    source.onmessage = (event) => {
      const { at, prices } = JSON.parse(event.data);
      last = Number(event.lastEventId);
      const behind = Date.now() / 1000 - at;
      skew = points.length ? Math.min(skew + 0.002, behind) : behind;
      points.push({ at, value: prices[STONE] });
      while (points.length && points[0].at < at - SPAN_S - 1) points.shift();
      by("stone-chart").dataset.last = last;
    };
    source.onerror = () => {
      tell("ticker-state", false, "the stream broke off; it resumes where it was");
      // It comes back by itself after a break, but not after a refusal such as 503.
      if (source.readyState === EventSource.CLOSED) waiting = setTimeout(follow, RETRY_MS);
    };
  };

  const drawStone = () => {
    requestAnimationFrame(drawStone);
    if (points.length < 2) return;
    const change = points.at(-1).value - points[0].value;
    by("stone-price").textContent = points.at(-1).value.toFixed(2);
    by("stone-change").textContent = `${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(2)} in a minute`;
    drawLine(by("stone-chart"), points, Date.now() / 1000 - skew, SPAN_S, style.getPropertyValue("--asgi").trim());
  };

  const me = sessionStorage.getItem("demo-name") || `Guest ${100 + Math.floor(Math.random() * 900)}`;
  sessionStorage.setItem("demo-name", me);
  let epoch = "";
  let heardLast = 0;

  const add = (name, text, className) => {
    const log = by("chat-log");
    const row = element("p", "", className);
    row.append(name ? element("b", `${name} `) : "", element(name ? "span" : "i", text));
    log.append(row);
    while (log.children.length > MAX_LINES) log.firstChild.remove();
    log.scrollTop = log.scrollHeight;
  };

  const heard = {
    welcome: (content) => {
      if (epoch && content.epoch !== epoch) add("", "The server restarted.");
      if (content.epoch !== epoch) heardLast = 0;
      epoch = content.epoch;
      heard.people(content);
      content.history.forEach(heard.said);
      if (!by("chat-log").children.length) add("", `You are ${me}. Nobody has said anything yet.`);
    },
    said: (content) => {
      if (content.number <= heardLast) return;
      heardLast = content.number;
      add(content.name, content.text, content.name === me ? "own" : "");
    },
    people: (content) => { by("chat-people").textContent = content.people.length; },
    joined: (content) => { heard.people(content); add("", `${content.name} came in`); },
    left: (content) => { heard.people(content); add("", `${content.name} left`); },
    hushed: () => add("", "That was too much at once; it was not sent."),
  };

  const line = new Line(() => lineAddress(`/chat/rooms/lobby/socket?name=${encodeURIComponent(me)}`), {
    message: (content) => heard[content.kind]?.(content),
    state: (name, facts) => tell("chat-state", name === "open", {
      open: `connected as ${me}`,
      connecting: "connecting…",
      waiting: `the connection is gone, again in ${facts.seconds} s`,
      refused: facts.reason,
    }[name] || name),
  });

  by("chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = by("chat-text").value.trim();
    if (text && line.send({ say: text })) by("chat-text").value = "";
  });

  document.addEventListener("visibilitychange", follow);
  follow();
  drawStone();
}
