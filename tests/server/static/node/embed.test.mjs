// Where the page in another site's frame leads back to.

import assert from "node:assert/strict";
import { test } from "node:test";

const module = new URL("../../../../app/ws402/server/static/js/embed.js", import.meta.url).href;
const OWN = "https://owner.example/";
let visits = 0;

/** The answer of a page that was asked for so, in a frame or not. */
async function back({ embed = "https://shop.example", wanted, framed = true }) {
  globalThis.window = globalThis;
  globalThis.parent = framed ? {} : globalThis;
  globalThis.location = { search: `?${new URLSearchParams({ embed, return: wanted })}` };
  globalThis.document = { documentElement: { dataset: { embed: "https://shop.example http://localhost:8000" } } };
  const { backTo } = await import(`${module}?${++visits}`);
  return backTo(OWN);
}

test("to what the site around it asked for, as a link reads it, if it is the site's own", async () => {
  assert.equal(await back({ wanted: "https://shop.example/thanks?order=7" }), "https://shop.example/thanks?order=7");
  assert.equal(await back({ wanted: "https:shop.example/thanks" }), "https://shop.example/thanks");
});

test("to no other site, to no script, and nowhere from a page that is in no frame of a named site", async () => {
  for (const wanted of [
    "https://evil.example/", "https://shop.example.evil.example/", "https://shop.example@evil.example/", "//evil.example/", "/thanks",
    "http://shop.example/", "https://shop.example:8443/", "javascript:alert(1)//https://shop.example", "blob:https://shop.example/1", "",
  ]) assert.equal(await back({ wanted }), OWN, wanted);
  const wanted = "https://evil.example/";
  assert.equal(await back({ wanted, embed: "https://evil.example" }), OWN);
  assert.equal(await back({ wanted: "https://shop.example/", framed: false }), OWN);
});
