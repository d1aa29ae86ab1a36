// What is sold, what it costs, and for how long somebody wants it.

import { short, spoken } from "./money.js";
import { nameOf } from "./networks.js";
import { quote, readPrice, share, spokenPrice } from "./price.js";
import { $, element } from "./view.js";

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
  if (!found.length) $("resources").append(element("p", { className: "quiet", textContent: "Nothing is sold here yet." }));
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

/** What it is paid in: not known while the gateway is away, and then nothing is guessed. */
function currencyOf({ pricing: { currency: symbol }, decimals = DECIMALS[symbol] }) {
  return symbol && decimals !== undefined ? { symbol, decimals } : null;
}

/** A price for the eye, by its parts. */
function pricesOf(each) {
  const paidIn = currencyOf(each);
  if (!paidIn) return [{ coins: "Price", words: "at the next step" }];
  return spokenPrice(readPrice(each.pricing), paidIn.decimals, paidIn.symbol);
}

/** What so many seconds cost, with what one uses in them beside. */
function totalOf(each, seconds) {
  const paidIn = currencyOf(each);
  if (!paidIn) return { coins: "Price", words: "at the next step" };
  const { estimatedUnits, estimatedDuration } = each.pricing;
  const units = quote(readPrice(each.pricing), seconds, share(estimatedUnits, estimatedDuration, seconds));
  const where = each.network ? `, on ${nameOf(each.network)}` : "";
  return { coins: `${short(units, paidIn.decimals)} ${paidIn.symbol}`, words: `for ${spoken(seconds)}${where}` };
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
  const { coins: shown, words } = fine ? totalOf(resource, seconds) : { coins: "–", words: "" };
  $("choose-total").textContent = shown;
  $("choose-note").textContent = words;
}
