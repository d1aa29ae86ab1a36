"""An embedded EVM chain: py-evm's machine, our transaction pool and block production, JSON-RPC over HTTP.

What is real: every transaction is decoded, checked, executed and charged by py-evm (Prague rules), blocks have roots,
blooms and EIP-1559 base fees, and nodes' refusals come in geth's words. What is not: there is no network and no
consensus (blocks come at once or on a timer), `finalized` is simply some blocks behind the head, state tagged `pending`
is that of `latest` (only transaction counts and the pending block see the pool), and nothing outlives the process.
"""

from ws402.devchain.evm.accounts import DevAccount
from ws402.devchain.evm.contracts import deploy_data, load_artifact
from ws402.devchain.evm.server import DevToken, EvmDevChain
from ws402.keys import eth_keys

eth_keys.speed_up()

__all__ = ["DevAccount", "DevToken", "EvmDevChain", "deploy_data", "load_artifact"]
