"""The parts of `benchmarks/torture.py`: bad files, kills, load."""
