"""Sources of items: troth's own effects, ledger and inbox, and files of banks. Those of providers are in `integrations`."""
