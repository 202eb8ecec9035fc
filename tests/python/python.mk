# lib/python, in python itself; see tests/python/run.

KINDS += python

build-python: all
check-python: build-python
	@PYTHON='$(PYTHON)' tests/python/run $(T)

.PHONY: build-python check-python
