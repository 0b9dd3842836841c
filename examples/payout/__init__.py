"""A payout batch: 10,000 payments through a bank, none twice, none lost."""
