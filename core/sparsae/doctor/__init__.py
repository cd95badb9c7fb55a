"""Find what on this machine distorts or slows measurements and fits: `diagnose`."""

from __future__ import annotations

from sparsae.doctor.diagnosis import Diagnosis as Diagnosis
from sparsae.doctor.diagnosis import diagnose as diagnose
from sparsae.doctor.facts import Facts as Facts
from sparsae.doctor.rules import Finding as Finding
