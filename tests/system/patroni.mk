# All that can happen to a database under Patroni: three minutes. check-system does the first half of it.
check-patroni: all $(programs) $(BUILD)/tests/system/test_patroni
	@$(BUILD)/tests/system/test_patroni all

.PHONY: check-patroni
