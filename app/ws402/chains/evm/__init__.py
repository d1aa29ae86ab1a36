"""EVM chains (Base and its kin): native coin and ERC-20 tokens over JSON-RPC."""
