// The page's modules that need no browser, run by `node --test`.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

const js = new URL("../../../../app/ws402/server/static/js/", import.meta.url);
const module = (name) => import(new URL(name, js).href);

const { amount, clock, coins, short } = await module("money.js");
const { decode, encode, key } = await module("solana/base58.js");
const { isOnCurve, paymentMessage, tokenAccount, transaction } = await module("solana/transaction.js");
const { proofOf, readOffer } = await module("offer.js");
const { bySecond, cost, kept, lasts, quote, readPrice, same } = await module("price.js");

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const contradicts = { code: "bad_offer", message: /contradicts itself/ };

// --- money -------------------------------------------------------------------------------------------------------

test("amounts are whole numbers, exact in every size", () => {
  assert.equal(amount(0), 0n);
  assert.equal(amount(Number.MAX_SAFE_INTEGER), 9007199254740991n);
  assert.equal(amount("9007199254740993"), 9007199254740993n);
  assert.equal(amount("9".repeat(78)), BigInt("9".repeat(78)));
  for (const wrong of [-1, 1.5, 2 ** 53, NaN, Infinity, "", "-1", "1.0", "0x10", " 1", "9".repeat(79), null, undefined, true, [1], {}]) {
    assert.throws(() => amount(wrong), TypeError, String(wrong));
  }
});

test("coins are exact, without trailing zeros", () => {
  for (const [units, decimals, text] of [
    [1500000n, 6, "1.5"], [0n, 18, "0"], [1n, 18, "0.000000000000000001"], [10n ** 18n, 18, "1"], [7n, 0, "7"],
    [123456789012345678901234567890n, 18, "123456789012.34567890123456789"],
  ]) assert.equal(coins(units, decimals), text);
});

test("short amounts are cut, never rounded up", () => {
  assert.equal(short(1999999999n, 9), "1.999999");
  assert.equal(short(1234567890123n, 18), "0.00000123456");
  assert.equal(short(5n * 10n ** 18n, 18), "5");
});

test("times are shown", () => {
  assert.deepEqual([clock(65), clock(3661), clock(-3), clock(0.9)], ["1:05", "1:01:01", "0:00", "0:00"]);
});

// --- base58 and Solana's transactions: the expected bytes are those of other implementations -----------------------

test("base58 as in the published vectors", () => {
  for (const [bytes, text] of [["", ""], ["00", "1"], ["61", "2g"], ["626262", "a3gV"], ["00000000000000000000", "1111111111"], ["516b6fcd0f", "ABnLTmg"]]) {
    assert.equal(encode(Buffer.from(bytes, "hex")), text);
    assert.equal(hex(decode(text)), bytes);
  }
  for (const wrong of ["0", "O", "I", "l", "2g ", "é", null, 7, "2".repeat(201)]) assert.equal(decode(wrong), null);
  assert.equal(key("11111111111111111111111111111111").length, 32);
  for (const wrong of ["2g", "1".repeat(31), "1".repeat(33), ""]) assert.equal(key(wrong), null);
});

const [PAYER, PAYEE, REFERENCE, MINT, BLOCK] = [
  "AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9",
  "9hSR6S7WPtxmTojgo6GG3k4yDPecgJY292j7xrsUGWBu",
  "GyGKxMyg1p9SsHfm15MkNUu1u9TN2JtTspcdmrtGUdse",
  "EdmxWPmx2WH6WgFfTdu9xfkYf3k1g5wD1zccTVySEEh1",
  "cGfHiC6Kgg3FpFZvgwGcswsCRtp4aBP2fzuXRQPizuN",
];

test("token accounts are the associated ones", async () => {
  assert.equal(await tokenAccount(PAYER, MINT, "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"), "AS4agAYaHGkZ7qvSRkNeNjPcoricha1WhSko5qv28eLY");
  assert.equal(await tokenAccount(PAYER, MINT, "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"), "4G1qyjFNmH2nMKR2WU8BP3C38ZmLjGqFNVZFgHEcwHfk");
  assert.equal(isOnCurve(key(PAYER)), true);
});

/** Of a message in the format without version (all its lengths are below 128); accounts of the same rights have no order. */
function meaning(message) {
  const [signers, readonlySigners, readonlyOthers, count] = message;
  const keys = Array.from({ length: count }, (_, at) => encode(message.slice(4 + 32 * at, 36 + 32 * at)));
  let at = 4 + 32 * count;
  const take = (size) => message.slice(at, (at += size));
  const blockhash = encode(take(32));
  const instructions = Array.from({ length: take(1)[0] }, () => {
    const program = keys[take(1)[0]];
    const accounts = [...take(take(1)[0])].map((each) => keys[each]);
    return { program, accounts, data: hex(take(take(1)[0])) };
  });
  assert.equal(at, message.length);
  const writable = keys.slice(signers, count - readonlyOthers);
  return { signers: keys.slice(0, signers), readonlySigners, writable, readonly: keys.slice(count - readonlyOthers).sort(), blockhash, instructions };
}

test("a payment's message is what other programs make of it", async () => {
  const offer = { units: 123456789n, recipient: PAYEE, token: null, reference: REFERENCE, memo: "ws402" };
  const message = await paymentMessage(offer, PAYER, BLOCK);
  const other = "010003058a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b3940000000000000000000000000000000000000000000000000000000000000000054a535a992921064d24e87160da387c7c35b5ddbc92bb81e41fa8404105448ded4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1090909090909090909090909090909090909090909090909090909090909090902030005777334303202030001040c0200000015cd5b0700000000";
  assert.deepEqual(meaning(message), meaning(Buffer.from(other, "hex")));
  assert.equal(hex(transaction(message)), `01${"00".repeat(64)}${hex(message)}`);
});

// --- offers --------------------------------------------------------------------------------------------------------

const RECIPIENT = `0x${"0a".repeat(20)}`;
const TOKEN = `0x${"0b".repeat(20)}`;
const SECONDS = 60;

function schema(change = {}, rest = {}) {
  const reference = "reference";
  const data = `0x${createHash("sha256").update(reference).digest("hex")}`;
  return {
    resourceId: "ticker",
    websocketEndpoint: "ws://127.0.0.1/",
    maxSessionDuration: 3600,
    pricing: { pricePerSecond: 10 ** 13, estimatedDuration: SECONDS },
    paymentDetails: {
      type: "base", network: "base-sepolia", chainId: 84532, recipient: RECIPIENT, amount: 6 * 10 ** 14, amountWei: 6 * 10 ** 14,
      amountETH: "0.0006", currency: "ETH", reference, expiresAt: 1, data, eip681: `ethereum:${RECIPIENT}@84532?value=600000000000000&data=${data}`,
      ...change,
    },
    ...rest,
  };
}

const read = (...changes) => readOffer(schema(...changes), "ticker", SECONDS);

test("an honest offer becomes the transaction that pays it", async () => {
  const offer = await read();
  assert.equal(offer.units, 600000000000000n);
  assert.deepEqual(offer.transaction, { to: RECIPIENT, value: 600000000000000n, data: offer.tag });
  assert.deepEqual(proofOf(offer, "0x1", "0x2"), { txHash: "0x1", reference: "reference", senderAddress: "0x2" });
});

test("a token is paid by its transfer, with the tag behind", async () => {
  const offer = await read({
    currency: "ERC20", tokenAddress: TOKEN, asset: "DUSD", decimals: 6, amountETH: "600000000",
    eip681: `ethereum:${TOKEN}@84532/transfer?address=${RECIPIENT}&uint256=600000000000000`,
  });
  const call = `0xa9059cbb${RECIPIENT.slice(2).padStart(64, "0")}${(600000000000000n).toString(16).padStart(64, "0")}`;
  assert.deepEqual(offer.transaction, { to: TOKEN, value: 0n, data: call + offer.tag.slice(2) });
});

test("a47 what contradicts itself is refused", async () => {
  for (const change of [
    { amountWei: 1 }, { amountETH: "0.0007" }, { amount: 10 ** 15, amountWei: 10 ** 15, amountETH: "0.001" }, { amount: 0, amountWei: 0, amountETH: "0" },
    { amount: "x" }, { amount: -1 }, { amount: 1.5 }, { recipient: "0x1" }, { recipient: `0x${"00".repeat(20)}` }, { chainId: 1 }, { data: `0x${"00".repeat(32)}` },
    { data: "0xa9059cbb" }, { currency: "ERC20" }, { tokenAddress: TOKEN }, { eip681: "bitcoin:x" }, { eip681: `ethereum:${TOKEN}@84532?value=600000000000000` },
    { eip681: `ethereum:${RECIPIENT}@84532?value=600000000000000&value=1` }, { eip681: `ethereum:${RECIPIENT}@1?value=600000000000000` },
  ]) await assert.rejects(read(change), contradicts, JSON.stringify(change));
  await assert.rejects(read({}, { resourceId: "dear" }), contradicts);
  await assert.rejects(read({}, { pricing: { pricePerSecond: 10 ** 13, estimatedDuration: 61 } }), contradicts);
  await assert.rejects(read({ type: "paper" }), /cannot pay on/);
});

test("a47 decimals that nothing has are refused before anything is made of them", async () => {
  for (const decimals of [-1, 1.5, 78, 1e9, "6", NaN]) {
    await assert.rejects(read({ currency: "ERC20", tokenAddress: TOKEN, decimals, eip681: undefined }), contradicts, String(decimals));
  }
});

const lamports = (change = {}) => schema({
  type: "solana", network: "solana-localnet", recipient: PAYEE, amount: 6 * 10 ** 14, amountSOL: "600000", currency: "SOL", reference: REFERENCE,
  solanaPayURL: `solana:${PAYEE}?amount=600000&reference=${REFERENCE}&memo=m`, ...change,
});

test("an offer on Solana is read, and refused where it contradicts itself", async () => {
  const offer = await readOffer(lamports(), "ticker", SECONDS);
  assert.deepEqual([offer.symbol, offer.memo, offer.reference], ["SOL", "m", REFERENCE]);
  assert.deepEqual(proofOf(offer, "s", "w"), { signature: "s", reference: REFERENCE, senderWallet: "w" });
  for (const change of [
    { recipient: "2g" }, { reference: "2g" }, { currency: "SPL" }, { splToken: MINT }, { amountSOL: "600001" }, { network: "base" }, { memo: "other" },
    { solanaPayURL: `solana:${PAYER}?amount=600000&reference=${REFERENCE}` }, { solanaPayURL: `solana:${PAYEE}?amount=600000&reference=${REFERENCE}&amount=1` },
    { currency: "SPL", splToken: MINT, decimals: 1e9 },
  ]) await assert.rejects(readOffer(lamports(change), "ticker", SECONDS), contradicts, JSON.stringify(change));
});

// --- prices --------------------------------------------------------------------------------------------------------

const THIRD = { pricePerSecond: 1, price: { rates: [{ unit: "seconds", amount: 2, per: 6 }] } };

test("a price in full is exact, and rounded once: down when used, up when paid", () => {
  const price = readPrice(THIRD);
  assert.deepEqual([price.time, price.divisor], [1n, 3000n]);
  assert.deepEqual([cost(price, 2999), cost(price, 3000), quote(price, 1), quote(price, 31), lasts(price, 11n)], [0n, 1n, 1n, 11n, 33]);
  assert.ok(same(price, readPrice({ pricePerSecond: 1, price: { rates: [{ unit: "seconds", amount: "1", per: 3 }] } })));
  assert.ok(!same(price, bySecond(1n)));
  assert.ok(same(readPrice({ pricePerSecond: "7" }), kept(7n)));
});

test("a47 a price that contradicts itself, or is of something else, is refused", async () => {
  for (const price of [
    { rates: [] }, { rates: [{ unit: "moons", amount: 1, per: 3 }] }, { rates: [{ unit: "seconds", amount: 0, per: 3 }] }, { rates: [{ unit: "seconds", amount: 1, per: 0 }] },
    { rates: [{ unit: "seconds", amount: 4, per: 3 }] }, { rates: [{ unit: "seconds", amount: 1.5, per: 3 }] }, {}, { rates: [{ unit: "seconds", amount: 1, per: 3 }, { unit: "seconds", amount: 1, per: 3 }] },
  ]) assert.throws(() => readPrice({ pricePerSecond: 1, price }), TypeError, JSON.stringify(price));
  await assert.rejects(read({ pricePerSecond: 10 ** 12 }), contradicts);
  await assert.rejects(read({}, { pricing: { pricePerSecond: 10 ** 12, price: { rates: [{ unit: "seconds", amount: 2 * 10 ** 12 - 1, per: 2 }] }, estimatedDuration: SECONDS } }), contradicts);
});
