# Agents and apps of other versions: the same sources, but for the number that each side tells the other. Used by test_version.

ASK := tests/version/ask.c

# What says or checks a version; all else is the same.
versioned := $(shell grep -lE '\b(LAYOUT|WIRE)_VERSION\b' $(LIB) $(AGENT))
versioned_objects = $(versioned:%.c=$(BUILD)/%.o)

# others,WHICH: the other version's object where there is one.
others = $(versioned:%.c=$(BUILD)/other-$(1)/%.o)

define other_version
$(BUILD)/other-$(1)/lib/%.o: lib/%.c $(BUILD)/flags
	$$(call say,CC,$$@)mkdir -p $$(@D) && $$(CC) $$(STD) $$(WARN) $$(HARDEN) -fPIE -Ilib -include tests/version/other_$(1).h $$(CPPFLAGS) $$(CFLAGS) -c -o $$@ $$<

$(BUILD)/other-$(1)/agent/%.o: agent/%.c $(BUILD)/flags
	$$(call say,CC,$$@)mkdir -p $$(@D) && $$(CC) $$(STD) $$(WARN) $$(HARDEN) -fPIE -Ilib -Iagent -include tests/version/other_$(1).h $$(CPPFLAGS) $$(CFLAGS) -c -o $$@ $$<

$(BUILD)/other-$(1)/stintd: $(BUILD)/agent/main.o $(filter $(BUILD)/other-$(1)/agent/%,$(call others,$(1))) $(BUILD)/agent.a
	$$(call say,LD,$$@)$$(CC) -pie $$(LINK_HARDEN) $$(LDFLAGS) -o $$@ $$^ $$(STINTD_LIBS) -lm

$(BUILD)/other-$(1)/ask: $(ASK:%.c=$(BUILD)/%.o) $(filter $(BUILD)/other-$(1)/lib/%,$(call others,$(1))) $(filter-out $(versioned_objects),$(lib_objects))
	$$(call say,LD,$$@)$$(CC) $$(LINK_HARDEN) $$(LDFLAGS) -o $$@ $$^ -pthread
endef

$(eval $(call other_version,layout))
$(eval $(call other_version,wire))

$(BUILD)/tests/version/ask: $(ASK:%.c=$(BUILD)/%.o) $(BUILD)/libstint.a
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ -pthread

build-system build-misused: $(BUILD)/tests/version/ask $(foreach which,layout wire,$(BUILD)/other-$(which)/stintd $(BUILD)/other-$(which)/ask)

-include $(ASK:%.c=$(BUILD)/%.d) $(patsubst %.o,%.d,$(call others,layout) $(call others,wire))
