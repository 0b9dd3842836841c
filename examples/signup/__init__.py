"""A signup: an account here, a customer and a trial at a payment provider, and a mail."""
