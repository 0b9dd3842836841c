"""Acts of people on runs: recorded, and executed nowhere else."""
