// The kind of socket that this program has.

import { Problem } from "./js/problem.js";

/** @returns {Promise<typeof WebSocket>} */
export async function socketClass() {
  if (globalThis.WebSocket) return globalThis.WebSocket;
  throw new Problem("There is no WebSocket here.", "Pass one as `WebSocket`.", "no_websocket");
}
