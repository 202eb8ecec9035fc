# Other versions of PostgreSQL than the one that the other tests find: `make check-postgres PGBIN=...`. Not part of `make check`.

POSTGRES_UNIT := \
	tests/agent/test_database.c \
	tests/agent/test_database_connection.c \
	tests/agent/test_database_failures.c \
	tests/agent/test_database_schema.c \
	tests/agent/test_grant_sql.c

check-postgres: all $(programs) $(system) $(BUILD)/tests/sql/twin $(BUILD)/tests/sql/limits $(POSTGRES_UNIT:%.c=$(BUILD)/%)
	@STINT_BUILD='$(BUILD)' tests/postgres/run '$(PGBIN)' $(POSTGRES_UNIT:%.c=$(BUILD)/%)

.PHONY: check-postgres
