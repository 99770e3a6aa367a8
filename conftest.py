pytest_plugins = ["tests.harness.blocks"]
