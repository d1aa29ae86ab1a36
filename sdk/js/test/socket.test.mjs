// Our socket for Node 20, against a server that speaks RFC 6455 byte by byte.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { NodeSocket } from "../dist/node_socket.js";

let upgraded = null;
const server = createServer((_, answer) => answer.writeHead(404).end("no"));
server.on("upgrade", (request, socket) => {
  const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  const key = request.url === "/liar" ? "x" : accept;
  const head = `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${key}\r\n\r\n`;
  upgraded(socket, head, request);
});
before(() => new Promise((resolve) => server.listen(0, "127.0.0.1", resolve)));
after(() => server.close());

/** A socket and its other end, once it is open; `first` comes in the same packet as the answer. */
async function pair({ path = "/", first = [] } = {}) {
  const other = new Promise((resolve) => {
    upgraded = (socket, head) => {
      socket.write(Buffer.concat([Buffer.from(head), Buffer.from(first)]));
      socket.on("error", () => {});
      socket.on("end", () => socket.end());
      resolve(socket);
    };
  });
  const socket = new NodeSocket(`ws://127.0.0.1:${server.address().port}${path}`);
  const heard = [];
  socket.onmessage = ({ data }) => heard.push(data);
  const closed = new Promise((resolve) => (socket.onclose = resolve));
  await Promise.race([new Promise((resolve) => (socket.onopen = resolve)), closed]);
  return { socket, other: await other, heard, closed };
}

const closeWith = (code) => [0x88, 2, code >> 8, code & 255];

test("messages in pieces, of every length, between pings, from the first packet on", async () => {
  const { other, heard, closed } = await pair({ first: [0x81, 2, 0x68, 0x69] });
  const long = Buffer.alloc(70_000, 7);
  const length = Buffer.alloc(8);
  length.writeBigUInt64BE(70_000n);
  const bytes = Buffer.concat([
    Buffer.from([0x01, 1, 0x61]), Buffer.from([0x89, 1, 0x70]), Buffer.from([0x80, 1, 0x62]), // "a", a ping, "b"
    Buffer.from([0x82, 126, 0, 200]), Buffer.alloc(200, 1), Buffer.from([0x82, 127]), length, long, Buffer.from(closeWith(4001)),
  ]);
  const got = [];
  other.on("data", (each) => got.push(each));
  for (let at = 0; at < 300; at++) other.write(bytes.subarray(at, at + 1));
  other.write(bytes.subarray(300));
  assert.deepEqual(await closed, { code: 4001, reason: "" });
  assert.deepEqual(heard.slice(0, 2), ["hi", "ab"]);
  assert.deepEqual(heard.slice(2).map((each) => each.byteLength), [200, 70_000]);
  const [pong] = got;
  assert.deepEqual([pong[0], pong[1], pong[6] ^ pong[2]], [0x8a, 0x81, 0x70], "an answer to the ping, masked");
});

test("what is sent is masked, whole, and says its length", async () => {
  const { socket, other, closed } = await pair();
  const got = [];
  let size = 0;
  const all = new Promise((resolve) => other.on("data", (each) => {
    got.push(each);
    if ((size += each.length) >= 6 + 2 + 8 + 300 + 14 + 70_000) resolve();
  }));
  socket.send("hé");
  socket.send(new Uint8Array(300).buffer);
  socket.send(new Uint8Array(70_000));
  await all;
  const bytes = Buffer.concat(got);
  assert.deepEqual([bytes[0], bytes[1]], [0x81, 0x83]);
  assert.equal(Buffer.from(bytes.subarray(6, 9).map((each, at) => each ^ bytes[2 + at])).toString(), "hé");
  assert.deepEqual([...bytes.subarray(9, 13)], [0x82, 0xfe, 1, 44]);
  assert.deepEqual([...bytes.subarray(317, 327)], [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
  other.end(Buffer.from(closeWith(1000)));
  assert.equal((await closed).code, 1000);
  assert.equal(socket.readyState, NodeSocket.CLOSED);
});

for (const [what, bytes, code] of [
  ["a masked frame", [0x81, 0x80, 0, 0, 0, 0], 1002],
  ["an extension that nobody agreed to", [0xc1, 0], 1002],
  ["a piece of no message", [0x80, 0], 1002],
  ["a message within another", [0x01, 0, 0x81, 0], 1002],
  ["a long ping", [0x89, 126, 0, 200], 1002],
  ["a text that is none", [0x81, 1, 0xff], 1007],
  ["a message that is too long", [0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0], 1009],
]) {
  test(`the connection is closed at ${what}`, async () => {
    const { other, heard, closed } = await pair({ first: bytes });
    const got = new Promise((resolve) => other.once("data", resolve));
    const [head, , ...rest] = await got;
    assert.equal(head, 0x88);
    assert.equal(((rest[4] ^ rest[0]) << 8) | (rest[5] ^ rest[1]), code);
    other.end();
    assert.equal((await closed).code, code);
    assert.deepEqual(heard, []);
  });
}

test("a server that does not upgrade, lies, or breaks off is a lost connection", async () => {
  upgraded = (socket) => socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
  const refused = new NodeSocket(`ws://127.0.0.1:${server.address().port}/`);
  assert.equal((await new Promise((resolve) => (refused.onclose = resolve))).code, 1006);
  const liar = await pair({ path: "/liar" });
  assert.equal((await liar.closed).code, 1006);
  const cut = await pair();
  cut.other.destroy();
  assert.equal((await cut.closed).code, 1006);
  assert.throws(() => new NodeSocket("http://127.0.0.1/"), SyntaxError);
});
