# lib/node, in node itself; see tests/node/run.

KINDS += node

build-node: all
check-node: build-node
	@tests/node/run $(T)

.PHONY: build-node check-node
