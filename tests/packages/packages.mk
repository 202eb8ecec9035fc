# What is installed: by `make install`, see tests/packages/install; and by Debian packages, see tests/packages/run. The latter are built
# twice for it, the whole of them, so it takes ten minutes, and is no part of `make check`.

KINDS += install

check-install: all
	@tests/packages/install

check-packages: DEPS += deb packages
check-packages: deps
	@tests/packages/run $(T)

.PHONY: check-install check-packages
