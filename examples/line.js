// A WebSocket that opens itself again: at once after a restart of the server, ever later while there is none.

"use strict";

const LINE_FIRST_MS = 400;
const LINE_LONGEST_MS = 15000;
const CODE_REFUSED = 1008;
const CODE_RESTART = 1012;

/*
 * new Line(() => url, { opened(), message(object), state(name, facts) }) opens at once. States are "connecting", "open",
 * "waiting" ({ seconds, code }), "refused" ({ reason }) and "closed". What `send` cannot send it reports as false.
 */
class Line {
  constructor(address, handlers) {
    this.address = address;
    this.handlers = handlers;
    this.attempts = 0;
    this.ended = false;
    this.timer = 0;
    this.hurry = () => { if (this.timer && !document.hidden) this.open(); };
    window.addEventListener("online", this.hurry);
    document.addEventListener("visibilitychange", this.hurry);
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.tell("connecting");
    const socket = new WebSocket(this.address());
    this.socket = socket;
    socket.onopen = () => {
      this.tell("open");
      this.handlers.opened?.();
    };
    socket.onmessage = (event) => {
      // Only what the server says counts as success: one that accepts and fails at once is not asked in a tight loop.
      this.attempts = 0;
      this.handlers.message(JSON.parse(event.data));
    };
    socket.onclose = (event) => { if (this.socket === socket) this.lost(event); };
  }

  lost(event) {
    if (this.ended) return;
    if (event.code === CODE_REFUSED) {
      this.close("refused", { reason: event.reason });
      return;
    }
    // All pages lose their server in the same moment; they should not come back in the same one.
    const longest = event.code === CODE_RESTART && this.attempts === 0
      ? LINE_FIRST_MS : Math.min(LINE_LONGEST_MS, LINE_FIRST_MS * 2 ** (this.attempts + 1));
    const delay = longest * (0.5 + Math.random() / 2);
    this.attempts += 1;
    this.timer = setTimeout(() => this.open(), delay);
    this.tell("waiting", { seconds: Math.ceil(delay / 1000), code: event.code });
  }

  send(message) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  close(state = "closed", facts = {}) {
    this.ended = true;
    clearTimeout(this.timer);
    this.timer = 0;
    window.removeEventListener("online", this.hurry);
    document.removeEventListener("visibilitychange", this.hurry);
    this.socket.close(1000);
    this.tell(state, facts);
  }

  tell(state, facts = {}) {
    this.state = state;
    this.handlers.state(state, facts);
  }
}

function lineAddress(path) {
  const url = new URL(path, document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
