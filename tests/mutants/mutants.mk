# Small mutants of the product's code, which the tests should catch: `make mutants`. About half a minute for each.

mutants: deps
	@tests/mutants/run $(AREAS)

.PHONY: mutants
