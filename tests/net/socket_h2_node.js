// Opens a WebSocket with Node's own HTTP/2 client (RFC 8441), talks, closes, and prints as JSON what it saw.
"use strict";
const http2 = require("node:http2");
const crypto = require("node:crypto");

function frame(opcode, payload) {
  const data = Buffer.from(payload);
  const head = [0x80 | opcode];
  if (data.length < 126) head.push(0x80 | data.length);
  else if (data.length < 65536) head.push(0x80 | 126, data.length >> 8, data.length & 255);
  else head.push(0x80 | 127, 0, 0, 0, 0, ...[24, 16, 8, 0].map((bits) => (data.length >> bits) & 255));
  const mask = crypto.randomBytes(4);
  return Buffer.concat([Buffer.from(head), mask, data.map((octet, place) => octet ^ mask[place & 3])]);
}

function frames(buffer, found) {
  for (;;) {
    if (buffer.length < 2) return buffer;
    let size = buffer[1];
    let start = 2;
    if (size === 126) [size, start] = [buffer.length < 4 ? Infinity : buffer.readUInt16BE(2), 4];
    else if (size === 127) [size, start] = [buffer.length < 10 ? Infinity : Number(buffer.readBigUInt64BE(2)), 10];
    if (buffer.length < start + size) return buffer;
    found(buffer[0] & 15, buffer.subarray(start, start + size));
    buffer = buffer.subarray(start + size);
  }
}

const [url, size] = process.argv.slice(2);
const seen = { echoes: [], end: false };
const client = http2.connect(url, { rejectUnauthorized: false });
client.on("error", (error) => { seen.error = String(error); });
client.on("goaway", (code) => { seen.goaway = code; });
client.on("remoteSettings", (settings) => {
  seen.offered = settings.enableConnectProtocol;
  const words = ["hello", "x".repeat(Number(size))];
  const stream = client.request({
    ":method": "CONNECT", ":protocol": "websocket", ":path": "/node?a=b", "sec-websocket-version": "13",
    "sec-websocket-protocol": "one, two",
  });
  let rest = Buffer.alloc(0);
  stream.on("response", (headers) => {
    seen.status = headers[":status"];
    seen.protocol = headers["sec-websocket-protocol"];
    stream.write(frame(1, words[0]));
  });
  stream.on("data", (data) => {
    rest = frames(Buffer.concat([rest, data]), (opcode, payload) => {
      if (opcode === 8) {
        seen.code = payload.readUInt16BE(0);
      } else {
        seen.echoes.push([opcode, payload.length, payload.toString().slice(0, 5)]);
        if (seen.echoes.length < words.length) stream.write(frame(1, words[seen.echoes.length]));
        else stream.write(frame(8, [0x0f, 0xa0]));
      }
    });
  });
  stream.on("end", () => { seen.end = true; stream.end(); });
  stream.on("error", (error) => { seen.error = String(error); });
  stream.on("close", () => {
    seen.reset = stream.rstCode;
    client.close(() => console.log(JSON.stringify(seen)));
  });
});
