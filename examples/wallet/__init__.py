"""A wallet: deposits that a bank reports and that can be asked for, transfers between accounts. An ordinary application."""
