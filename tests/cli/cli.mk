# The command as later releases will have it: with one and with two migrations more. Used by tests/cli/upgrade.sh.

later_1 = tests/cli/later/003_note/01_note.sql
later_2 = $(later_1) tests/cli/later/004_window/01_window.sql

define later_release
$(BUILD)/later-$(1)/sql_embed.c: sql/embed sql/check.sql sql/trust.sql $(MIGRATIONS) $(later_$(1)) $(BUILD)/lists
	$$(call say,SQL,$$@)mkdir -p $$(@D) && sql/embed $(MIGRATIONS) $(later_$(1)) >$$@.new && mv $$@.new $$@

$(BUILD)/later-$(1)/sql_embed.o: PART = -fPIE -Ilib -Iagent

$(BUILD)/later-$(1)/stint: $(STINT:%.c=$(BUILD)/%.o) $(BUILD)/later-$(1)/sql_embed.o $(pg_objects) $(BUILD)/libstint.a
	$$(call say,LD,$$@)$$(CC) -pie $$(LINK_HARDEN) $$(LDFLAGS) -o $$@ $$^ $$(STINT_LIBS) -pthread
endef

$(eval $(call later_release,1))
$(eval $(call later_release,2))

later_releases = $(BUILD)/later-1/stint $(BUILD)/later-2/stint
later-releases: $(later_releases)
build-cli: $(later_releases)

.PHONY: later-releases
