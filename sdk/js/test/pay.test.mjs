// Whole sessions on real chains, paid by viem and @solana/kit: pay, stream, leave early, and get the rest back to the unit.

import assert from "node:assert/strict";
import { mkdtemp, readdir, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { connect, eip1193Wallet, fetchOffer, kitWallet, memoryStorage, resume, viemWallet } from "@ws402/client";
import { folderStorage } from "@ws402/client/node";
import { EVM_RPC, SERVER, SOLANA_RPC, account, chain, client, lamports, signer, solana, stream } from "./world.mjs";

const limits = { maxAmount: "0.01 ETH", trustFirstUse: true, store: memoryStorage() };

test("viem pays, streams, tops up, leaves early, and gets the rest back to the unit", async () => {
  const first = await chain.getBlockNumber();
  const before = await chain.getBalance({ address: account.address });
  const session = await connect(`${SERVER}/#ticker`, {
    ...limits, wallet: viemWallet(client), seconds: 100, userId: "test",
  });
  assert.equal(session.usage.paid, 10n ** 15n);
  const messages = await stream(session, 1);
  assert.ok(messages.length > 0 && messages.every((each) => typeof each === "string"));
  assert.equal(await session.topUp(50), 5n * 10n ** 14n);
  assert.equal(session.usage.paid, 15n * 10n ** 14n);
  const { paid: all, consumed, refund, reason, exact } = await session.end();
  assert.deepEqual([all, consumed + refund, reason, exact], [15n * 10n ** 14n, all, "client_ended", true]);
  assert.ok(consumed >= 10n ** 13n && consumed < 10n ** 15n, `${consumed}`);
  const states = [];
  const back = await session.refund({ until: "final", onState: ({ state }) => states.push(state) });
  assert.deepEqual([back.state, back.amount], ["final", refund]);
  assert.equal(states.at(-1), "final");
  const sent = await chain.getTransaction({ hash: back.txHash });
  assert.deepEqual([sent.to.toLowerCase(), sent.value], [account.address.toLowerCase(), refund]);
  assert.equal(await chain.getBalance({ address: account.address }), before - consumed - (await fees(first)));
});

/** What our transactions since a block cost beside their value. */
async function fees(since) {
  let sum = 0n;
  for (let blockNumber = await chain.getBlockNumber(); blockNumber > since; blockNumber--) {
    const { transactions } = await chain.getBlock({ blockNumber, includeTransactions: true });
    for (const { hash } of transactions.filter(({ from }) => from.toLowerCase() === account.address.toLowerCase())) {
      const { gasUsed, effectiveGasPrice } = await chain.getTransactionReceipt({ hash });
      sum += gasUsed * effectiveGasPrice;
    }
  }
  return sum;
}

test("a key of @solana/kit pays, streams, leaves early, and gets the rest back to the unit", async () => {
  const before = await lamports();
  const session = await connect(`${SERVER}/#sol`, {
    wallet: kitWallet(signer, { rpc: SOLANA_RPC }), seconds: 300, maxAmount: "0.1 SOL", trustFirstUse: true, store: memoryStorage(),
  });
  await stream(session, 1);
  const back = await session.refund({ until: "final" });
  assert.equal(back.state, "final");
  const { paid, consumed } = session.settlement;
  assert.deepEqual([paid, back.amount], [6_000_000n, 6_000_000n - consumed]);
  const { meta } = await solana.getTransaction(back.txHash, { commitment: "confirmed", encoding: "json", maxSupportedTransactionVersion: 0 }).send();
  assert.equal(meta.err, null);
  assert.equal(await lamports(), before - consumed - 5_000n);
});

test("a provider of EIP-1193 pays; a session that was left goes on where it is asked for, once", async () => {
  const session = await connect(`${SERVER}/#echo`, { ...limits, wallet: eip1193Wallet(node(EVM_RPC)) });
  session.send("one");
  session.send(Uint8Array.of(1, 2, 3));
  const heard = [];
  for await (const each of session.messages({ keep: true })) if (heard.push(each) === 2) break;
  assert.deepEqual([heard[0], [...new Uint8Array(heard[1])]], ["one", [1, 2, 3]]);
  const ticket = JSON.parse(JSON.stringify(session.leave()));
  assert.throws(() => session.send("gone"), { code: "ended" });
  const again = await resume(ticket);
  assert.equal(again.id, session.id);
  again.send("two");
  for await (const each of again) {
    assert.equal(each, "two");
    break;
  }
  assert.equal(again.settlement.reason, "client_ended", "leaving the loop ends the session");
  await assert.rejects(resume(ticket));
});

/** A development node signs for its accounts, as a browser's wallet does. */
function node(url) {
  const { address } = account;
  return {
    async request({ method, params = [] }) {
      if (method === "eth_requestAccounts") return [address];
      if (method === "eth_sendTransaction") {
        const [{ to, value, data }] = params;
        return client.sendTransaction({ to, value: BigInt(value), data });
      }
      assert.ok(url);
      return client.request({ method, params });
    },
  };
}

test("a file is fetched with the session's token, and nothing above it", async () => {
  const session = await connect(`${SERVER}/#film`, { ...limits, wallet: viemWallet(client) });
  const answer = await session.fetch();
  assert.equal(await answer.text(), "the film, all of it");
  await assert.rejects(session.fetch("../ticker"), { code: "other_origin" });
  await session[Symbol.asyncDispose]();
  assert.equal(session.settlement.reason, "client_ended");
});

test("what was paid and not used yet is used first, also by another process", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ws402-"));
  const store = folderStorage(folder);
  const wallet = viemWallet(client);
  const cut = { ...wallet, pays: (offer) => wallet.pays(offer), account: (offer) => wallet.account(offer), send: (...all) => wallet.send(...all) };
  cut.included = () => Promise.reject(new Error("the process dies here"));
  await assert.rejects(connect(`${SERVER}/#ticker`, { ...limits, store, wallet: cut }), { message: "the process dies here" });
  const [entry] = (await readdir(folder)).filter((each) => each.includes("payment"));
  assert.equal((await stat(join(folder, entry))).mode & 0o777, 0o600);
  const reused = [];
  const session = await connect(`${SERVER}/#ticker`, { ...limits, store: folderStorage(folder), wallet, onReuse: (each) => reused.push(each.tx) });
  assert.equal(reused.length, 1);
  await session.end();
  assert.deepEqual((await readdir(folder)).filter((each) => each.includes("payment")), []);
});

test("limits are kept: amount, asset, network, payee, price, and what may be called off", async () => {
  const wallet = viemWallet(client);
  const nonce = () => chain.getTransactionCount({ address: account.address });
  const before = await nonce();
  const offer = await fetchOffer(`${SERVER}/#ticker`, { seconds: 60 });
  assert.deepEqual([offer.units, offer.network, offer.symbol], [6n * 10n ** 14n, "base-sepolia", "ETH"]);
  const refused = (options, code) =>
    assert.rejects(connect(`${SERVER}/#ticker`, { wallet, store: memoryStorage(), maxAmount: "0.01 ETH", trustFirstUse: true, ...options }), { code });
  await refused({ maxAmount: "0.001 ETH" }, "over_cap");
  await refused({ maxAmount: 10n ** 15n }, "over_cap");
  await refused({ maxAmount: "5 USDC" }, "asset_refused");
  await refused({ maxAmount: "1 SOL" }, "asset_refused");
  await refused({ maxAmount: 0.01 }, "bad_limit");
  await refused({ maxAmount: undefined }, "bad_limit");
  await refused({ maxAmount: "0.01 eth" }, "bad_limit");
  await refused({ network: "base" }, "network_refused");
  await refused({ trustFirstUse: false }, "payee_unknown");
  await refused({ payees: [account.address] }, "payee_refused");
  await refused({ maxPricePerSecond: 10n }, "price_refused");
  await refused({ wallet: kitWallet(signer, { rpc: SOLANA_RPC }) }, "network_refused");
  await refused({ wallet: null }, "no_wallet");
  await refused({ seconds: 1.5 }, "bad_duration");
  const moved = memoryStorage();
  moved.setItem(`ws402.client.payee.base-sepolia.${new URL(SERVER).origin}`, account.address.toLowerCase());
  await refused({ store: moved }, "payee_changed");
  const stop = new AbortController();
  await assert.rejects(connect(`${SERVER}/#ticker`, { ...limits, wallet, signal: stop.signal, onOffer: () => stop.abort() }), { name: "AbortError" });
  await assert.rejects(connect(SERVER, { ...limits, wallet }), { code: "which_resource" });
  await assert.rejects(connect("http://192.0.2.1/#ticker", { ...limits, wallet }), { code: "plaintext_refused" });
  await assert.rejects(connect("ticker", { ...limits, wallet }), { code: "bad_address" });
  assert.equal(await nonce(), before, "nothing was paid");
});
