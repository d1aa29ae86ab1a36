// What the tests share: the running stack that the environment names, and its payers.

import assert from "node:assert/strict";
import { createKeyPairSignerFromBytes, createSolanaRpc } from "@solana/kit";
import { http, createPublicClient, createWalletClient } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";

export const { WS402_SERVER: SERVER, WS402_EVM_RPC: EVM_RPC, WS402_SOLANA_RPC: SOLANA_RPC } = process.env;

export const account = privateKeyToAccount(process.env.WS402_EVM_KEY);
export const client = createWalletClient({ account, chain: baseSepolia, transport: http(EVM_RPC) });
export const chain = createPublicClient({ chain: baseSepolia, transport: http(EVM_RPC), pollingInterval: 100 });

export const solana = createSolanaRpc(SOLANA_RPC);
export const signer = await createKeyPairSignerFromBytes(Uint8Array.from(JSON.parse(process.env.WS402_SOLANA_KEY)));
export const lamports = async () => (await solana.getBalance(signer.address, { commitment: "confirmed" }).send()).value;

/** Takes messages until so many seconds were used. */
export async function stream(session, seconds) {
  const messages = [];
  for await (const message of session.messages({ keep: true })) {
    messages.push(message);
    if (session.usage.elapsedSeconds >= seconds) return messages;
  }
  return assert.fail("the session ended by itself");
}
