"""A shop that sells for SOL and for a token on a real chain of Solana, with the pretended gateway behind it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec
from solders.keypair import Keypair
from tests.fixtures.solana import Solana
from tests.fixtures.solana_tokens import Mint
from tests.server.static.conftest import Shop

from ws402.money import to_decimal
from ws402.protocol import BlockhashResponse, EvmPaymentDetails, GenerateRequest, PaymentDetails, SolanaPaymentDetails
from ws402.provider.mock.provider import MockPaymentProvider
from ws402.settings import ResourceSettings

LAMPORTS = 20_000
"""A second."""
CENTS = 5_000
"""Millionths of the token a second."""


@dataclass
class Asking:
    """What the pretended gateway asks for; `change` makes it dishonest."""

    solana: Solana
    recipient: str
    mint: Mint | None
    change: dict[str, Any] = field(default_factory=dict)
    asked: list[SolanaPaymentDetails] = field(default_factory=list)


class SolanaProvider(MockPaymentProvider):
    """The mock's bookkeeping under invoices of Solana."""

    def __init__(self, asking: Asking) -> None:
        super().__init__()
        self.asking = asking

    async def generate(self, request: GenerateRequest) -> PaymentDetails:
        """The invoice, with a key of Solana for its reference."""
        made = await super().generate(msgspec.structs.replace(request, asset=None))
        assert isinstance(made, EvmPaymentDetails)
        invoices = self.service.book.invoices
        invoice = invoices.pop(made.reference)
        invoice.reference = reference = str(Keypair().pubkey())
        invoices[reference] = invoice
        details = self._details(made, reference, self.asking.mint if request.resource_id == "token" else None)
        self.asking.asked.append(details)
        for name, value in self.asking.change.items():
            setattr(details, name, value)
        return details

    def _details(self, made: EvmPaymentDetails, reference: str, mint: Mint | None) -> SolanaPaymentDetails:
        decimals = mint.decimals if mint else 9
        coins = to_decimal(int(made.amount), decimals)
        token = f"&spl-token={mint.address}" if mint else ""
        recipient = self.asking.recipient
        return SolanaPaymentDetails(
            network="solana-localnet",
            recipient=recipient,
            amount=made.amount,
            amount_sol=coins,
            currency="SPL" if mint else "SOL",
            asset="DUSD" if mint else "SOL",
            decimals=decimals,
            spl_token=mint.address if mint else None,
            token_program=str(mint.program) if mint else None,
            reference=reference,
            memo="ws402:memo",
            solana_pay_url=f"solana:{recipient}?amount={coins}&reference={reference}&memo=ws402%3Amemo{token}&label=WS402",
            qr_code="",
            expires_at=made.expires_at,
            instructions=made.instructions,
            claim_token="claim",
        )

    async def blockhash(self, network: str | None = None) -> BlockhashResponse:
        """The chain's own."""
        latest = self.asking.solana.rpc("getLatestBlockhash", {"commitment": "confirmed"})["value"]
        return BlockhashResponse(
            blockhash=latest["blockhash"],
            last_valid_block_height=latest["lastValidBlockHeight"],
            network=network or "solana-localnet",
        )


class SolanaShop(Shop):
    """`ticker` is sold for SOL, `token` for an SPL token."""

    def __init__(self, solana: Solana, recipient: str, mint: Mint | None = None, *, burner: bool = True) -> None:
        self.solana = solana
        self.recipient = recipient
        self.mint = mint
        self.asking = Asking(solana, recipient, mint)
        resources = [
            ResourceSettings(id="ticker", name="Ticker", kind="ticker", price_per_second=LAMPORTS, asset="SOL"),
            ResourceSettings(id="palace", name="Palace", kind="ticker", price_per_second=10**12, asset="SOL"),
            ResourceSettings(id="token", name="Paid in a token", kind="ticker", price_per_second=CENTS, asset="DUSD"),
        ]
        settings = {"dev_solana_rpc_url": solana.url} if burner else {}
        super().__init__(SolanaProvider(self.asking), resources, **settings)


WALLET = """
// A wallet of this browser: holds a key, signs the message of a transaction, sends it.
const NODE = 'NODE_URL', SEED = new Uint8Array(SEED_BYTES), ADDRESS = 'ADDRESS_TEXT';
window.calls = [];
window.pays = async (transaction) => {
  const prefix = Uint8Array.from('302e020100300506032b657004220420'.match(/../g), (each) => parseInt(each, 16));
  const key = await crypto.subtle.importKey('pkcs8', new Uint8Array([...prefix, ...SEED]), 'Ed25519', false, ['sign']);
  const signature = new Uint8Array(await crypto.subtle.sign('Ed25519', key, transaction.slice(65)));
  const signed = new Uint8Array([1, ...signature, ...transaction.slice(65)]);
  const answer = await fetch(NODE, { method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'sendTransaction',
      params: [btoa(String.fromCharCode(...signed)), { encoding: 'base64', preflightCommitment: 'confirmed' }] }) });
  const { result, error } = await answer.json();
  if (error) throw error;
  return [result, signature];
};
"""

STANDARD = """
const account = { address: ADDRESS, chains: ['solana:localnet'], features: [] };
const wallet = { version: '1.0.0', name: 'Violet <i>wallet</i>', icon: '', chains: CHAINS, accounts: [], features: {
  'standard:connect': { version: '1.0.0', async connect() { return { accounts: [account] }; } },
  'solana:signAndSendTransaction': { version: '1.0.0', supportedTransactionVersions: ['legacy', 0],
    async signAndSendTransaction({ account, transaction, chain }) {
      window.calls.push([account.address, chain]);
      return [{ signature: (await window.pays(transaction))[1] }];
    } },
} };
const tell = (api) => api.register(wallet);
window.addEventListener('wallet-standard:app-ready', ({ detail }) => tell(detail));
window.dispatchEvent(new CustomEvent('wallet-standard:register-wallet', { detail: tell }));
"""

INJECTED = """
const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
window.solana = {
  async connect() { return { publicKey: { toString: () => ADDRESS } }; },
  async request({ method, params }) {
    window.calls.push([method]);
    if (DECLINED) throw { code: 4001, message: 'User rejected the request.' };
    let value = [...params.message].reduce((sum, each) => sum * 58n + BigInt(ALPHABET.indexOf(each)), 0n);
    const bytes = [];
    for (; value; value /= 256n) bytes.unshift(Number(value % 256n));
    return { signature: (await window.pays(new Uint8Array(bytes)))[0] };
  },
};
"""


def wallet_script(solana: Solana, key: Keypair, kind: str, **values: Any) -> str:
    """The script of a wallet that is there before the page is."""
    script = WALLET.replace("NODE_URL", solana.url).replace("SEED_BYTES", json.dumps(list(bytes(key)[:32])))
    script = script.replace("ADDRESS_TEXT", str(key.pubkey())) + kind
    for name, value in values.items():
        script = script.replace(name.upper(), json.dumps(value))
    return "{" + script + "}"
