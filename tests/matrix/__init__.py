"""What becomes of an effect under every fault, counted at the provider."""
