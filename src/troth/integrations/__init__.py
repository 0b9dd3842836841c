"""Ready-made parts for what others have built. Nothing here imports the library that it serves before it is used."""
