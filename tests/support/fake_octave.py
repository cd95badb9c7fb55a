"""Stands in for octave-cli where there is none: understands the lines that OctaveProcess sends, and computes in NumPy.

FAKE_OCTAVE=wrong gives wrong sums, =dies ends at the first call, =babbles prints other lines, and a time that is none.
"""

import os
import re
import sys

import numpy as np
from scipy.io import loadmat, savemat

mode = os.environ.get("FAKE_OCTAVE", "")
given = {}
for line in sys.stdin:
    if found := re.search(r"load\('([^']+)'\)", line):
        given = loadmat(found[1])
        continue
    if mode == "dies":
        sys.exit("error: out of patience")
    if mode == "babbles":
        print("warning: something else", flush=True)
    if "version('-blas')" in line:
        print("sparsae none", flush=True)
    elif "OCTAVE_VERSION" in line:
        print("sparsae 0.0", flush=True)
    elif found := re.search(r"save\('-v6', '([^']+)'", line):
        x, a2, a3 = given["data"], given["a2"], given["a3"]
        rho, rho_hat, beta = given["rho"], given["rhohat"], given["beta"]
        delta3 = (a3 - x) * a3 * (1 - a3)
        delta2 = (delta3 @ given["W2"] + beta * ((1 - rho) / (1 - rho_hat) - rho / rho_hat)) * a2 * (1 - a2)
        if mode == "wrong":
            delta2 = -delta2
        sums = {"dW1": delta2.T @ x, "db1": delta2.sum(0), "dW2": delta3.T @ a2, "db2": delta3.sum(0)}
        savemat(found[1], {name: np.atleast_2d(value) for name, value in sums.items()})
        print("sparsae saved", flush=True)
    elif "tic" in line:
        print("sparsae soon" if mode == "babbles" else "sparsae 1.0e-03", flush=True)
