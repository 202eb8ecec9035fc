# lib/python, in python itself; see tests/python/run.

KINDS += python

check-python: all
	@PYTHON='$(PYTHON)' tests/python/run $(T)

.PHONY: check-python
