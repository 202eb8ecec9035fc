# lib/node, in node itself; see tests/node/run.

KINDS += node

check-node: all
	@tests/node/run $(T)

.PHONY: check-node
