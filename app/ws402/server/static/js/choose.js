// What is sold, what it costs, and for how long somebody wants it.

import { inFiat } from "./fiat.js";
import { t } from "./language.js";
import { quote, readPrice, share } from "./price.js";
import { $, element } from "./view.js";
import { networkName, roughly, spoken, spokenPrice } from "./words.js";

/** From so many on there is a field to search them. */
const MANY = 8;

/** Of older servers, which name no decimals. */
const DECIMALS = { ETH: 18, SOL: 9, USDC: 6 };

/** What is sold, by id. */
export const listing = new Map();

export function drawResources(found) {
  listing.clear();
  found.forEach((each) => listing.set(each.id, each));
  const wanted = decodeURIComponent(location.hash.slice(1));
  const chosen = listing.has(wanted) ? wanted : found[0]?.id;
  $("resources").replaceChildren(...found.map((each) => choice(each, each.id === chosen)));
  if (!found.length) $("resources").append(element("p", { className: "quiet", textContent: t("choose.nothing") }));
  $("search-box").hidden = found.length < MANY;
  $("search").oninput = search;
  $("choose-go").disabled = !found.length;
  total();
}

function choice(each, checked) {
  const input = element("input", { type: "radio", name: "resource", value: each.id, checked });
  const price = element("span", { className: "price" });
  for (const { coins: shown, words } of pricesOf(each)) {
    if (price.hasChildNodes()) price.append(element("br"));
    price.append(shown, element("br"), element("small", { className: "quiet", textContent: words }));
  }
  const name = element("span", { className: "name", textContent: each.name || each.id });
  return element("label", { className: "choice" }, input, name, price);
}

/** Leaves only those whose names have every word of what is sought; what is chosen stays. */
function search() {
  const wanted = $("search").value.toLocaleLowerCase().split(/\s+/);
  const choices = [...document.querySelectorAll(".choice")];
  for (const each of choices) {
    const name = `${each.querySelector(".name").textContent} ${each.querySelector("input").value}`.toLocaleLowerCase();
    each.hidden = !each.querySelector("input").checked && !wanted.every((word) => name.includes(word));
  }
  const count = choices.filter((each) => !each.hidden).length;
  $("search-found").textContent = $("search").value ? t("choose.found", { count, all: choices.length }) : "";
}

/** What it is paid in: not known while the gateway is away, and then nothing is guessed. */
function currencyOf({ pricing: { currency: symbol }, decimals = DECIMALS[symbol] }) {
  return symbol && decimals !== undefined ? { symbol, decimals } : null;
}

const later = () => ({ coins: t("choose.price"), words: t("choose.later"), fiat: "" });

/** A price for the eye, by its parts. */
function pricesOf(each) {
  const paidIn = currencyOf(each);
  if (!paidIn) return [later()];
  return spokenPrice(readPrice(each.pricing), paidIn);
}

/** What so many seconds cost, with what one uses in them beside. */
function totalOf(each, seconds) {
  const paidIn = currencyOf(each);
  if (!paidIn) return later();
  const { estimatedUnits, estimatedDuration } = each.pricing;
  const units = quote(readPrice(each.pricing), seconds, share(estimatedUnits, estimatedDuration, seconds));
  const time = spoken(seconds);
  const words = each.network ? t("choose.for-on", { time, network: networkName(each.network) }) : t("choose.for", { time });
  return { coins: roughly(units, paidIn), words, fiat: inFiat(units, paidIn) };
}

export function chosen() {
  const form = new FormData($("choose-form"));
  const own = form.get("duration") === "own";
  $("own-duration").hidden = !own;
  const seconds = own ? Math.round(Number($("own-minutes").value) * 60) : Number(form.get("duration"));
  return { resource: listing.get(form.get("resource")), seconds };
}

/** No session is longer than this; older servers do not say. */
export function limitDuration(longest) {
  if (!longest) return;
  for (const each of document.querySelectorAll("[name=duration]:not([value=own])")) {
    each.parentElement.hidden = Number(each.value) > longest;
    if (each.checked && Number(each.value) > longest) document.querySelector("[name=duration][value=own]").checked = true;
  }
  const minutes = String(Math.max(1, Math.floor(longest / 60)));
  const own = $("own-minutes");
  own.max = minutes;
  if (Number(own.value) > Number(minutes)) own.value = minutes;
}

export function total() {
  const { resource, seconds } = chosen();
  const fine = resource && Number.isInteger(seconds) && seconds > 0;
  $("choose-go").disabled = !fine;
  const { coins: shown, words, fiat } = fine ? totalOf(resource, seconds) : { coins: "–", words: "", fiat: "" };
  $("choose-total").textContent = shown;
  $("choose-note").textContent = words;
  $("choose-fiat").textContent = fiat;
}
