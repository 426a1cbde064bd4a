// Draw prices on a canvas: the large chart with its axes, and the small lines of the tiles.

"use strict";

const AXIS_WIDTH = 62;
const AXIS_HEIGHT = 26;
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50];
const LINES_WANTED = 5;

function fit(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

function extremes(points) {
  let low = Infinity;
  let high = -Infinity;
  for (const point of points) {
    low = Math.min(low, point.value);
    high = Math.max(high, point.value);
  }
  return { low, high };
}

function trace(pen, points, x, y) {
  pen.beginPath();
  points.forEach((point, index) => {
    if (index) pen.lineTo(x(point.at), y(point.value));
    else pen.moveTo(x(point.at), y(point.value));
  });
}

function under(pen, points, x, bottom, colour) {
  const fill = pen.createLinearGradient(0, 0, 0, bottom);
  fill.addColorStop(0, `color-mix(in srgb, ${colour} 30%, transparent)`);
  fill.addColorStop(1, `color-mix(in srgb, ${colour} 1%, transparent)`);
  pen.lineTo(x(points.at(-1).at), bottom);
  pen.lineTo(x(points[0].at), bottom);
  pen.closePath();
  pen.fillStyle = fill;
  pen.fill();
}

class Chart {
  constructor(canvas) {
    this.canvas = canvas;
    this.pointer = null;
    this.low = NaN;
    this.high = NaN;
    canvas.addEventListener("pointermove", (event) => { this.pointer = event.offsetX; });
    canvas.addEventListener("pointerleave", () => { this.pointer = null; });
  }

  /* Points are { at, value }, oldest first, times in seconds; those older than the span are cut at the left edge. */
  draw(points, now, span, colours) {
    const { pen, width, height } = fit(this.canvas);
    if (points.length < 2 || width < 100) return;
    const plot = { right: width - AXIS_WIDTH, bottom: height - AXIS_HEIGHT };
    this.follow(extremes(points));
    const x = (at) => plot.right - ((now - at) / span) * plot.right;
    const y = (value) => plot.bottom - ((value - this.low) / (this.high - this.low)) * plot.bottom;
    pen.font = "13px system-ui, sans-serif";
    pen.textBaseline = "middle";
    this.axes(pen, { plot, width, height, x, y, now, span, latest: points.at(-1).value }, colours);
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, plot.right + 6, plot.bottom);
    pen.clip();
    trace(pen, points, x, y);
    under(pen, points, x, plot.bottom, colours.tone);
    trace(pen, points, x, y);
    pen.strokeStyle = colours.tone;
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    pen.stroke();
    pen.restore();
    this.newest(pen, points.at(-1), { plot, x, y }, colours);
    if (this.pointer !== null) this.crosshair(pen, points, { plot, x, y }, colours);
  }

  /* The scale glides, so that one extreme value does not make everything jump. */
  follow({ low, high }) {
    const margin = Math.max((high - low) * 0.12, 0.15);
    const glide = (from, to) => (Number.isFinite(from) && Math.abs(to - from) < (high - low) * 3
      ? from + (to - from) * 0.12 : to);
    this.low = glide(this.low, low - margin);
    this.high = glide(this.high, high + margin);
  }

  axes(pen, { plot, width, height, x, y, now, span, latest }, colours) {
    const step = STEPS.find((each) => (this.high - this.low) / each <= LINES_WANTED) || STEPS.at(-1);
    pen.strokeStyle = colours.grid;
    pen.fillStyle = colours.soft;
    pen.lineWidth = 1;
    for (let value = Math.ceil(this.low / step) * step; value < this.high; value += step) {
      const at = Math.round(y(value)) + 0.5;
      pen.beginPath();
      pen.moveTo(0, at);
      pen.lineTo(plot.right, at);
      pen.stroke();
      const hidden = Math.abs(at - y(latest)) < 18;
      if (!hidden && at > 8 && at < plot.bottom - 4) pen.fillText(value.toFixed(step < 1 ? 1 : 0), plot.right + 12, at);
    }
    const every = span > 90 ? 30 : span > 45 ? 15 : 5;
    pen.textAlign = "center";
    for (let at = Math.ceil((now - span) / every) * every; at < now; at += every) {
      const label = new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
      const place = x(at);
      if (place > 32 && place < plot.right - 32 && (width > 480 || at % (every * 2) === 0)) pen.fillText(label, place, height - 9);
    }
    pen.textAlign = "left";
  }

  newest(pen, point, { plot, x, y }, colours) {
    const at = y(point.value);
    pen.setLineDash([2, 4]);
    pen.strokeStyle = colours.tone;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(0, at);
    pen.lineTo(plot.right, at);
    pen.stroke();
    pen.setLineDash([]);
    pen.fillStyle = colours.tone;
    pen.beginPath();
    pen.arc(Math.min(x(point.at), plot.right), at, 4.5, 0, 7);
    pen.fill();
    this.tag(pen, point.value.toFixed(2), plot.right + 6, at, colours);
  }

  tag(pen, text, left, middle, colours) {
    pen.font = "600 12.5px system-ui, sans-serif";
    pen.fillStyle = colours.tone;
    pen.beginPath();
    pen.roundRect(left, middle - 11, Math.max(AXIS_WIDTH - 6, pen.measureText(text).width + 10), 22, 6);
    pen.fill();
    pen.fillStyle = colours.card;
    pen.fillText(text, left + 5, middle + 0.5);
  }

  crosshair(pen, points, { plot, x, y }, colours) {
    const point = points.reduce((best, each) => (
      Math.abs(x(each.at) - this.pointer) < Math.abs(x(best.at) - this.pointer) ? each : best));
    const place = Math.round(x(point.at)) + 0.5;
    if (place < 0 || place > plot.right) return;
    pen.strokeStyle = colours.soft;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(place, 0);
    pen.lineTo(place, plot.bottom);
    pen.stroke();
    pen.fillStyle = colours.ink;
    pen.beginPath();
    pen.arc(place, y(point.value), 4, 0, 7);
    pen.fill();
    const text = point.value.toFixed(2);
    const left = Math.min(Math.max(place - 27, 0), plot.right - 54);
    pen.beginPath();
    pen.roundRect(left, 2, 54, 22, 6);
    pen.fill();
    pen.fillStyle = colours.card;
    pen.font = "600 13px system-ui, sans-serif";
    pen.fillText(text, left + 7, 13.5);
  }
}

function drawLine(canvas, points, now, span, colour) {
  const { pen, width, height } = fit(canvas);
  if (points.length < 2) return;
  const { low, high } = extremes(points);
  const x = (at) => width - 3 - ((now - at) / span) * width;
  const y = (value) => height - 4 - ((value - low) / (high - low || 1)) * (height - 8);
  trace(pen, points, x, y);
  under(pen, points, x, height, colour);
  trace(pen, points, x, y);
  pen.strokeStyle = colour;
  pen.lineWidth = 1.6;
  pen.lineJoin = "round";
  pen.stroke();
}
