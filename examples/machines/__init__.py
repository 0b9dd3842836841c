"""State that is modelled: a subscription that a payment provider tells about."""
