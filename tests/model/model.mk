# The protocol's models, searched by spin; see tests/model/run.

KINDS += model

build-model: # spin makes its programs in a folder of its own

check-model:
	@tests/model/run

.PHONY: build-model check-model
