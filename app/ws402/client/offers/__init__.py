"""Offers: what a server asks to be paid, read from its schema and checked against itself."""

from ws402.client.offers.base import Offer
from ws402.client.offers.evm import EvmOffer
from ws402.client.offers.fetch import check_schema, fetch_offer, find_resource, get_json
from ws402.client.offers.solana import SolanaOffer

__all__ = ["EvmOffer", "Offer", "SolanaOffer", "check_schema", "fetch_offer", "find_resource", "get_json"]
