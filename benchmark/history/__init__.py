"""Did it change? Results of two commits, or of many, held against each other. Reads records; nothing imports torch.

Models: asv (airspeed velocity) for history and steps, pytest-benchmark for CI; the rules of decision are METRICS 6.
"""
