// Receipts: what a session cost, and where its refund is. Each has an address of its own and is kept in this browser.

import { refund } from "./api.js";
import * as memory from "./memory.js";
import { coins, spoken } from "./money.js";
import { explorer, nameOf } from "./networks.js";
import { $, element, show } from "./view.js";

const REFUND_MS = 15 * 60_000;
const MOST = 50;
const ADDRESS = /^#receipt\/([\w-]{1,80})$/;

const WHY = {
  client_ended: "You ended the session.",
  client_closed: "You left.",
  balance_exhausted: "All that was paid is used.",
  max_duration: "The session was as long as one may be.",
  resource_ended: "The resource has no more to give.",
  server_error: "The server failed; you pay only for what you got.",
  server_draining: "The server went away.",
  slow_reader: "Your connection was too slow.",
  reorged: "The payment left the chain.",
};

const REFUND = {
  waiting: ["Refund recorded", "It is sent as soon as the payment is final on the chain."],
  due: ["Refund recorded", "It is sent in a moment."],
  in_flight: ["Refund sent", "It waits for a block."],
  confirmed: ["Refunded", "The money is back in the account that paid."],
  final: ["Refunded", "The money is back in the account that paid."],
  credit: ["Kept as credit", "It is worth less than sending it; it comes with your next refund."],
  held: ["Refund held", "Your account could not take it. The operator will look into it."],
};
const SETTLED = ["confirmed", "final", "credit", "held"];

/** The receipt that is shown: an older one's refund is asked for no more. */
let current = null;

/** Remembers a receipt, and answers it; the oldest of very many are forgotten. */
export function keepReceipt(receipt) {
  memory.receipts.set(receipt);
  const all = memory.receipts.all().sort((one, other) => other.ended - one.ended);
  all.slice(MOST).forEach(memory.receipts.drop);
  return receipt;
}

/** The receipt that the page's address names, or null. */
export function addressed() {
  const [, id] = ADDRESS.exec(location.hash) ?? [];
  return (id && memory.receipts.all().find((each) => each.id === id)) || null;
}

/** Leaves the receipt's address. */
export function leaveReceipt() {
  current = null;
  if (ADDRESS.test(location.hash)) history.replaceState(null, "", location.pathname + location.search);
}

/** Links to the receipts that this browser has, newest first. */
export function drawReceipts() {
  const all = memory.receipts.all().sort((one, other) => other.ended - one.ended);
  $("receipts").hidden = !all.length;
  $("receipt-list").replaceChildren(...all.map((each) => {
    const link = element("a", { href: `#receipt/${each.id}`, textContent: `${each.name}, ${when(each.ended)}` });
    return element("li", {}, link);
  }));
}

const when = (ms) => new Date(ms).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });

/** Shows a receipt, and follows its refund. */
export async function showReceipt(receipt) {
  current = receipt;
  const exact = (units) => `${coins(units, receipt.decimals)} ${receipt.symbol}`;
  const about = receipt.exact ? "" : "about ";
  $("done-why").textContent = receipt.overcharged
    ? "The meter ran faster than the time, so this page ended the session. Tell the site’s owner."
    : (WHY[receipt.reason] ?? "");
  $("done-name").textContent = receipt.name;
  $("done-when").textContent = when(receipt.ended);
  $("done-time").textContent = [about + spoken(receipt.seconds), ...receipt.counts].join(", ");
  $("done-network").textContent = nameOf(receipt.network);
  $("done-paid").textContent = exact(receipt.paid);
  $("done-used").textContent = about + exact(receipt.consumed);
  $("done-refund").textContent = about + exact(receipt.refund);
  $("done-txs").replaceChildren(...receipt.txs.map((tx) => element("li", {}, hash(receipt.network, tx))));
  $("done-txs-box").hidden = !receipt.txs.length;
  $("done-id").textContent = receipt.id;
  drawRefund(receipt, receipt.state, receipt.refundTx);
  $("refund-box").hidden = receipt.refund === 0n;
  history.replaceState(null, "", `#receipt/${receipt.id}`);
  show("done");
  if (receipt.refund !== 0n && receipt.refundId) await follow(receipt);
}

/** A transaction, with a link to a public explorer where there is one. */
function hash(network, tx) {
  const code = element("code", { textContent: tx });
  const url = explorer(network, tx);
  return url ? element("a", { href: url, target: "_blank", rel: "noopener" }, code) : code;
}

function drawRefund({ network, refundId }, state, tx) {
  const [title, note] = refundId
    ? (REFUND[state] ?? ["Refund recorded", ""])
    : ["The refund comes by itself", "It goes to the account that paid, usually within minutes."];
  if ($("refund-state").textContent !== title) $("refund-state").textContent = title;
  $("refund-note").textContent = note;
  $("refund-tx").replaceChildren(...(tx ? [hash(network, tx)] : []));
  $("refund-tx-line").hidden = !tx;
}

async function follow(receipt) {
  const end = Date.now() + REFUND_MS;
  for (let wait = 1000; Date.now() < end && current === receipt; wait = Math.min(wait * 1.3, 6000)) {
    try {
      const { state, txHash } = await refund(receipt.refundId);
      if (current !== receipt) return;
      Object.assign(receipt, { state, refundTx: txHash ?? null });
      memory.receipts.set(receipt);
      drawRefund(receipt, state, txHash);
      if (SETTLED.includes(state)) return;
    } catch {
      $("refund-note").textContent = "The server does not answer now; the refund is recorded and will be sent.";
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
