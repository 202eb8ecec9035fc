# What the tests reach of lib/ and agent/, by lines and branches: `make coverage`. Too slow for `make check`.

# What is run for it: targets of make. Other folders may add theirs. (Of the Nth failures, those that the counting itself doesn't
# survive are of no use here.)
COVERAGE_TARGETS += check-unit check-cli coverage-simulation coverage-system check-nth

COVERAGE_SEEDS := 1-200
coverage-simulation: $(BUILD)/tests/simulation/simulate
	@$< --seeds $(COVERAGE_SEEDS)

# Of the system tests, those that lead somewhere: without those of the tests' own tools, and those that want to be fast.
COVERAGE_SYSTEM := agent_killed app_killed bad_arguments bad_config bad_database bad_peers database_killed declarations failover nginx nginx_faults \
	policy_change table_corrupted
coverage-system: all $(programs) $(system)
	@tests/system/run $(COVERAGE_SYSTEM)

# Percent of all that must be reached.
COVERAGE_LINES := 90
COVERAGE_BRANCHES := 75

# In a build of its own, and the product alone: the tests' own code is not measured. Unoptimized, since what the
# compiler has moved and merged can't be counted; _FORTIFY_SOURCE wants it optimized.
ifdef COVERAGE
HARDEN := -fstack-protector-strong
LDFLAGS += --coverage -Wl,-u,__gcov_dump
$(BUILD)/lib/%.o $(BUILD)/agent/%.o: override CFLAGS += --coverage -fprofile-update=atomic
endif

coverage: deps
	@+MAKE='$(MAKE)' tests/coverage/run '$(BUILD)/coverage' '$(COVERAGE_LINES)' '$(COVERAGE_BRANCHES)' $(COVERAGE_TARGETS)

.PHONY: coverage coverage-simulation coverage-system
