"""The style, the mark and the script of the error page, which loads nothing from elsewhere."""

STYLE = """
:root { color-scheme: light dark; --paper: #f6f2ea; --card: #fffdf9; --ink: #2b2924; --soft: #6f6a60; --line: #ddd5c6;
  --fault: #a8361b; --tint: #fbe4da; --calm: #0d6e6e; --gutter: #a79f90;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "URW Palladio L", Georgia, serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #191816; --card: #211f1c; --ink: #ece6da; --soft: #a49c8d; --line: #36332d; --fault: #f0875f;
    --tint: #47261a; --calm: #5cc0b8; --gutter: #776f62; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 980px; padding: 0 24px 40px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 var(--sans); }
header { display: flex; align-items: center; gap: 12px; padding: 22px 0 18px; border-bottom: 1px solid var(--line); }
header svg { width: 34px; height: 30px; flex: none; color: var(--soft); }
header rect.lintel { transform-origin: 88% 30%; transform: rotate(17deg) translateY(2px); transition: transform .4s; }
[data-state="starting"] header rect.lintel { transform: none; }
.subject { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.state { margin: 0 0 0 auto; color: var(--soft); font-size: 13px; white-space: nowrap; display: flex; gap: 8px;
  align-items: center; }
.state i { width: 8px; height: 8px; border-radius: 50%; background: var(--gutter); }
[data-state="starting"] .state i { background: var(--calm); animation: pulse .8s infinite alternate; }
@keyframes pulse { to { opacity: .25; } }
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
section { padding: 26px 0 6px; }
section + section { border-top: 1px solid var(--line); }
h1, h2 { margin: 0; font-family: var(--serif); font-weight: 600; letter-spacing: -.015em; color: var(--fault);
  overflow-wrap: anywhere; }
h1 { font-size: 38px; line-height: 1.15; }
h2 { font-size: 25px; }
h1 small, h2 small { font-size: .55em; font-weight: 400; color: var(--soft); letter-spacing: 0; }
h3 { margin: 26px 0 8px; font-size: 13px; font-weight: 600; color: var(--soft); }
.relation { margin: 0 0 4px; color: var(--soft); }
.message { margin: 10px 0 0; font-size: 18px; line-height: 1.45; white-space: pre-wrap; overflow-wrap: anywhere; }
figure { margin: 20px 0 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  overflow: hidden; }
figure.own { border-left: 4px solid var(--fault); }
figcaption { padding: 10px 16px; border-bottom: 1px solid var(--line); }
figcaption, li, summary { font: 13.5px/1.5 var(--mono); overflow-wrap: anywhere; }
b { font-weight: 600; }
em { font-style: normal; color: var(--soft); }
em::before { content: "in "; }
pre { margin: 0; overflow-x: auto; font: 13.5px/1.6 var(--mono); tab-size: 4; }
pre code { display: inline-block; min-width: 100%; padding: 8px 0; font: inherit; }
pre span, pre mark { display: block; padding-right: 16px; background: none; color: inherit; }
pre i { display: inline-block; width: 4.2em; padding-right: 1.2em; text-align: right; font-style: normal;
  color: var(--gutter); user-select: none; }
pre mark { background: var(--tint); }
pre mark i { color: var(--fault); font-weight: 600; }
pre u { text-decoration: underline wavy var(--fault) 1.2px; text-underline-offset: 4px;
  text-decoration-skip-ink: none; }
ol { margin: 0; padding: 0; list-style: none; border: 1px solid var(--line); border-radius: 8px; overflow: hidden;
  background: var(--card); }
li + li { border-top: 1px solid var(--line); }
li:not(:has(details)), summary { padding: 7px 16px; }
summary { cursor: pointer; }
summary::marker { color: var(--gutter); }
li.own, li.here { border-left: 4px solid var(--fault); }
li.own pre i { width: calc(4.2em - 4px); }
li.library, li.library b { color: var(--soft); font-weight: 400; }
li pre { border-top: 1px solid var(--line); background: var(--paper); color: var(--ink); }
.more { color: var(--soft); }
details.text { margin: 28px 0 0; color: var(--soft); }
details.text summary { padding: 4px 0; font: inherit; }
details.text pre { margin-top: 8px; padding: 14px 16px; border: 1px solid var(--line); border-radius: 8px;
  color: var(--ink); background: var(--card); }
footer { margin-top: 28px; color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
code { font-family: var(--mono); font-size: .94em; }
a { color: var(--calm); }
:focus-visible { outline: 2px solid var(--calm); outline-offset: 2px; }
@media (max-width: 600px) { body { padding: 0 14px 28px; } h1 { font-size: 29px; } pre i { width: 3.4em; } }
"""

MARK = (
    "<svg viewBox='0 0 34 30' fill='currentColor' aria-hidden='true'><rect class='lintel' x='1' y='2' width='32' "
    "height='7' rx='1.5'/><rect x='5' y='11' width='7' height='18' rx='1.5'/>"
    "<rect x='22' y='11' width='7' height='18' rx='1.5'/></svg>"
)

# One answer is kept open while nothing happens; its end is the end of the worker. The server keeps the listening
# socket, so the request behind it waits for the next worker and says by its fields whether the fault is still there.
SCRIPT = """
const fault = document.body.dataset.fault;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function show(state, text) {
  document.body.dataset.state = state;
  document.querySelector(".state span").textContent = text;
}

async function ask(method) {
  const headers = { "Trilithon-Watch": fault };
  return fetch(location.href, { method, headers, cache: "no-store", redirect: "manual" });
}

async function hold() {
  const reader = (await ask("GET")).body.getReader();
  show("waiting", "waiting for a change");
  while (!(await reader.read()).done);
}

async function watch() {
  for (;;) {
    try {
      await hold();
    } catch {}
    show("starting", "starting anew");
    try {
      if ((await ask("HEAD")).headers.get("Trilithon-Fault") !== fault) break;
    } catch {
      show("away", "the server does not answer");
    }
    await pause(300);
  }
  if (document.body.dataset.method === "GET") location.reload();
  else show("mended", "changed: load the page again to send the form once more");
}

watch();
"""
