"""One thread for torch, before it is imported: the tests' tensors are small and the machine may be shared."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
