# The soak: every test's long form. Hours; bounded, resumable, seeded. tests/soak/stages lists what it does.
# A folder's .mk adds to SOAK_PROGRAMS what must be built for its stages.

soak: deps
	@$(MAKE) --no-print-directory run-soak

run-soak: all $(programs) $(system)
	@$(MAKE) --no-print-directory $(SOAK_PROGRAMS)
	@tests/soak/run $(STAGES)

# The last soak's last page, to where tests/README.md points: to be committed.
soak-publish:
	@mkdir -p tests/soak/results && { date -u +"%F, by \`make soak\` at $${STINT_SOAK_PERCENT:-100}%%"; echo; cat $(BUILD)/soak/report.txt; } >tests/soak/results/report.txt

.PHONY: soak run-soak soak-publish
