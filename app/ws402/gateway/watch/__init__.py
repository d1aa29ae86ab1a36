"""What the chains say: transfers to us, and reorganisations that take them away."""
