# The simulator: one seed, one world. `make check` runs 2,000 of them, and some again under the sanitizers.

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

$(BUILD)/tests/simulation/%.o: PART = -fPIE -Ilib -Iagent -Itests/support -Itests/agent

$(BUILD)/tests/simulation/simulate: $(SIMULATION:%.c=$(BUILD)/%.o) $(BUILD)/tests/support.a $(BUILD)/agent.a $(BUILD)/lib/absence.o
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ -lm

SEEDS ?= 1-2000
check-simulation: run-simulation
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan SANITIZE=address,undefined CFLAGS='-O1 -g' SEEDS=2001-2200 run-simulation

check-simulation-quick:
	@$(MAKE) --no-print-directory SEEDS=1-200 run-simulation

run-simulation: $(BUILD)/tests/simulation/simulate
	@$< --seeds $(SEEDS)

.PHONY: check-simulation check-simulation-quick run-simulation

-include $(SIMULATION:%.c=$(BUILD)/%.d)
