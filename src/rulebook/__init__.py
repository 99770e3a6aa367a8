"""The workshop of python-backend: read rules, check them, render and ship them."""
