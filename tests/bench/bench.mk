# The benchmarks: one program each, tests/bench/bench_NAME.c, run by tests/bench/run. Nothing of `make check` depends on them.

BENCH_SUPPORT := \
	tests/bench/direct.c \
	tests/bench/durations.c \
	tests/bench/figure.c \
	tests/bench/fleet_stand.c \
	tests/bench/floor.c \
	tests/bench/herd.c \
	tests/bench/poisson.c \
	tests/bench/sample.c \
	tests/bench/server_cost.c \
	tests/bench/team.c \
	tests/bench/volley.c \
	tests/bench/warm_table.c

# Not in the archive: the report links no libstint.
REPORT := \
	tests/bench/number.c \
	tests/bench/report.c \
	tests/bench/report_machine.c \
	tests/bench/report_plots.c \
	tests/bench/report_read.c \
	tests/bench/report_table.c

BENCHES := \
	tests/bench/bench_agents.c \
	tests/bench/bench_check.c \
	tests/bench/bench_cold_start.c \
	tests/bench/bench_contention.c \
	tests/bench/bench_database_cost.c \
	tests/bench/bench_first_sight.c \
	tests/bench/bench_fleet.c \
	tests/bench/bench_growth.c \
	tests/bench/bench_herd.c \
	tests/bench/bench_idle.c \
	tests/bench/bench_limit_use.c \
	tests/bench/bench_nginx.c \
	tests/bench/bench_node.c \
	tests/bench/bench_outage.c \
	tests/bench/bench_peers.c \
	tests/bench/bench_python.c \
	tests/bench/bench_snapshot.c \
	tests/bench/bench_table_size.c \
	tests/bench/bench_tail.c

bench_support = $(BENCH_SUPPORT:%.c=$(BUILD)/%.o)
benches = $(BENCHES:%.c=$(BUILD)/%)

$(BUILD)/tests/bench.a: $(bench_support) $(BUILD)/lists
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $(bench_support)

# What only these need, so that the others build without hiredis.
PEER_SUPPORT := tests/bench/peers.c tests/bench/redis.c
peer_benches := $(BUILD)/tests/bench/bench_peers $(BUILD)/tests/bench/bench_node
$(peer_benches) $(BUILD)/tests/bench/bench_python: PEER_LIBS = -lhiredis
$(peer_benches): $(PEER_SUPPORT:%.c=$(BUILD)/%.o)
$(BUILD)/tests/bench/bench_python: $(BUILD)/tests/bench/redis.o
$(benches): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/tests/bench.a $(BUILD)/tests/support.a $(BUILD)/agent.a $(BUILD)/libstint.a
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(PEER_LIBS) $(STINTD_LIBS) -lm -pthread

$(BUILD)/tests/bench/report: $(REPORT:%.c=$(BUILD)/%.o)
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(call libs,jansson) -lm

# Beside lib/node: what Node-API costs.
EMPTY_ADDON := tests/bench/peers/empty.c
$(BUILD)/bench/empty.node: $(EMPTY_ADDON) lib/node/build
	$(call say,NODE,$@)CC='$(CC)' CFLAGS='$(WARN) $(CFLAGS)' lib/node/build $@ $(EMPTY_ADDON) || [ $$? = 3 ]

# Time as the tests take it, not as the library does: both have a clock.h.
$(BUILD)/tests/bench/%.o: PART = -fPIE -Itests/support -Ilib -Iagent

bench:
	@.ci/deps build runtime test bench
	@$(MAKE) --no-print-directory run-bench

run-bench: all $(programs) $(benches) $(BUILD)/bench/empty.node $(BUILD)/tests/bench/report $(BUILD)/tests/simulation/fleet/fleet
	@tests/bench/run

# What tests/README.md shows of them.
PUBLISHED := latency clients limit_use fleet

# The last run's table, plots and bench.json, into tests/bench/results/: to be committed.
bench-publish:
	@tests/bench/publish '$(BUILD)' $(PUBLISHED)

.PHONY: bench-publish

-include $(patsubst %.c,$(BUILD)/%.d,$(BENCH_SUPPORT) $(PEER_SUPPORT) $(REPORT) $(BENCHES))
