"""How one evaluation runs: data sources, the partition of rows, row workers, the reduction tree."""
