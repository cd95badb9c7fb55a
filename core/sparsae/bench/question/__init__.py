"""The question that started this project, replayed on this machine: `run_question`.

In 2013 somebody asked why the backpropagation of a sparse autoencoder took 0.97 s in NumPy and 0.25 s in Matlab.
Here are that loop, the answers it got, and what has become of them,
each checked against the reference and timed in turns.
"""

from __future__ import annotations

from sparsae.bench.question.replay import run_question as run_question
from sparsae.bench.question.report import QuestionReport as QuestionReport
