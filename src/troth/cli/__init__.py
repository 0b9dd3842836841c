"""The command line: `troth <noun> <verb>`, one file per noun."""
