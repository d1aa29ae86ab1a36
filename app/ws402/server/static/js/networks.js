// Networks as people call them, and where a transaction of theirs can be looked at.

/** @type {Record<string, [string, string | null, string?]>} */
const NETWORKS = {
  base: ["Base", "https://basescan.org/tx/"],
  "base-sepolia": ["Base Sepolia (test network)", "https://sepolia.basescan.org/tx/"],
  solana: ["Solana", "https://explorer.solana.com/tx/"],
  "solana-devnet": ["Solana Devnet (test network)", "https://explorer.solana.com/tx/", "?cluster=devnet"],
  "solana-testnet": ["Solana Testnet (test network)", "https://explorer.solana.com/tx/", "?cluster=testnet"],
  "solana-localnet": ["Solana, a private network", null],
};

/** @param {string} network */
export const nameOf = (network) => NETWORKS[network]?.[0] ?? network;

/**
 * The address of a public explorer's page about a transaction, or null.
 * @param {string} network
 * @param {string} tx
 */
export function explorer(network, tx) {
  const [, base, query = ""] = NETWORKS[network] ?? [];
  return base ? `${base}${encodeURIComponent(tx)}${query}` : null;
}
