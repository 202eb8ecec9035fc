# Every instant of a kill: apps that are stepped by ptrace, agents that are killed at points of their code. Plain builds only:
# a sanitizer's own code would be stepped too.

STEP_SUPPORT := \
	tests/step/act.c \
	tests/step/after.c \
	tests/step/heir.c \
	tests/step/peek.c \
	tests/step/points.c \
	tests/step/record.c \
	tests/step/stepper.c

STEPS := \
	tests/step/test_agent_points.c \
	tests/step/test_images.c \
	tests/step/test_killed.c \
	tests/step/test_late.c

step_support = $(STEP_SUPPORT:%.c=$(BUILD)/%.o)
steps = $(STEPS:%.c=$(BUILD)/%)

$(BUILD)/tests/step.a: $(step_support) $(BUILD)/lists
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $(step_support)

# decide.o beside the library, whose own is not to be seen: a decision in a table that no agent has handed out.
$(steps): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/tests/step.a $(BUILD)/tests/support.a $(BUILD)/agent.a $(BUILD)/lib/decide.o \
		$(BUILD)/libstint.a
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(STINTD_LIBS) -lm -pthread

# Time as the tests take it, not as the library does: both have a clock.h.
$(BUILD)/tests/step/%.o: PART = -fPIE -Itests/support -Ilib -Iagent

KINDS += step
SOAK_PROGRAMS += $(steps)

build-step: all $(programs) $(steps)
check-step: build-step
	@tests/step/run

.PHONY: build-step check-step

-include $(patsubst %.c,$(BUILD)/%.d,$(STEP_SUPPORT) $(STEPS))
