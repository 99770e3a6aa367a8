collect_ignore = ["book"]  # its test is read by the checker and driven by hand
