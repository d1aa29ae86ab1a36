// Wallets on phones that open a page in a browser of their own, where they can pay: by links that each of them documents.

const page = (url) => encodeURIComponent(url);

const APPS = [
  // https://docs.metamask.io/sdk/guides/use-deeplinks/
  { name: "MetaMask", kinds: ["evm"], link: ({ href }) => `https://metamask.app.link/dapp/${href.replace(/^https:\/\//, "")}` },
  // https://docs.cdp.coinbase.com/wallet-sdk/docs/deep-link
  { name: "Coinbase Wallet", kinds: ["evm", "solana"], link: ({ href }) => `https://go.cb-w.com/dapp?cb_url=${page(href)}` },
  // https://developer.trustwallet.com/developer/develop-for-trust/deeplinking
  { name: "Trust Wallet", kinds: ["evm"], link: ({ href }) => `https://link.trustwallet.com/open_url?coin_id=60&url=${page(href)}` },
  // https://docs.phantom.com/phantom-deeplinks/other-methods/browse
  { name: "Phantom", kinds: ["solana", "evm"], link: ({ href, origin }) => `https://phantom.app/ul/browse/${page(href)}?ref=${page(origin)}` },
  // https://docs.solflare.com/solflare/technical/deeplinks/other-methods/browse
  { name: "Solflare", kinds: ["solana"], link: ({ href, origin }) => `https://solflare.com/ul/v1/browse/${page(href)}?ref=${page(origin)}` },
];

/** For offers of this kind, { name, href }: none for a page that only this machine, or nobody by HTTPS, can open. */
export function walletApps(kind, { href, origin, protocol }) {
  if (protocol !== "https:") return [];
  return APPS.filter(({ kinds }) => kinds.includes(kind)).map(({ name, link }) => ({ name, href: link({ href, origin }) }));
}
