# The simulator: one seed, one world. `make check` runs 2,000 of them, and some again under the sanitizers. And
# fleets: what the lease protocol costs, in their short form there; make fleet for all of it (minutes).

KINDS += simulation
SOAK_PROGRAMS += $(BUILD)/tests/simulation/simulate

SIMULATION := \
	tests/simulation/apps.c \
	tests/simulation/database.c \
	tests/simulation/faults.c \
	tests/simulation/hosts.c \
	tests/simulation/simulate.c \
	tests/simulation/verdicts.c \
	tests/simulation/watch.c \
	tests/simulation/world.c

FLEET := \
	tests/simulation/fleet/arrivals.c \
	tests/simulation/fleet/checks.c \
	tests/simulation/fleet/fleet.c \
	tests/simulation/fleet/fleet_run.c \
	tests/simulation/fleet/hosts.c \
	tests/simulation/fleet/recalls.c \
	tests/simulation/fleet/report.c \
	tests/simulation/fleet/scenarios.c \
	tests/simulation/fleet/server.c

$(BUILD)/tests/simulation/%.o: PART = -fPIE -Ilib -Iagent -Itests/support -Itests/agent

$(BUILD)/tests/simulation/simulate: $(SIMULATION:%.c=$(BUILD)/%.o) $(BUILD)/tests/support.a $(BUILD)/agent.a $(BUILD)/lib/absence.o
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ -lm

$(BUILD)/tests/simulation/fleet/fleet: $(FLEET:%.c=$(BUILD)/%.o) $(BUILD)/tests/support.a $(BUILD)/agent.a
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ -lm

build-simulation: $(BUILD)/tests/simulation/simulate $(BUILD)/tests/simulation/fleet/fleet

SEEDS ?= 1-2000
check-simulation: run-simulation run-fleet-quick
	@$(MAKE) --no-print-directory $(asan_build) SEEDS=2001-2200 run-simulation

check-simulation-quick:
	@$(MAKE) --no-print-directory SEEDS=1-200 run-simulation

run-simulation: $(BUILD)/tests/simulation/simulate
	@$< --seeds $(SEEDS)

run-fleet-quick: $(BUILD)/tests/simulation/fleet/fleet
	@$< --quick

# make fleet F=slow-4; make fleet F='--hosts 50 --rate 0.5 slow-4'; its --help names what there is.
F ?=
fleet: $(BUILD)/tests/simulation/fleet/fleet
	@$< $(F)

.PHONY: build-simulation check-simulation check-simulation-quick fleet run-fleet-quick run-simulation

-include $(SIMULATION:%.c=$(BUILD)/%.d) $(FLEET:%.c=$(BUILD)/%.d)
