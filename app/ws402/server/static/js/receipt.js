// Receipts: what a session cost, and where its refund is. Each has an address of its own and is kept in this browser.

import { refund } from "./api.js";
import { report } from "./embed.js";
import { knows, t, when } from "./language.js";
import * as memory from "./memory.js";
import { explorer } from "./networks.js";
import { $, element, show } from "./view.js";
import { exactly, networkName, spoken, spokenUnits } from "./words.js";

const REFUND_MS = 15 * 60_000;
const MOST = 50;
const MOST_ASKED = 5;
const ADDRESS = /^#receipt\/([\w-]{1,80})$/;
const SETTLED = ["confirmed", "final", "credit", "held"];

/** The receipt that is shown: an older one's refund is asked for no more. */
let current = null;

const newestFirst = () => memory.receipts.all().sort((one, other) => other.ended - one.ended);

/** Remembers a receipt, and answers it; the oldest of very many are forgotten. */
export function keepReceipt(receipt) {
  memory.receipts.set(receipt);
  newestFirst().slice(MOST).forEach(memory.receipts.drop);
  return receipt;
}

/** The receipt that the page's address names, or null. */
export function addressed() {
  const [, id] = ADDRESS.exec(location.hash) ?? [];
  return (id && memory.receipts.all().find((each) => each.id === id)) || null;
}

/** Back to an address without a receipt. */
export function leaveReceipt() {
  current = null;
  if (ADDRESS.test(location.hash)) history.replaceState(null, "", location.pathname + location.search);
}

/** Links to all of them. */
export function drawReceipts() {
  const all = newestFirst();
  $("receipts").hidden = !all.length;
  $("receipt-list").replaceChildren(...all.map((each) => {
    const link = element("a", { href: `#receipt/${each.id}`, textContent: t("yours.receipt", { name: each.name, when: when(each.ended) }) });
    return element("li", {}, link, each.refund ? ` – ${stateOf(each)}` : "");
  }));
}

/** Those whose refund is not back yet, as far as this browser knows. */
export const owing = () => newestFirst().filter((each) => each.refund && !SETTLED.includes(each.state));

/** Asks where the newest of those refunds are. */
export async function askOwing() {
  await Promise.all(owing().filter((each) => each.refundId).slice(0, MOST_ASKED).map((each) => ask(each).catch(() => {})));
}

async function ask(receipt) {
  const { state, txHash } = await refund(receipt.refundId);
  Object.assign(receipt, { state, refundTx: txHash ?? null });
  memory.receipts.set(receipt);
}

const known = ({ refundId, state }) => (refundId ? (knows(`refund.${state}`) ? state : "due") : "unknown");

export const stateOf = (receipt) => t(`refund.${known(receipt)}`);

/** Shows a receipt, and follows its refund. */
export async function showReceipt(receipt) {
  current = receipt;
  const about = (what) => (receipt.exact ? what : t("done.about", { what }));
  $("done-why").textContent = receipt.overcharged ? t("done.overcharged") : knows(`why.${receipt.reason}`) ? t(`why.${receipt.reason}`) : "";
  $("done-name").textContent = receipt.name;
  $("done-when").textContent = when(receipt.ended);
  // An earlier version of this page kept words.
  const counts = Array.isArray(receipt.counts) ? receipt.counts : spokenUnits(receipt.counts);
  $("done-time").textContent = [about(spoken(receipt.seconds)), ...counts].join(", ");
  $("done-network").textContent = networkName(receipt.network);
  $("done-paid").textContent = exactly(receipt.paid, receipt);
  $("done-used").textContent = about(exactly(receipt.consumed, receipt));
  $("done-refund").textContent = about(exactly(receipt.refund, receipt));
  $("done-txs").replaceChildren(...receipt.txs.map((tx) => element("li", {}, hash(receipt.network, tx))));
  $("done-txs-box").hidden = !receipt.txs.length;
  $("done-id").textContent = receipt.id;
  drawRefund(receipt);
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

function drawRefund(receipt) {
  const title = stateOf(receipt);
  if ($("refund-state").textContent !== title) $("refund-state").textContent = title;
  $("refund-note").textContent = t(`refund.${known(receipt)}-note`);
  $("refund-tx").replaceChildren(...(receipt.refundTx ? [hash(receipt.network, receipt.refundTx)] : []));
  $("refund-tx-line").hidden = !receipt.refundTx;
  $("refund-look").hidden = true;
}

async function follow(receipt) {
  const end = Date.now() + REFUND_MS;
  for (let wait = 1000; Date.now() < end && current === receipt; wait = Math.min(wait * 1.3, 6000)) {
    try {
      await ask(receipt);
      if (current !== receipt) return;
      drawRefund(receipt);
      if (SETTLED.includes(receipt.state)) {
        const { id: sessionId, refundId, state, refund: amount, refundTx: txHash } = receipt;
        report("refunded", { sessionId, refundId, state, amount, txHash });
        return;
      }
    } catch {
      if (current === receipt) $("refund-note").textContent = t("refund.away-note");
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
  if (current !== receipt) return;
  $("refund-note").textContent = t("refund.late-note");
  $("refund-look").hidden = false;
  $("refund-look").onclick = () => showReceipt(receipt);
}
