// The server's HTTP side. Addresses are relative, so that the page works below a path too.

const MAX_BYTES = 1024 * 1024; // of an answer
const CALL_MS = 30_000; // for a whole answer, however slowly it comes

/** What went wrong, what to do about it, and a code for programs. */
export class Problem extends Error {
  constructor(message, remedy = "", code = "") {
    super(message);
    this.remedy = remedy;
    this.code = code;
  }
}

/** The answer's JSON; null for what is none, or too long, or did not come in time. */
async function read(answer) {
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  try {
    const reader = answer.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      size += part.value.length;
      if (size > MAX_BYTES) {
        await reader.cancel();
        return null;
      }
      text += decoder.decode(part.value, { stream: true });
    }
    return JSON.parse(text + decoder.decode());
  } catch {
    return null;
  }
}

/** What the server says, unless it speaks to its operator: of settings, by their names. */
const forPayers = (text) => (typeof text === "string" && !/\b[A-Z0-9]+_[A-Z0-9_]+\b/.test(text) ? text : undefined);

const get = (path) => call(path, {});

async function call(path, { headers, signal, ...more }) {
  let answer;
  const signals = [AbortSignal.timeout(CALL_MS), ...(signal ? [signal] : [])];
  try {
    answer = await fetch(path, {
      headers: { accept: "application/json", ...headers }, cache: "no-store", signal: AbortSignal.any(signals), ...more,
    });
  } catch {
    throw new Problem("The server does not answer.", "Check your connection, then try again.", "offline");
  }
  const body = await read(answer);
  if (!answer.ok || body === null) {
    const said = body ?? {};
    throw new Problem(
      forPayers(said.message) ?? (answer.ok ? "The server’s answer cannot be read." : `The server answered ${answer.status}.`),
      forPayers(said.remedy) ?? "Try again in a moment. If it stays so, tell the site’s owner.",
      said.code ?? `http_${answer.status}`,
    );
  }
  return body;
}

export async function resources() {
  const body = await get("api/resources");
  return Array.isArray(body) ? body : body.resources;
}

/** An offer for so many seconds; `topUp` has the session's id and its current token. */
export function schema(resourceId, seconds, topUp = null) {
  const query = new URLSearchParams({ duration: String(seconds) });
  // A payment from another device has room for nothing but its amount to tell whose it is.
  if (!topUp) query.set("uniqueAmount", "1");
  if (topUp) {
    query.set("sessionId", topUp.sessionId);
    query.set("token", topUp.token);
  }
  return get(`ws402/schema/${encodeURIComponent(resourceId)}?${query}`);
}

/** A recent block of Solana, for a payment to be tied to. */
export function blockhash(network) {
  return get(`blockhash?${new URLSearchParams({ network })}`);
}

export function refund(refundId) {
  return get(`ws402/refund/${encodeURIComponent(refundId)}`);
}

/** What has arrived for an offer: answered as soon as something has, or after some time. */
export function arrival({ reference, claimToken }, { signal, wait = true } = {}) {
  const body = JSON.stringify({ reference, wait, ...(claimToken ? { claimToken } : {}) });
  return call("ws402/payment", { method: "POST", headers: { "content-type": "application/json" }, body, signal });
}

/** How this server's page is set up; older servers do not say. */
export async function page() {
  try {
    return await get("ws402/page");
  } catch {
    return {};
  }
}

export function qr(link) {
  return `ws402/qr.svg?${new URLSearchParams({ text: link })}`;
}
