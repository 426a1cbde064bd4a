// Drives an HTTP/2 server with Node's client: one named act after the other, each of which must hold.
"use strict";
const http2 = require("node:http2");
const crypto = require("node:crypto");
const fs = require("node:fs");
const assert = require("node:assert/strict");

const [url, authority, only] = process.argv.slice(2);
const options = authority ? { ca: fs.readFileSync(authority), servername: "localhost" } : {};
const MIB = 1024 * 1024;

function connect(settings) {
  const client = http2.connect(url.replace("localhost", "127.0.0.1"), { ...options, ...settings });
  client.on("error", (error) => { throw error; });
  return client;
}

function ended(client) {
  return new Promise((resolve) => { client.on("close", resolve); client.close(); });
}

// One request: its status, fields, trailers and content, or the error that it ended with.
function ask(client, fields, body, { trailers, slow } = {}) {
  return new Promise((resolve) => {
    const stream = client.request(fields, { endStream: body === undefined, waitForTrailers: Boolean(trailers) });
    const answer = { status: 0, trailers: {}, error: null, digest: crypto.createHash("sha256"), size: 0, text: "" };
    stream.on("response", (head) => { answer.status = head[":status"]; answer.fields = head; });
    stream.on("trailers", (found) => { answer.trailers = found; });
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    stream.on("error", (error) => { answer.error = error; });
    stream.on("close", () => { answer.digest = answer.digest.digest("hex"); answer.code = stream.rstCode; resolve(answer); });
    stream.on("data", (data) => {
      answer.digest.update(data);
      answer.size += data.length;
      if (data.length < 1000) answer.text += data;
      if (slow) { stream.pause(); setTimeout(() => stream.resume(), slow); }
    });
    if (body !== undefined) stream.end(body);
  });
}

function post(path) {
  return { ":method": "POST", ":path": path };
}

const acts = {
  async many() {
    const client = connect();
    const answers = await Promise.all(Array.from({ length: 300 }, (_, at) => ask(client, { ":path": `/many?${at}` })));
    answers.forEach((answer, at) => {
      assert.equal(answer.status, 200);
      assert.equal(JSON.parse(answer.text).query, String(at));
    });
    await ended(client);
  },

  async uploads() {
    const client = connect();
    await Promise.all(Array.from({ length: 20 }, async (_, at) => {
      const body = crypto.randomBytes(at * 50_001);
      const told = JSON.parse((await ask(client, post("/up"), body)).text);
      assert.equal(told.size, body.length);
      assert.equal(told.digest, crypto.createHash("sha256").update(body).digest("hex"));
    }));
    await ended(client);
  },

  async trailers() {
    const client = connect();
    const answer = await ask(client, post("/up"), Buffer.alloc(100_000, "t"), { trailers: { "x-sum": "42" } });
    assert.equal(JSON.parse(answer.text).size, 100_000);
    await ended(client);
  },

  async answered_with_trailers() {
    const client = connect();
    const answer = await ask(client, { ":path": "/trailers", te: "trailers" });
    assert.equal(answer.text, "followed by trailers");
    assert.equal(answer.trailers["x-sum"], "42");
    await ended(client);
  },

  async downloads() {
    const client = connect({ settings: { initialWindowSize: 20_000, maxFrameSize: 30_000 } });
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask(client, { ":path": `/down/${MIB}` })));
    assert.equal(new Set(answers.map((answer) => answer.digest)).size, 1);
    answers.forEach((answer) => assert.equal(answer.size, MIB));
    await ended(client);
  },

  async slowly() {
    const client = connect();
    const slow = ask(client, { ":path": `/down/${MIB}` }, undefined, { slow: 5 });
    const quick = await ask(client, { ":path": `/down/${MIB}` });
    assert.equal(quick.size, MIB);
    assert.equal((await slow).digest, quick.digest);
    await ended(client);
  },

  async resets() {
    const client = connect();
    for (let at = 0; at < 40; at += 1) {
      const stream = client.request({ ":path": `/down/${50 * MIB}` });
      stream.on("error", () => {});
      await new Promise((resolve) => { stream.on("response", resolve); });
      await new Promise((resolve) => { stream.on("close", resolve); stream.close(http2.constants.NGHTTP2_CANCEL); });
    }
    assert.equal((await ask(client, { ":path": "/after" })).status, 200);
    await ended(client);
  },

  async settings() {
    const client = connect({ settings: { headerTableSize: 0, enablePush: false } });
    for (const size of [0, 100, 65536, 4096]) {
      await new Promise((resolve) => { client.settings({ headerTableSize: size, initialWindowSize: 1000 + size }, resolve); });
      const answer = await ask(client, { ":path": "/down/50000", "x-fill": "y".repeat(size % 3000) });
      assert.equal(answer.size, 50_000);
    }
    await new Promise((resolve, reject) => { client.ping((error) => (error ? reject(error) : resolve())); });
    await ended(client);
  },

  async heads() {
    const client = connect();
    const head = await ask(client, { ":method": "HEAD", ":path": "/" });
    assert.deepEqual([head.status, head.size], [200, 0]);
    const large = await ask(client, { ":path": "/", "x-large": "v".repeat(15_000), cookie: ["a=1", "b=2"] });
    assert.equal(large.status, 200);
    await ended(client);
  },
};

(async () => {
  await acts[only]();
  console.log("held");
})().catch((error) => { console.error(error); process.exit(1); });
