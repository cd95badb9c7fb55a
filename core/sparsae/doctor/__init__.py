"""What this machine will do to your numbers: `diagnose`."""

from __future__ import annotations

from sparsae.doctor.diagnosis import Diagnosis as Diagnosis
from sparsae.doctor.diagnosis import diagnose as diagnose
from sparsae.doctor.facts import Facts as Facts
from sparsae.doctor.finding import Finding as Finding
