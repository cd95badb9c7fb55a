"""Results of a race for a reader: table cells and remarks, figures, and one page."""
