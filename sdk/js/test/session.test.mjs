// Sessions whose server lies or whose connection breaks: the socket in between is ours, all else is real.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, memoryStorage, resume, viemWallet } from "@ws402/client";
import { NodeSocket } from "../dist/node_socket.js";
import { SERVER, client, stream } from "./world.mjs";

const limits = { wallet: viemWallet(client), maxAmount: "0.01 ETH", trustFirstUse: true, store: memoryStorage() };
const ticker = `${SERVER}/#ticker`;

/** A socket whose messages from the server `change` may change. */
const through = (change) => class extends NodeSocket {
  constructor(url) {
    super(url);
    let heard = null;
    Object.defineProperty(this, "onmessage", {
      get: () => heard && (({ data }) => heard({ data: change(data, this) })),
      set: (next) => (heard = next),
    });
  }
};

const edited = (data, type, edit) => {
  if (typeof data !== "string" || !data.startsWith(`{"type":"${type}"`)) return data;
  return JSON.stringify(edit(JSON.parse(data)));
};

test("a47 a meter that runs faster than the price ends the session, and the rest comes back", async () => {
  const lie = (data) => edited(data, "usage_update", (each) => ({ ...each, consumedAmount: "2000000000000000" }));
  const session = await connect(ticker, { ...limits, WebSocket: through(lie) });
  await assert.rejects(stream(session, 60), { code: "overcharged" });
  const { paid, refund } = session.settlement;
  assert.ok(refund > (paid * 9n) / 10n, `${refund} of ${paid}`);
});

test("a session that begins at another price than was agreed is ended at once", async () => {
  const dear = (data) => edited(data, "session_started", (each) => ({ ...each, pricePerSecond: 20_000_000_000_000 }));
  const session = await connect(ticker, { ...limits, WebSocket: through(dear) });
  await assert.rejects(stream(session, 60), { code: "overcharged" });
  await session.end();
});

test("top-ups at once, and of a server that credits nothing, stay within the limit, also after a resume", async () => {
  const grudges = (data) => edited(data, "balance_updated", (each) => ({ ...each, added: "0" }));
  const tight = { ...limits, maxAmount: "0.0036 ETH", WebSocket: through(grudges) }; // 300 s, and two times 30 s
  const session = await connect(ticker, tight);
  const [one, two, three] = await Promise.allSettled([30, 30, 30].map((each) => session.topUp(each)));
  assert.deepEqual([one.value, two.value, three.reason?.code], [0n, 0n, "over_cap"]);
  const again = await resume(session.leave(), tight);
  await assert.rejects(again.topUp(1), { code: "over_cap" });
  await again.end();
});

test("a session that was left is ended where it goes on", { timeout: 30_000 }, async () => {
  const session = await connect(ticker, limits);
  const again = await resume(session.leave());
  await assert.rejects(session.end(), { code: "left" });
  await assert.rejects(session.refund(), { code: "left" });
  await again.end();
});

test("a lost connection is resumed, and the loop goes on", async () => {
  let broken = false;
  const breaks = (data, socket) => {
    if (!broken && typeof data === "string" && data.includes("usage_update")) {
      broken = true;
      queueMicrotask(() => socket.onclose({ code: 1006, reason: "" }));
      queueMicrotask(() => socket.close(4000));
    }
    return data;
  };
  const session = await connect(ticker, { ...limits, WebSocket: through(breaks) });
  const seen = [];
  for (const type of ["away", "back"]) session.addEventListener(type, () => seen.push(type));
  const { id } = session;
  const { token } = session.ticket;
  await new Promise((resolve) => session.addEventListener("back", resolve, { once: true }));
  await stream(session, 1);
  assert.deepEqual([seen, session.id], [["away", "back"], id]);
  assert.notEqual(session.ticket.token, token);
  await session.end();
  assert.equal(session.ticket, null);
});

test("messages that nobody takes end the session before they fill the memory", async () => {
  const session = await connect(`${SERVER}/#echo`, { ...limits, maxBacklogBytes: 100_000 });
  for (let at = 0; at < 4; at++) session.send("x".repeat(20_000));
  await new Promise((resolve) => session.addEventListener("ended", resolve));
  await assert.rejects(stream(session, 60), { code: "backlog" });
});

test("what a resumed session may not do without a wallet, it says", async () => {
  const session = await connect(ticker, limits);
  const again = await resume(session.leave());
  await assert.rejects(again.topUp(10), { code: "no_wallet" });
  await assert.rejects(again.fetch(), { code: "no_http" });
  const { state } = await again.refund();
  assert.ok(["confirmed", "final"].includes(state), state);
  const third = await resume(await left(), limits);
  assert.equal(await third.topUp(10), 10n ** 14n);
  await third.end();
});

const left = async () => (await connect(ticker, limits)).leave();
