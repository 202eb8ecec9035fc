# What tests/support/wall_clock.c has programs preload.
$(BUILD)/tests/support/wall_clock_preload.so: tests/support/wall_clock_preload.c tests/support/wall_clock.h tests/support/scene.h \
		$(BUILD)/flags
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(filter-out -MMD -MP,$(STD)) $(WARN) -fPIC $(CPPFLAGS) $(CFLAGS) -shared -o $@ $< -ldl

check-system: $(BUILD)/tests/support/wall_clock_preload.so
SOAK_PROGRAMS += $(BUILD)/tests/support/wall_clock_preload.so
