// The HTTP side of the server that this page came from. Addresses are relative, so that the page works below a path too.

import { Server } from "./server.js";

export { Problem } from "./problem.js";

const here = new Server();

export const resources = () => here.resources();

/** An offer for so many seconds; `topUp` has the session's id and its current token. */
export const schema = (resourceId, seconds, topUp = null) => here.schema(resourceId, seconds, topUp, !topUp);

export const blockhash = (network) => here.blockhash(network);
export const refund = (refundId) => here.refund(refundId);
export const arrival = (offer, options) => here.arrival(offer, options);
export const page = () => here.page();

export function qr(link) {
  return `ws402/qr.svg?${new URLSearchParams({ text: link })}`;
}
