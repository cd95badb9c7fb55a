"""The model: its parameters, its hidden and output units, its settings."""

from sparsae.model.parameters import Parameters as Parameters
from sparsae.model.parameters import as_theta as as_theta
from sparsae.model.parameters import cast_parameters as cast_parameters
from sparsae.model.parameters import check_output as check_output
from sparsae.model.parameters import check_parameters as check_parameters
from sparsae.model.parameters import check_size as check_size
from sparsae.model.parameters import make_generator as make_generator
