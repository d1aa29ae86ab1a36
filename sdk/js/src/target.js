// Where a resource is sold, read from an address that a person may have at hand.

import { Problem } from "./js/problem.js";

/** @param {string} host */
const isLoopback = (host) =>
  host === "localhost" || host.endsWith(".localhost") || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);

/**
 * `https://host/#resource`, or without the resource where only one is sold; a path before it is the server's.
 * @param {string | URL} address
 * @param {boolean} [allowPlaintext] also at other machines than this one
 * @returns {{ base: string, origin: string, resourceId: string | null }} `base` ends with a slash
 */
export function readTarget(address, allowPlaintext = false) {
  let url;
  try {
    url = new URL(address);
  } catch {
    throw new Problem(`'${address}' is no address of a server.`, "Write one such as https://host/#resource.", "bad_address");
  }
  if (!/^https?:$/.test(url.protocol) || url.username || url.password || url.search) {
    throw new Problem(`'${url.origin}${url.pathname}' is no address of a server.`, "Write one such as https://host/#resource.", "bad_address");
  }
  refusePlaintext(url, allowPlaintext);
  let resourceId;
  try {
    resourceId = decodeURIComponent(url.hash.slice(1)) || null;
  } catch {
    throw new Problem("The resource in the address cannot be read.", "Write it by encodeURIComponent.", "bad_address");
  }
  return { base: `${url.origin}${url.pathname.replace(/\/*$/, "/")}`, origin: url.origin, resourceId };
}

/**
 * A proof is worth money to whoever reads it, so plain HTTP is for this machine only. Throws Problem.
 * @param {string | URL} address
 * @param {boolean} allowed
 */
export function refusePlaintext(address, allowed) {
  const url = new URL(address);
  if (allowed || /^(https|wss):$/.test(url.protocol) || isLoopback(url.hostname)) return;
  throw new Problem(
    `${url.protocol}//${url.host} is not encrypted: others could read the payment's proof.`,
    "Use https, or allow it for a network that you trust (allowPlaintext).",
    "plaintext_refused",
  );
}
