# The Nth failure: allocations, system calls and libpq's calls that fail one after the other, and limits that are reached. Run by
# tests/nth/run.

NTH := \
	tests/nth/test_agent.c \
	tests/nth/test_command.c \
	tests/nth/test_database.c \
	tests/nth/test_library.c \
	tests/nth/test_limits.c \
	tests/nth/test_process.c

# This one is of the simulation, and of the core with an allocator of the test's.
CORE_NTH := tests/nth/test_core.c

NTH_SUPPORT := \
	tests/nth/nth.c \
	tests/nth/nth_control.c \
	tests/nth/victim.c

nth_tests = $(NTH:%.c=$(BUILD)/%)
nth_support = $(NTH_SUPPORT:%.c=$(BUILD)/%.o)
nth_failure = $(BUILD)/tests/nth/nth_failure.so

$(nth_tests): $(BUILD)/%: $(BUILD)/%.o $(nth_support) $(BUILD)/tests/support.a $(pg_objects) $(BUILD)/libstint.a
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(STINT_LIBS) -lm -pthread

core_entries = core_want core_low core_on_grants core_database_up core_database_lost core_database_down core_advance
core_objects = $(filter $(BUILD)/agent/core/%.o,$(agent_objects))

# Of the simulation all but its program; its .mk is read after this one.
world_objects = $(patsubst %.c,$(BUILD)/%.o,$(filter-out %/simulate.c,$(wildcard tests/simulation/*.c)))
$(BUILD)/tests/nth/world.o: $(world_objects)
	$(call say,LD,$@)mkdir -p $(@D) && $(LD) -r -o $@ $^ && \
		$(OBJCOPY) --redefine-sym heap_push=agenda_push $(foreach name,$(core_entries),--redefine-sym $(name)=nth_$(name)) $@

$(BUILD)/tests/nth/core.o: $(core_objects) $(BUILD)/lists
	$(call say,LD,$@)mkdir -p $(@D) && $(LD) -r --wrap=slab_new -o $@ $(core_objects) && \
		$(OBJCOPY) $(foreach name,malloc calloc realloc,--redefine-sym $(name)=core_$(name)) $@

$(BUILD)/tests/nth/test_core: $(BUILD)/tests/nth/test_core.o $(BUILD)/tests/nth/world.o $(BUILD)/tests/nth/core.o \
		$(BUILD)/tests/nth/nth.o $(BUILD)/tests/support.a $(BUILD)/lib/absence.o
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(TEST_LIBS) -lm

# Time as the tests take it, not as the library does: both have a clock.h.
$(BUILD)/tests/nth/%.o: PART = -fPIE -Itests/support -Ilib -Iagent -Itests/simulation -Itests/agent

# It defines what the headers would make inline.
$(BUILD)/tests/nth/nth_failure.o $(BUILD)/tests/nth/nth_control.o: PART = -fPIC -fvisibility=hidden -fno-builtin -U_FORTIFY_SOURCE \
	-D_FORTIFY_SOURCE=0 -Itests/support
$(nth_failure): $(BUILD)/tests/nth/nth_failure.o $(BUILD)/tests/nth/nth_control.o
	$(call say,LD,$@)$(CC) -shared $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ -ldl

KINDS += nth
SOAK_PROGRAMS += $(nth_tests) $(nth_failure) $(BUILD)/tests/nth/test_core
build-nth: all $(programs) $(nth_tests) $(nth_failure) $(BUILD)/tests/nth/test_core
check-nth: build-nth
	@tests/nth/run

.PHONY: build-nth check-nth

-include $(patsubst %.c,$(BUILD)/%.d,$(NTH) $(CORE_NTH) $(NTH_SUPPORT) tests/nth/nth_failure.c)
