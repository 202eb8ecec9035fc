# The protocol's models, searched by spin; see tests/model/run.

KINDS += model

check-model:
	@tests/model/run

.PHONY: check-model
