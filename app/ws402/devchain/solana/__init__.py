"""An embedded Solana chain: LiteSVM's machine, slots and forks of our own, JSON-RPC over HTTP and WebSocket.

What is real: every transaction is decoded, verified, executed and charged by the SVM that validators run, with the
deployed token, associated token and memo programs; refusals come with Agave's codes and words. What is not: there is
no network and no consensus (slots pass by time, `confirmed` and `finalized` are simply some slots behind), transactions
run in the order in which they come, durable nonces, votes and stakes are not served, nothing outlives the process.
"""

from ws402.devchain.solana.accounts import DevAccount
from ws402.devchain.solana.server import DevToken, SolanaDevChain

__all__ = ["DevAccount", "DevToken", "SolanaDevChain"]
