"""What the benchmarks share: the machine they ran on, processes timed in turn, tables and figures."""
