// On a development chain of Solana: a key that this page makes, that the chain's faucet funds, and that is worth nothing.

import { Problem } from "../problem.js";
import { encode } from "../solana/base58.js";
import { transaction } from "../solana/transaction.js";
import { SolanaWallet } from "./solana.js";

const AIRDROP = 10_000_000_000; // lamports
const POLL_MS = 300;
const WAIT_MS = 60_000;
const CONFIRMED = { commitment: "confirmed" };

const pause = () => new Promise((resolve) => setTimeout(resolve, POLL_MS));
const base64 = (bytes) => btoa(String.fromCharCode(...bytes));

/** A wallet for SOL whose key lives as long as this page. */
export class BurnerWallet extends SolanaWallet {
  #url;
  #keys = null;

  constructor(url) {
    super("a test account of Solana", { connect: () => this.#fund(), submit: (bytes) => this.#submit(bytes) });
    this.#url = url;
  }

  pays(offer) {
    return super.pays(offer) && !offer.token;
  }

  /** Waits until the transaction is confirmed. */
  async included(tx) {
    for (const end = Date.now() + WAIT_MS; Date.now() < end; await pause()) {
      const [status] = (await this.#rpc("getSignatureStatuses", [tx])).value;
      if (!["confirmed", "finalized"].includes(status?.confirmationStatus)) continue;
      if (!status.err) return;
      throw new Problem("The transaction failed on the chain.", "Only its fee is gone. Try again.", "transfer_failed");
    }
    throw new Problem("The payment is in no block yet.", "It is remembered here. Try again in a while; do not pay twice.", "pending");
  }

  async #fund() {
    this.#keys ??= await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"]);
    const address = encode(new Uint8Array(await crypto.subtle.exportKey("raw", this.#keys.publicKey)));
    const held = await this.#rpc("getBalance", address, CONFIRMED);
    if (held.value < AIRDROP / 2) await this.included(await this.#rpc("requestAirdrop", address, AIRDROP));
    return address;
  }

  async #submit(unsigned) {
    const message = unsigned.slice(65); // after the count and the place of the one signature
    const signature = new Uint8Array(await crypto.subtle.sign({ name: "Ed25519" }, this.#keys.privateKey, message));
    return this.#rpc("sendTransaction", base64(transaction(message, signature)), { encoding: "base64", preflightCommitment: "confirmed" });
  }

  async #rpc(method, ...params) {
    let answer;
    try {
      answer = await fetch(this.#url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
      });
    } catch {
      throw new Problem("The development chain does not answer.", `Is it running at ${this.#url}?`, "node_unavailable");
    }
    const { result, error } = await answer.json();
    if (error) throw error;
    return result;
  }
}
