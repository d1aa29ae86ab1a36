// What the page says, in every language; run by `node --test`.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const js = new URL("../../../../app/ws402/server/static/js/", import.meta.url);
const module = (name) => import(new URL(name, js).href);

const { LANGUAGES, knows, pick, speak, t } = await module("language.js");
const { exactly, networkName, roughly, spoken, spokenPrice, spokenUnits, told } = await module("words.js");
const { bySecond, readPrice } = await module("price.js");
const { walletApps } = await module("wallets/apps.js");
const { inFiat, useRates } = await module("fiat.js");

const words = Object.fromEntries(await Promise.all(Object.keys(LANGUAGES).map(async (each) => [each, (await module(`languages/${each}.js`)).default])));
const files = readdirSync(js, { recursive: true }).filter((each) => each.endsWith(".js"));
const sources = Object.fromEntries(files.map((each) => [each, readFileSync(new URL(each, js), "utf8")]));
const page = readFileSync(new URL("../index.html", js), "utf8");
const forms = (value) => (typeof value === "string" ? [value] : Object.values(value));
const holes = (value) => [...new Set(forms(value).flatMap((each) => [...each.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)))].sort();

test("every language is a file, and every file a language", () => {
  assert.deepEqual(files.filter((each) => each.startsWith("languages/")).sort(), Object.keys(LANGUAGES).map((each) => `languages/${each}.js`).sort());
});

test("every key is in every language, with words and the same values", () => {
  for (const [language, each] of Object.entries(words)) {
    assert.deepEqual(Object.keys(each), Object.keys(words.en), language);
    for (const [key, value] of Object.entries(each)) {
      for (const form of forms(value)) assert.ok(form.trim(), `${language} ${key}`);
      // What a server says in English, and where it cannot be translated, may be left out.
      if (key !== "problem.said+") assert.deepEqual(holes(value), holes(words.en[key]), `${language} ${key}`);
      if (typeof value !== "string") assert.ok(new Intl.PluralRules(language).resolvedOptions().pluralCategories.every((form) => form in value), `${language} ${key}`);
    }
  }
});

test("no words are the same in two languages by oversight", () => {
  const same = Object.keys(words.en).filter((key) => JSON.stringify(words.en[key]) === JSON.stringify(words.de[key]) && /[a-z]{4}/i.test(String(words.en[key]).replaceAll(/\{\w+\}/g, "")));
  assert.deepEqual(same, ["pay.token"]);
});

test("every key that is asked for exists, and every key is asked for", () => {
  const asked = new Set([...page.matchAll(/data-t(?:-\w+)?="([^"]+)"|data-what="([^"]+)"/g)].map(([, one, other]) => one ?? other));
  const stems = new Set();
  for (const [file, source] of Object.entries(sources)) {
    if (file.startsWith("languages/")) continue;
    for (const [, key] of source.matchAll(/"([a-z-]+(?:\.[a-z0-9_-]+)*)"/g)) if (key in words.en) asked.add(key);
    for (const [, key] of source.matchAll(/\b(?:t|parts)\("([^"]+)"/g)) asked.add(key);
    for (const [, stem] of source.matchAll(/`([a-z]+\.)\$\{/g)) stems.add(stem);
    for (const [, code] of source.matchAll(/\bproblem\("([^"]+)"/g)) asked.add(`problem.${code}`);
    for (const [, code] of source.matchAll(/new Problem\(.*, "([\w-]+)"\)/g)) asked.add(`problem.${code}`);
  }
  assert.deepEqual([...asked].filter((key) => !(key in words.en)), []);
  const known = (key) => asked.has(key) || [...stems].some((stem) => key.startsWith(stem));
  assert.deepEqual(Object.keys(words.en).filter((key) => !known(key)), []);
  assert.deepEqual([...stems].sort(), ["network.", "price.", "problem.", "refund.", "unit.", "use.", "wait.", "wallet.", "why."]);
});

test("what a page is made of has no words of its own", () => {
  const bare = page.replace(/<noscript>.*<\/noscript>/s, "").replace(/<title>.*<\/title>/, "").replaceAll(/<[^>]*>/g, " ");
  assert.deepEqual(bare.match(/\p{L}{2,}/gu), null);
  assert.deepEqual([...page.matchAll(/ (?:aria-label|placeholder|title|alt)="([^"]+)"/g)], []);
});

test("a problem is told by its code, whoever says it, and else in the server's words", async () => {
  assert.deepEqual(told({ message: "No.", remedy: "Wait.", code: "odd" }), ["No.", "Wait."]);
  assert.deepEqual(told({ message: "x", code: "http_502" })[0], "The server answered 502.");
  assert.deepEqual(told({ message: "x", code: "http_200" })[0], "The server’s answer cannot be read.");
  assert.equal(told({ message: "x", code: "wallet", values: { text: "Nonce!" } })[0], "The wallet refused: Nonce!");
  await speak(["de"]);
  assert.deepEqual(told({ message: "No.", remedy: "Wait.", code: "odd" }), ["Der Server meldet: No.", words.de["problem.said+"]]);
  assert.deepEqual(told({ message: "x", code: "declined" }), [words.de["problem.declined"], words.de["problem.declined+"]]);
  await speak(["en"]);
  for (const code of ["amount_short", "invoice_expired", "transfer_unconfirmed", "rate_limited", "gateway_unavailable"]) assert.ok(knows(`problem.${code}`), code);
});

test("the first language that there is one of is spoken", async () => {
  assert.deepEqual(pick([null, "", "fr-FR", "de-AT", "en"]), ["de", "de-AT"]);
  assert.deepEqual(pick(["fr", "constructor"]), ["en", "en"]);
  assert.equal(await speak(["de-x!y"]), "de");
  assert.equal(t("back"), "Zurück");
  assert.equal(await speak(["fr"]), "en");
  assert.equal(t("back"), "Back");
});

test("amounts keep every digit, and are written as people write them", async () => {
  const usdc = { decimals: 6, symbol: "USDC" };
  assert.equal(exactly(30000001234567n, usdc), "30,000,001.234567 USDC");
  assert.equal(exactly(1234500000n, usdc), "1234.5 USDC");
  assert.equal(exactly(1n, { decimals: 18, symbol: "ETH" }), "0.000000000000000001 ETH");
  assert.equal(roughly(1234567890123n, { decimals: 9, symbol: "SOL" }), "1234.56789 SOL");
  await speak(["de-DE"]);
  assert.equal(exactly(30000001234567n, usdc), "30.000.001,234567 USDC");
  assert.deepEqual([spoken(90), networkName("base-sepolia", 84532)], ["1 Min. 30 Sek.", "Base Sepolia (Testnetz), Kette 84532"]);
  assert.deepEqual(spokenUnits({ messages: 1, bytes: 3_500_000 }), ["1 Nachricht", "3,5 MB"]);
  await speak(["en"]);
  assert.deepEqual([spoken(90), spoken(3600), spoken(0)], ["1 min 30 sec", "1 hr", "0 sec"]);
  assert.deepEqual(spokenUnits({ messages: 12000, bytes: 999, tokens: 5 }), ["12,000 messages", "999 byte", "5 tokens"]);
});

test("a price is shown for a span in which it is a whole number, else rounded up for a day", () => {
  const usdc = { decimals: 6, symbol: "USDC" };
  const shown = (amount, per) => {
    const [{ words: span, coins }] = spokenPrice(readPrice({ pricePerSecond: Math.ceil(amount / per), price: { rates: [{ unit: "seconds", amount, per }] } }), usdc);
    return `${coins} ${span}`;
  };
  assert.equal(shown(100, 1), "0.006 USDC a minute");
  assert.equal(shown(1, 3600), "0.000001 USDC an hour");
  assert.equal(shown(1, 10 ** 6), "0.000001 USDC a day");
  assert.equal(spokenPrice(bySecond(100n), usdc)[0].words, "a minute");
});

test("a rate is for the eye, and an old one for nobody", () => {
  const eth = { decimals: 18, symbol: "ETH" };
  useRates({ currency: "EUR", at: Date.now(), rates: { ETH: "3000" } });
  assert.match(inFiat(12n * 10n ** 13n, eth), /^≈ €0\.36, rate of \d/);
  assert.equal(inFiat(1n, { decimals: 6, symbol: "USDC" }), "");
  useRates({ currency: "EUR", at: Date.now() - 3_600_001, rates: { ETH: "3000" } });
  assert.equal(inFiat(12n * 10n ** 13n, eth), "");
  for (const rate of ["0", "-1", "x", "Infinity"]) {
    useRates({ currency: "EUR", at: Date.now(), rates: { ETH: rate } });
    assert.equal(inFiat(10n ** 18n, eth), "", rate);
  }
  useRates(undefined);
});

test("wallets on phones are offered for pages that they can open", () => {
  const site = { href: "https://shop.example/pay?x=1#ticker", origin: "https://shop.example", protocol: "https:" };
  const links = Object.fromEntries(walletApps("evm", site).map(({ name, href }) => [name, href]));
  assert.equal(links.MetaMask, "https://metamask.app.link/dapp/shop.example/pay?x=1#ticker");
  assert.equal(links["Coinbase Wallet"], "https://go.cb-w.com/dapp?cb_url=https%3A%2F%2Fshop.example%2Fpay%3Fx%3D1%23ticker");
  assert.deepEqual(walletApps("solana", site).map(({ name }) => name), ["Coinbase Wallet", "Phantom", "Solflare"]);
  assert.deepEqual(walletApps("evm", { ...site, protocol: "http:" }), []);
});
