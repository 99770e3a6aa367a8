"""The documentation site: pages made from rules, error texts and tests, and what builds them."""
