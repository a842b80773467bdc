"""What `benchmarks/gpu.py` is made of: a Triton kernel, contenders for the exact loss, timing, and one module a section."""
