// The page's socket and its memory, with sockets and a storage that fail as real ones seldom do; run by `node --test`.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

const js = new URL("../../../../app/ws402/server/static/js/", import.meta.url);
const stored = new Map();
globalThis.localStorage = new Proxy({}, {
  get: (_, name) => ({
    getItem: (key) => stored.get(key) ?? null,
    setItem: (key, value) => stored.set(key, value),
    removeItem: (key) => stored.delete(key),
  })[name],
  ownKeys: () => [...stored.keys()],
  getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }),
});
globalThis.location = { href: "http://127.0.0.1/" };

/** Opens, or does not, as `script` says; answers a hello by `answer`. */
class Socket {
  static OPEN = 1;
  static made = [];
  static opens = () => true;
  static answer = () => {};

  constructor(url) {
    this.url = url;
    this.readyState = 0;
    this.sent = [];
    Socket.made.push(this);
    queueMicrotask(() => {
      if (!Socket.opens(Socket.made.length)) return this.lose(1006);
      this.readyState = Socket.OPEN;
      return this.onopen?.();
    });
  }

  send(text) {
    this.sent.push(JSON.parse(text));
    queueMicrotask(() => Socket.answer(this));
  }

  say(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }

  close(code) {
    this.lose(code);
  }

  lose(code) {
    this.readyState = 3;
    this.onclose?.({ code });
  }
}
globalThis.WebSocket = Socket;
const later = globalThis.setTimeout;
globalThis.setTimeout = (what, ms, ...rest) => later(what, Math.min(ms, 1), ...rest); // pauses are for servers' sake

const { Session } = await import(new URL("session.js", js).href);
const memory = await import(new URL("memory.js", js).href);

const start = (socket) => socket.say({ type: "session_started", sessionId: "s", balance: 60, pricePerSecond: 1, resumeToken: "t" });
const make = () => new Session("ws://127.0.0.1/", "ticker", 60n, 1n);

beforeEach(() => {
  Socket.made = [];
  Socket.opens = () => true;
  Socket.answer = start;
  stored.clear();
});

test("the payment is shown on the socket that was opened before it", async () => {
  const session = make();
  await session.reach();
  await session.reach();
  assert.deepEqual(Socket.made.map(({ sent }) => sent), [[]], "one socket, and nothing is said yet");
  await session.prove({ txHash: "0x1" }, {});
  assert.equal(Socket.made.length, 1);
  assert.equal(Socket.made[0].sent[0].type, "payment_proof");
  assert.equal(session.live, true);
  session.end();
});

test("a47 a message that cannot be read ends the session, and neither the program nor the wait for it", async () => {
  Socket.answer = (socket) => socket.say({ type: "session_started", sessionId: "s", balance: -1, pricePerSecond: 1 });
  await assert.rejects(make().prove({ txHash: "0x1" }, {}), { code: "bad_message" });
  assert.equal(Socket.made.length, 1, "it is not shown again");
  Socket.answer = start;
  const session = make();
  await session.prove({ txHash: "0x1" }, {});
  const ended = new Promise((resolve) => session.addEventListener("ended", resolve));
  Socket.made[1].say({ type: "usage_update", consumedAmount: "much", remainingBalance: 50 });
  const { detail } = await ended;
  assert.deepEqual([detail.exact, session.live, Socket.made.length], [false, false, 2]);
});

test("where no socket opens the payer is told that nothing was paid", async () => {
  Socket.opens = () => false;
  await assert.rejects(make().reach(), { code: "no_socket", message: /nothing was paid/ });
  assert.ok(Socket.made.length > 2, "a full server is asked again");
});

test("a server that has room again is reached", async () => {
  Socket.opens = (count) => count > 2;
  await make().reach();
  assert.equal(Socket.made.length, 3);
});

test("a socket that was closed while the payer made up their mind is opened anew", async () => {
  const session = make();
  await session.reach();
  Socket.made[0].lose(1008);
  await session.prove({ txHash: "0x1" }, {});
  assert.deepEqual(Socket.made.map(({ sent }) => sent.length), [0, 1]);
  session.end();
});

test("a socket that is closed as the payment is shown is no refusal of the payment", async () => {
  const session = make();
  await session.reach();
  Socket.answer = (socket) => (Socket.made.length === 1 ? socket.lose(1008) : start(socket));
  await session.prove({ txHash: "0x1" }, {});
  assert.equal(Socket.made.length, 2);
  session.end();
});

test("a refusal is told and not tried again", async () => {
  Socket.answer = (socket) => {
    socket.say({ type: "payment_rejected", reason: "Too little.", code: "amount_short" });
    socket.lose(1008);
  };
  const session = make();
  await session.reach();
  await assert.rejects(session.prove({ txHash: "0x1" }, {}), { code: "amount_short" });
  assert.equal(Socket.made.length, 1);
});

for (const code of ["client_certificate_required", "unauthorized", "forbidden"]) {
  test(`a server that its gateway refuses is left for another one (${code})`, async () => {
    Socket.answer = (socket) => {
      if (Socket.made.length > 1) return start(socket);
      socket.say({ type: "payment_rejected", reason: "Not this server.", code });
      return socket.lose(1008);
    };
    const session = make();
    await session.prove({ txHash: "0x1" }, {});
    assert.equal(Socket.made.length, 2);
    session.end();
  });
}

test("a lost session is resumed with its token", async () => {
  const session = make();
  await session.prove({ txHash: "0x1" }, {});
  Socket.made[0].lose(1006);
  await new Promise((resolve) => session.addEventListener("started", resolve, { once: true }));
  assert.deepEqual(Socket.made[1].sent, [{ type: "resume", token: "t" }]);
  session.end();
});

test("why a session waits is told: a lost connection, or a server that goes away", async () => {
  const session = make();
  const why = () => new Promise((resolve) => session.addEventListener("away", () => resolve(session.why), { once: true }));
  const back = () => new Promise((resolve) => session.addEventListener("started", resolve, { once: true }));
  await session.prove({ txHash: "0x1" }, {});
  for (const [draining, reason] of [[false, "away"], [true, "drain"], [false, "away"]]) {
    const [told, started] = [why(), back()];
    if (draining) Socket.made.at(-1).say({ type: "draining", reconnectAfterMs: 1 });
    Socket.made.at(-1).lose(1012);
    assert.equal(await told, reason);
    await started;
  }
  session.end();
});

test("a session that is ended while its connection is away ends as soon as it is back", async () => {
  const session = make();
  await session.prove({ txHash: "0x1" }, {});
  const started = new Promise((resolve) => session.addEventListener("started", resolve, { once: true }));
  session.addEventListener("away", () => session.end());
  Socket.made[0].lose(1006);
  await started;
  assert.deepEqual(Socket.made[1].sent.map(({ type }) => type), ["resume", "end_session"]);
});

test("a payment that is left is shown no more", async () => {
  const session = make();
  Socket.answer = () => session.abandon();
  await assert.rejects(session.prove({ txHash: "0x1" }, {}), { code: "closed" });
  assert.equal(Socket.made.length, 1);
});

const offer = (reference, resourceId = "ticker") => ({ reference, resourceId, units: 10n ** 20n });

test("payments and sessions have an entry each, with amounts exact", () => {
  memory.payments.set({ offer: offer("a"), tx: "0x1", from: "0x2" });
  memory.payments.set({ offer: offer("b", "film"), tx: null, from: "0x2" });
  memory.sessions.set({ id: "s", paid: 5n });
  assert.deepEqual(memory.payments.all().map((each) => each.offer.reference), ["a", "b"]);
  assert.equal(memory.payments.all()[0].offer.units, 10n ** 20n);
  memory.payments.drop({ offer: offer("a") });
  assert.equal(memory.payments.all().length, 1);
  memory.sessions.drop({ id: "other" });
  assert.deepEqual(memory.sessions.all(), [{ id: "s", paid: 5n }]);
});

test("only a payment that was sent, and for this resource, is one that can be used", () => {
  memory.payments.set({ offer: offer("a"), tx: null, from: "0x2" });
  memory.payments.set({ offer: offer("b", "film"), tx: "0x1", from: "0x2" });
  assert.equal(memory.unused("ticker"), undefined);
  assert.equal(memory.unused("film").offer.reference, "b");
});

test("what an earlier version of the page kept is taken over, and rubbish is let go", () => {
  stored.set("ws402.payment", JSON.stringify({ offer: { reference: "a", units: { big: "7" } }, tx: "0x1", from: "0x2" }));
  stored.set("ws402.session", JSON.stringify({ token: "t", paid: { big: "5" } }));
  stored.set("ws402.payment.x", "{broken");
  memory.upgrade();
  assert.equal(memory.payments.all()[0].offer.units, 7n);
  assert.equal(memory.sessions.all()[0].token, "t");
  assert.deepEqual([...stored.keys()].sort(), ["ws402.payment.a", "ws402.session.before"]);
});
