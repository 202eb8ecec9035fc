# `make demo-web`: the demo in a browser. In the Makefile: `make demo`.
#
#     make demo-web [PORT=8080] [SECONDS=75] [STEP=1]      STEP: Enter ends each part, however long it takes
#     make demo-web-picture                                the picture of it in README.md, anew

KINDS += demo-web

PORT ?=
SECONDS ?=
STEP ?=

demo-web: deps
	@$(MAKE) --no-print-directory run-demo-web

demo_web = $(BUILD)/tests/demo/web

run-demo-web: all $(demo_web)
	@$(if $(PORT),STINT_DEMO_PORT='$(PORT)') $(if $(SECONDS),STINT_DEMO_SECONDS='$(SECONDS)') $(if $(STEP),STINT_DEMO_STEP=1) \
		tests/demo/web/run

# As a browser sees it.
build-demo-web: all $(demo_web)
check-demo-web: build-demo-web
	@command -v node >/dev/null || { echo '1..0 # SKIP there is no node'; exit 0; }; failed=0; \
		for test in page ends; do timeout 400 node tests/demo/web/test_$$test.js || failed=1; done; \
		timeout 240 node tests/demo/web/test.js || failed=1; exit $$failed

demo-web-picture: DEPS += browser
demo-web-picture: deps
	@$(MAKE) --no-print-directory all $(demo_web)
	@node tests/demo/web/test.js tests/demo/web/picture.png

.PHONY: build-demo-web check-demo-web demo-web demo-web-picture run-demo-web
