"""Payment, stock and shipping of a shop, and cancellations at every point: `python -m examples.checkout`."""
