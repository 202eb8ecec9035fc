# What is installed: by `make install`, see tests/packages/install.

KINDS += install

check-install: all
	@tests/packages/install

.PHONY: check-install
