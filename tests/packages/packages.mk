# What is installed: by `make install`, see tests/packages/install; and by Debian packages, see tests/packages/run. The latter are built
# twice for it, the whole of them, and three bare machines made, so it takes a quarter of an hour, and is no part of `make check`.

KINDS += install

build-install: all
check-install: build-install
	@tests/packages/install

check-packages: DEPS += deb packages
check-packages: deps
	@tests/packages/run $(T)

.PHONY: build-install check-install check-packages
