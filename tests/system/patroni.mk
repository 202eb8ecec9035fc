# All that can happen to a database under Patroni: three minutes. No part of check-system.
check-patroni: all $(programs) $(BUILD)/tests/system/test_patroni
	@$(BUILD)/tests/system/test_patroni all

.PHONY: check-patroni
