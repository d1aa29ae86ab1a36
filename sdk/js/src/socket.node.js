// The kind of socket that this program has: Node's own, which it has from version 22 on, else ours.

/** @returns {Promise<typeof WebSocket>} */
export async function socketClass() {
  if (globalThis.WebSocket) return globalThis.WebSocket;
  const { NodeSocket } = await import("./node_socket.js");
  return /** @type {any} */ (NodeSocket);
}
