# make          the library, the agent and the command, in build/
# make demo     see it work: installs what is missing, then runs for about 40 s
# make check    every test; check-unit, check-sql, ... run one kind
# make bench    how fast it is, beside its peers: about half an hour
# make help     the rest

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man
COMPLETIONDIR ?= $(DATADIR)/bash-completion/completions
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d

BUILD ?= build
PKG_CONFIG ?= pkg-config
OBJCOPY ?= objcopy
VERSION := $(shell sed -n 's/^\#define STINT_VERSION "\(.*\)"/\1/p' lib/stint.h)
# Another one for each interface that apps must be compiled anew for; the package libstint0.2 has its name from it.
SONAME := libstint.so.0.2

# ---- Flags -------------------------------------------------------------------

CFLAGS ?= -O2 -g
STD = -std=c11 -D_GNU_SOURCE -MMD -MP
WARN = -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes
ifdef SANITIZE
WARN += -Wno-format-truncation# sanitizers hide from gcc what it knows of ranges otherwise
else ifneq ($(filter true 1,$(CI) $(WERROR)),)
WARN += -Werror
endif
HARDEN = -fstack-protector-strong
LINK_HARDEN = -Wl,-z,relro,-z,now
ifdef SANITIZE
HARDEN += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
LINK_HARDEN += -fsanitize=$(SANITIZE)
else
HARDEN += -D_FORTIFY_SOURCE=2# sanitizers want the plain functions
endif

# Asked when they are used, not when this is read: the packages may have come with `make deps`.
libs = $(shell $(PKG_CONFIG) --libs $(1))
STINTD_LIBS = $(call libs,libevent_core libpq inih libsystemd jansson)
STINT_LIBS = $(call libs,libpq jansson)
TEST_LIBS = $(call libs,cmocka)

ifneq ($(V),1)
say = @printf '  %-7s %s\n' $(1) '$(2)';
endif

# ---- Sources -----------------------------------------------------------------

LIB := \
	lib/absence.c \
	lib/alone.c \
	lib/ask.c \
	lib/async.c \
	lib/attachment.c \
	lib/channel.c \
	lib/check.c \
	lib/check_all.c \
	lib/client_id.c \
	lib/connection.c \
	lib/correct.c \
	lib/count.c \
	lib/decide.c \
	lib/describe.c \
	lib/descriptor.c \
	lib/error.c \
	lib/event_loop.c \
	lib/fork_mark.c \
	lib/http_headers.c \
	lib/ip_client.c \
	lib/lifetime.c \
	lib/limiter.c \
	lib/local.c \
	lib/mapping.c \
	lib/message.c \
	lib/options.c \
	lib/outstanding.c \
	lib/peek.c \
	lib/question.c \
	lib/request.c \
	lib/sized.c \
	lib/together.c \
	lib/wait.c \
	lib/watch.c \
	lib/wiped_page.c

# What Node.js loads; lib/node/build says what it needs, and make goes on without it.
NODE_ADDON := \
	lib/node/addon/addon.c \
	lib/node/addon/attachment.c \
	lib/node/addon/environment.c \
	lib/node/addon/http.c \
	lib/node/addon/limiter.c \
	lib/node/addon/value.c

# Everything of the agent but main.c: the tests link it too.
AGENT := \
	agent/agent.c \
	agent/audit.c \
	agent/changes.c \
	agent/config.c \
	agent/decisions.c \
	agent/denials.c \
	agent/declaration.c \
	agent/driver.c \
	agent/expiry.c \
	agent/heartbeat.c \
	agent/locked.c \
	agent/log.c \
	agent/metrics.c \
	agent/metrics_address.c \
	agent/metrics_facts.c \
	agent/metrics_server.c \
	agent/notify.c \
	agent/outage.c \
	agent/outbox.c \
	agent/policies.c \
	agent/policy.c \
	agent/recalls.c \
	agent/scraper.c \
	agent/server.c \
	agent/shm.c \
	agent/sketch.c \
	agent/socket_path.c \
	agent/status.c \
	agent/sync.c \
	agent/tallies.c \
	agent/witness.c \
	agent/word.c \
	agent/core/answer.c \
	agent/core/apps.c \
	agent/core/arrival.c \
	agent/core/batch.c \
	agent/core/client.c \
	agent/core/core.c \
	agent/core/debt.c \
	agent/core/demand.c \
	agent/core/denied.c \
	agent/core/fallback.c \
	agent/core/generation.c \
	agent/core/grant.c \
	agent/core/heap.c \
	agent/core/inheritance.c \
	agent/core/lease_install.c \
	agent/core/lease_timer.c \
	agent/core/leases.c \
	agent/core/lows.c \
	agent/core/pending.c \
	agent/core/promotion.c \
	agent/core/recall.c \
	agent/core/registry.c \
	agent/core/repair.c \
	agent/core/slab.c \
	agent/core/state.c \
	agent/core/store_memory.c \
	agent/core/sweep.c \
	agent/core/table.c \
	agent/core/verdict.c \
	agent/database/call_back.c \
	agent/database/calls.c \
	agent/database/database.c \
	agent/database/dial.c \
	agent/database/endpoints.c \
	agent/database/errand.c \
	agent/database/greeting.c \
	agent/database/lookup.c \
	agent/database/operation.c \
	agent/database/parameters.c \
	agent/database/pg.c \
	agent/database/pg_answer.c \
	agent/database/pg_connect.c \
	agent/database/pg_conninfo.c \
	agent/database/pgarray.c \
	agent/database/report.c \
	agent/database/search.c \
	agent/database/session.c \
	agent/database/settings.c \
	agent/database/sqlstate.c \
	agent/database/take.c

STINT := \
	agent/command/agent_status.c \
	agent/command/change.c \
	agent/command/cmd_audit.c \
	agent/command/cmd_check.c \
	agent/command/cmd_client.c \
	agent/command/cmd_db.c \
	agent/command/cmd_doctor.c \
	agent/command/cmd_metrics.c \
	agent/command/cmd_policy.c \
	agent/command/cmd_status.c \
	agent/command/cmd_top.c \
	agent/command/command.c \
	agent/command/doctor.c \
	agent/command/doctor_database.c \
	agent/command/doctor_host.c \
	agent/command/doctor_libraries.c \
	agent/command/doctor_pooler.c \
	agent/command/main.c \
	agent/command/migrations.c \
	agent/command/names.c \
	agent/command/objects.c \
	agent/command/output.c \
	agent/command/query.c \
	agent/command/refusal.c \
	agent/command/rows.c \
	agent/command/screen.c \
	agent/command/show.c \
	agent/command/summary.c \
	agent/command/top_database.c \
	agent/command/top_rates.c \
	agent/command/top_view.c \
	agent/command/trust.c \
	agent/command/verdict.c

MIGRATIONS := \
	sql/002_limiter/00_set_aside.sql \
	sql/002_limiter/01_role.sql \
	sql/002_limiter/01_schema.sql \
	sql/002_limiter/02_policy.sql \
	sql/002_limiter/03_counter.sql \
	sql/002_limiter/04_host.sql \
	sql/002_limiter/05_change.sql \
	sql/002_limiter/06_migration.sql \
	sql/002_limiter/07_secure_commit.sql \
	sql/002_limiter/08_object.sql \
	sql/002_limiter/09_commit_later.sql \
	sql/002_limiter/10_check_policy.sql \
	sql/002_limiter/11_find_policy.sql \
	sql/002_limiter/12_declare_policy.sql \
	sql/002_limiter/13_get_policies.sql \
	sql/002_limiter/14_set_policy.sql \
	sql/002_limiter/14_set_shadow.sql \
	sql/002_limiter/15_unpin_policy.sql \
	sql/002_limiter/16_drop_policy.sql \
	sql/002_limiter/17_override.sql \
	sql/002_limiter/18_sub_window_us.sql \
	sql/002_limiter/19_phase_us.sql \
	sql/002_limiter/20_limit_of.sql \
	sql/002_limiter/21_rewindow.sql \
	sql/002_limiter/22_retry_after.sql \
	sql/002_limiter/23_take.sql \
	sql/002_limiter/24_can_lock_counter.sql \
	sql/002_limiter/24_first_grant.sql \
	sql/002_limiter/25_take_leases.sql \
	sql/002_limiter/26_take_first_leases.sql \
	sql/002_limiter/26_take_unlocked_leases.sql \
	sql/002_limiter/27_expire_counters.sql \
	sql/002_limiter/28_count_hosts.sql \
	sql/002_limiter/29_await_tables.sql \
	sql/002_limiter/29_find_old_snapshot.sql \
	sql/002_limiter/30_register_host.sql \
	sql/002_limiter/31_heartbeat.sql \
	sql/002_limiter/32_report_fallback.sql \
	sql/002_limiter/33_stop_host.sql \
	sql/002_limiter/34_begin_call.sql \
	sql/002_limiter/35_recall.sql \
	sql/002_limiter/36_cache.sql \
	sql/002_limiter/37_reset.sql \
	sql/002_limiter/38_decision.sql \
	sql/002_limiter/38_denied_client.sql \
	sql/002_limiter/39_override_in_force.sql \
	sql/002_limiter/40_usage.sql \
	sql/002_limiter/41_limited.sql \
	sql/002_limiter/42_top_client.sql \
	sql/002_limiter/43_host.sql \
	sql/002_limiter/44_fallback_period.sql \
	sql/002_limiter/45_policy_history.sql \
	sql/002_limiter/46_policy_limit.sql \
	sql/002_limiter/47_client_limit.sql \
	sql/002_limiter/48_promotion.sql \
	sql/002_limiter/49_client_charge.sql \
	sql/002_limiter/49_client_lease.sql \
	sql/002_limiter/98_take_over.sql \
	sql/002_limiter/99_done.sql

MANUALS := \
	agent/man/stint.1 \
	agent/man/libstint.3 \
	agent/man/stint_check.3 \
	agent/man/stint_check_all.3 \
	agent/man/stint_check_alone.3 \
	agent/man/stint_check_async.3 \
	agent/man/stint_check_sized.3 \
	agent/man/stint_http_headers.3 \
	agent/man/stint_ip_client.3 \
	agent/man/stint_limiter_new.3 \
	agent/man/stint_open.3 \
	agent/man/stint_peek.3 \
	agent/man/stint_strerror.3 \
	agent/man/stint.conf.5 \
	agent/man/stint.7 \
	agent/man/stintd.8

LIB_TESTS := \
	tests/lib/test_absence.c \
	tests/lib/test_agent_away.c \
	tests/lib/test_agent_silent.c \
	tests/lib/test_agent_hostile.c \
	tests/lib/test_async.c \
	tests/lib/test_callback_storm.c \
	tests/lib/test_callbacks.c \
	tests/lib/test_cancellation.c \
	tests/lib/test_channel.c \
	tests/lib/test_clock.c \
	tests/lib/test_count.c \
	tests/lib/test_count_crowd.c \
	tests/lib/test_daemons.c \
	tests/lib/test_descriptors.c \
	tests/lib/test_fork_mark.c \
	tests/lib/test_forks.c \
	tests/lib/test_http_headers.c \
	tests/lib/test_ip_client.c \
	tests/lib/test_local.c \
	tests/lib/test_message.c \
	tests/lib/test_options.c \
	tests/lib/test_peek.c \
	tests/lib/test_shadow.c \
	tests/lib/test_sized.c \
	tests/lib/test_table.c \
	tests/lib/test_table_both.c \
	tests/lib/test_table_tells.c \
	tests/lib/test_threads.c \
	tests/lib/test_together.c \
	tests/lib/test_window.c

AGENT_TESTS := \
	tests/agent/test_agent_start.c \
	tests/agent/test_audit.c \
	tests/agent/test_changes.c \
	tests/agent/test_client.c \
	tests/agent/test_config.c \
	tests/agent/test_core_busy.c \
	tests/agent/test_core_changes.c \
	tests/agent/test_core_charges.c \
	tests/agent/test_core_corrections.c \
	tests/agent/test_core_crowd.c \
	tests/agent/test_core_demand.c \
	tests/agent/test_core_events.c \
	tests/agent/test_core_failures.c \
	tests/agent/test_core_fallback.c \
	tests/agent/test_core_generation.c \
	tests/agent/test_core_idle.c \
	tests/agent/test_core_lease_ends.c \
	tests/agent/test_core_leases.c \
	tests/agent/test_core_lows.c \
	tests/agent/test_core_no_room.c \
	tests/agent/test_core_promotion.c \
	tests/agent/test_core_recall.c \
	tests/agent/test_core_refill.c \
	tests/agent/test_core_relaxed.c \
	tests/agent/test_core_requests.c \
	tests/agent/test_core_resets.c \
	tests/agent/test_core_returns.c \
	tests/agent/test_core_sweep.c \
	tests/agent/test_core_takeover.c \
	tests/agent/test_core_times.c \
	tests/agent/test_core_told.c \
	tests/agent/test_database.c \
	tests/agent/test_database_connection.c \
	tests/agent/test_database_failures.c \
	tests/agent/test_database_room.c \
	tests/agent/test_database_schema.c \
	tests/agent/test_decisions.c \
	tests/agent/test_denials.c \
	tests/agent/test_declaration.c \
	tests/agent/test_declaration_room.c \
	tests/agent/test_dial.c \
	tests/agent/test_driver.c \
	tests/agent/test_grant.c \
	tests/agent/test_grant_ahead.c \
	tests/agent/test_grant_known.c \
	tests/agent/test_grant_oracle.c \
	tests/agent/test_grant_sql.c \
	tests/agent/test_heap.c \
	tests/agent/test_locked.c \
	tests/agent/test_log.c \
	tests/agent/test_lookup.c \
	tests/agent/test_metrics.c \
	tests/agent/test_metrics_server.c \
	tests/agent/test_migrations.c \
	tests/agent/test_names.c \
	tests/agent/test_outbox.c \
	tests/agent/test_news.c \
	tests/agent/test_notify.c \
	tests/agent/test_output.c \
	tests/agent/test_pg.c \
	tests/agent/test_policy.c \
	tests/agent/test_recalls.c \
	tests/agent/test_scraper.c \
	tests/agent/test_server_apps.c \
	tests/agent/test_server_rude_apps.c \
	tests/agent/test_server_socket.c \
	tests/agent/test_shm.c \
	tests/agent/test_sketch.c \
	tests/agent/test_slab.c \
	tests/agent/test_sqlstate.c \
	tests/agent/test_status.c \
	tests/agent/test_store_memory.c \
	tests/agent/test_sync.c \
	tests/agent/test_table.c \
	tests/agent/test_tallies.c \
	tests/agent/test_top_rates.c \
	tests/agent/test_top_view.c \
	tests/agent/test_witness.c \
	tests/agent/test_word.c

# Those with threads in them, worth running under ThreadSanitizer.
THREADED_TESTS := \
	tests/agent/test_dial.c \
	tests/agent/test_lookup.c \
	tests/agent/test_table.c \
	tests/lib/test_async.c \
	tests/lib/test_callback_storm.c \
	tests/lib/test_callbacks.c \
	tests/lib/test_cancellation.c \
	tests/lib/test_count.c \
	tests/lib/test_count_crowd.c \
	tests/lib/test_descriptors.c \
	tests/lib/test_fork_mark.c \
	tests/lib/test_forks.c \
	tests/lib/test_local.c \
	tests/lib/test_threads.c \
	tests/lib/test_together.c

# What the whole-system tests and the demo share, and their programs, one file each.
SUPPORT := \
	tests/demo/verdict.c \
	tests/demo/view.c \
	tests/lib/fake_agent.c \
	tests/support/books.c \
	tests/support/check.c \
	tests/support/cluster.c \
	tests/support/crowd.c \
	tests/support/episode.c \
	tests/support/fault_proxy.c \
	tests/support/fault_relay.c \
	tests/support/histogram.c \
	tests/support/host.c \
	tests/support/http2.c \
	tests/support/journal.c \
	tests/support/load.c \
	tests/support/name_server.c \
	tests/support/network.c \
	tests/support/nginx.c \
	tests/support/oracle.c \
	tests/support/own_dir.c \
	tests/support/pack.c \
	tests/support/patroni.c \
	tests/support/peer.c \
	tests/support/pg_frames.c \
	tests/support/pooler.c \
	tests/support/port.c \
	tests/support/private_network.c \
	tests/support/probe.c \
	tests/support/process.c \
	tests/support/proof.c \
	tests/support/scene.c \
	tests/support/stage.c \
	tests/support/tap.c \
	tests/support/trial.c \
	tests/support/wall_clock.c \
	tests/support/wrk.c

PROGRAMS := \
	tests/support/app.c \
	tests/systemd/app.c

SYSTEM := \
	tests/demo/demo.c \
	tests/demo/web.c \
	tests/system/test_agent_away.c \
	tests/system/test_agent_hung.c \
	tests/system/test_agent_killed.c \
	tests/system/test_app_killed.c \
	tests/system/test_bad_arguments.c \
	tests/system/test_bad_config.c \
	tests/system/test_bad_database.c \
	tests/system/test_bad_peers.c \
	tests/system/test_checker.c \
	tests/system/test_crowded.c \
	tests/system/test_database_clock.c \
	tests/system/test_database_killed.c \
	tests/system/test_database_refuses.c \
	tests/system/test_declarations.c \
	tests/system/test_failover.c \
	tests/system/test_fault_proxy.c \
	tests/system/test_herd.c \
	tests/system/test_host_clock.c \
	tests/system/test_hot_client.c \
	tests/system/test_locked_rows.c \
	tests/system/test_million_clients.c \
	tests/system/test_name_servers.c \
	tests/system/test_network_faults.c \
	tests/system/test_nginx.c \
	tests/system/test_nginx_config.c \
	tests/system/test_nginx_faults.c \
	tests/system/test_operations.c \
	tests/system/test_oracle.c \
	tests/system/test_other_user.c \
	tests/system/test_packet_loss.c \
	tests/system/test_patroni.c \
	tests/system/test_policy_change.c \
	tests/system/test_pooler.c \
	tests/system/test_pooler_shared.c \
	tests/system/test_pooler_transaction.c \
	tests/system/test_recall.c \
	tests/system/test_server_stopped.c \
	tests/system/test_several_limits.c \
	tests/system/test_slow_network.c \
	tests/system/test_table_corrupted.c \
	tests/system/test_two_agents.c \
	tests/system/test_version.c \
	tests/system/test_window_edge.c

# ---- Targets -----------------------------------------------------------------

lib_objects = $(LIB:%.c=$(BUILD)/%.o)
agent_objects = $(AGENT:%.c=$(BUILD)/%.o)
stint_objects = $(STINT:%.c=$(BUILD)/%.o) $(BUILD)/sql_embed.o
pg_objects = $(patsubst %,$(BUILD)/agent/database/%.o,endpoints errand lookup pg pg_answer pg_connect pg_conninfo search)
lib_tests = $(LIB_TESTS:%.c=$(BUILD)/%)
agent_tests = $(AGENT_TESTS:%.c=$(BUILD)/%)
threaded_tests = $(THREADED_TESTS:%.c=$(BUILD)/%)
support_objects = $(SUPPORT:%.c=$(BUILD)/%.o)
programs = $(PROGRAMS:%.c=$(BUILD)/%)
system = $(SYSTEM:%.c=$(BUILD)/%)

all: $(BUILD)/stintd $(BUILD)/stint $(BUILD)/libstint.a $(BUILD)/libstint.so
ifndef SANITIZE
all: $(BUILD)/stint.node
endif

# One object whose only global names are those of stint.h: the rest can't collide with an app's.
$(BUILD)/libstint.a: $(lib_objects) $(BUILD)/lists
	$(call say,AR,$@)rm -f $@ && $(LD) -r -o $(BUILD)/libstint.o $(lib_objects) && $(OBJCOPY) --localize-hidden $(BUILD)/libstint.o && \
		$(AR) rcs $@ $(BUILD)/libstint.o

$(BUILD)/libstint.so: $(lib_objects) lib/stint.map $(BUILD)/lists
	$(call say,LD,$@)$(CC) -shared $(LINK_HARDEN) $(LDFLAGS) -Wl,-soname,$(SONAME) -Wl,--version-script,lib/stint.map \
		-Wl,-z,defs -o $@ $(lib_objects) -pthread && ln -sf libstint.so $(BUILD)/$(SONAME)

# Status 3: it can't be built here.
$(BUILD)/stint.node: lib/node/build $(wildcard lib/node/addon/*.h) lib/node/addon/exports.map $(NODE_ADDON) $(BUILD)/libstint.a
	$(call say,NODE,$@)CC='$(CC)' CFLAGS='$(WARN) $(HARDEN) $(CPPFLAGS) $(CFLAGS)' LDFLAGS='$(LINK_HARDEN) $(LDFLAGS)' \
		lib/node/build $@ $(NODE_ADDON) $(BUILD)/libstint.a || [ $$? = 3 ]

$(BUILD)/agent.a: $(agent_objects) $(BUILD)/lists
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $(agent_objects)

$(BUILD)/stintd: $(BUILD)/agent/main.o $(BUILD)/agent.a
	$(call say,LD,$@)$(CC) -pie $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(STINTD_LIBS) -lm -pthread

$(BUILD)/stint: $(stint_objects) $(pg_objects) $(BUILD)/libstint.a
	$(call say,LD,$@)$(CC) -pie $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(STINT_LIBS) -pthread

$(BUILD)/sql_embed.c: sql/embed sql/check.sql sql/trust.sql $(MIGRATIONS) $(BUILD)/lists
	$(call say,SQL,$@)mkdir -p $(@D) && sql/embed $(MIGRATIONS) >$@.new && mv $@.new $@

$(BUILD)/tests/support.a: $(support_objects) $(BUILD)/lists
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $(support_objects)

# Written only when they change: objects follow the flags, archives the lists.
stamp = @mkdir -p $(@D); echo '$(1)' | cmp -s - $@ || echo '$(1)' >$@
$(BUILD)/flags: FORCE
	$(call stamp,$(CC) $(STD) $(WARN) $(HARDEN) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS))
$(BUILD)/lists: FORCE
	$(call stamp,$(LIB) $(AGENT) $(STINT) $(MIGRATIONS) $(SUPPORT) $(BENCH_SUPPORT))

$(programs): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/tests/support.a $(BUILD)/libstint.a
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ -lm -pthread

$(system): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/tests/support.a $(pg_objects) $(BUILD)/libstint.a
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(STINT_LIBS) -lm -pthread

$(BUILD)/tests/sql/twin: $(BUILD)/tests/sql/twin.o $(BUILD)/agent/core/grant.o
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^

$(BUILD)/tests/sql/limits: $(BUILD)/tests/sql/limits.o
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^

# These look inside, at the parts.
$(lib_tests): $(BUILD)/%: $(BUILD)/%.o $(lib_objects) $(BUILD)/tests/support.a
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(TEST_LIBS) -lm -pthread

# With the parts of both.
both_tests := $(BUILD)/tests/agent/test_core_told
$(both_tests): $(BUILD)/%: $(BUILD)/%.o $(lib_objects) $(BUILD)/tests/support.a $(BUILD)/agent.a
$(filter-out $(both_tests),$(agent_tests)): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/tests/support.a $(BUILD)/agent.a $(BUILD)/libstint.a
# Of the command's parts, those that are tested by themselves.
$(BUILD)/tests/agent/test_migrations: $(BUILD)/agent/command/migrations.o
$(BUILD)/tests/agent/test_names: $(BUILD)/agent/command/names.o
$(BUILD)/tests/agent/test_output: $(BUILD)/agent/command/output.o
$(BUILD)/tests/agent/test_top_rates: $(BUILD)/agent/command/top_rates.o
$(BUILD)/tests/agent/test_top_view: $(addprefix $(BUILD)/agent/command/,output.o summary.o top_view.o)
$(agent_tests):
	$(call say,LD,$@)$(CC) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(TEST_LIBS) $(STINTD_LIBS) -lm -pthread

# The library sees itself only; everything else sees the library's headers. libpq is for pg.c and its two parts.
$(BUILD)/lib/%.o: PART = -fPIC -fvisibility=hidden -Ilib
$(BUILD)/agent/%.o $(BUILD)/sql_embed.o: PART = -fPIE -Ilib -Iagent
$(addprefix $(BUILD)/agent/database/,pg.o pg_answer.o pg_conninfo.o): PART = -fPIE -Ilib -Iagent $(shell $(PKG_CONFIG) --cflags libpq)
$(BUILD)/tests/%.o: PART = -fPIE -Ilib -Iagent -Itests/support

# Half of what is compiled is tests of modules, each of which runs once: quickly compiled is better there. The fortified functions want -O1.
ifndef COVERAGE
$(BUILD)/tests/agent/test_%.o $(BUILD)/tests/lib/test_%.o: LEVEL = $(if $(findstring address,$(SANITIZE)),-O0,-O1)
endif

compile = $(call say,CC,$@)mkdir -p $(@D) && $(CC) $(STD) $(WARN) $(HARDEN) $(PART) $(CPPFLAGS) $(CFLAGS) $(LEVEL) -c -o $@ $<
$(BUILD)/%.o: %.c $(BUILD)/flags
	$(compile)
$(BUILD)/%.o: $(BUILD)/%.c
	$(compile)

# ---- Tests -------------------------------------------------------------------

# Further kinds: a folder's .mk, below, adds its own, and the target check-KIND.
KINDS := format asan cli unit deployed tsan misused valgrind lint sql system systemd

check: DEPS += browser
check: deps
	@+MAKE='$(MAKE)' tests/run $(KINDS)

demo: deps
	@$(MAKE) --no-print-directory run-demo

run-demo: all $(programs) $(BUILD)/tests/demo/demo
	@tests/demo/run

# T=NAME... runs those tests of the kind alone: check-unit T=grant, check-sql T=batch, check-system T='failover pooler'.
T ?=
# named,PROGRAMS: those of T, or all.
named = $(if $(T),$(foreach name,$(T),$(filter %/test_$(name),$(1))),$(1))
each = @tests/each $(1) -- $^

# What a change is tried with again and again.
check-quick: KINDS = lint format unit sql simulation-quick
check-quick: check

build-lint: all
check-lint: build-lint
	@tests/lint/run
	@tests/lint/runner
	@tests/lint/manuals

# As .clang-format says; make format makes it so.
formatted = $(shell git ls-files '*.c' '*.h' 2>/dev/null)
check-format:
	@command -v clang-format >/dev/null || { echo '1..0 # SKIP there is no clang-format'; exit 0; }; \
		echo 1..1; clang-format --dry-run -Werror $(formatted) && echo 'ok 1 - all is formatted' || \
		{ echo 'not ok 1 - not formatted: make format'; exit 1; }

format:
	@clang-format -i $(formatted)

build-unit check-unit: $(call named,$(lib_tests) $(agent_tests))
check-unit:
	$(each)

check-threads: $(call named,$(threaded_tests))
	$(each)

# These two build apart from all else: what they need is built by themselves.
build-asan build-tsan:

# For reports, lines are enough. The command is started 600 times, and has to find and bind less with the sanitizers in it; clang puts
# them there unasked. gold, where there is one, links a hundred such programs in less than half the time.
fast_linker = $(shell command -v ld.gold >/dev/null && echo -fuse-ld=gold)
asan_build = BUILD=$(BUILD)/asan SANITIZE=address,undefined CFLAGS='-O1 -g1' \
	LDFLAGS='$(if $(findstring clang,$(CC)),,-static-libasan -static-libubsan $(fast_linker))'
check-asan:
	@$(MAKE) --no-print-directory $(asan_build) $(if $(T),check-unit,check-unit check-command)

# Those groups of check-cli that have the command do all that it can. Of a leak it would end with another status.
check-command: $(BUILD)/stint $(BUILD)/stintd
	@tests/cli/run database usage status

check-tsan:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan SANITIZE=thread CFLAGS='-O1 -g1' check-threads

# Valgrind runs one thread at a time; by its default a spinning one may keep the others out for a minute.
build-valgrind check-valgrind: $(call named,$(lib_tests))
check-valgrind:
	$(call each,valgrind --quiet --fair-sched=yes --suppressions=tests/lib/valgrind.supp --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=99)

sanitize: check-asan check-tsan check-valgrind

check-sql: $(BUILD)/tests/sql/twin $(BUILD)/tests/sql/limits
	@STINT_TEST_TWIN=$(BUILD)/tests/sql/twin STINT_TEST_LIMITS=$(BUILD)/tests/sql/limits tests/sql/run $(T)

build-cli: all
check-cli: build-cli
	@LDFLAGS='$(LDFLAGS)' tests/cli/run $(T)

build-system build-deployed build-misused: all $(programs) $(call named,$(system))
check-system: build-system
	@tests/system/run $(or $(T),$(filter-out $(DEPLOYED) $(MISUSED) patroni,$(patsubst tests/system/test_%.c,%,$(filter tests/system/%,$(SYSTEM)))))

# Of these, what measures little, so that other kinds may run beside it: what stint is deployed with, which is servers
# before and behind it and what operators do; and mistakes, malice and crowds. Patroni has a kind of its own.
DEPLOYED := nginx nginx_config nginx_faults operations
MISUSED := bad_arguments bad_config bad_database bad_peers checker crowded other_user several_limits table_corrupted two_agents version
check-deployed: build-deployed
	@tests/system/run $(DEPLOYED)

check-misused: build-misused
	@tests/system/run $(MISUSED)

build-systemd: all $(programs)
check-systemd: build-systemd
	@tests/systemd/run

include lib/nginx/nginx.mk lib/node/node.mk lib/python/python.mk $(sort $(wildcard tests/*/*.mk))

# ---- The machine -------------------------------------------------------------

# Three lists, and two more for benchmarks and the browser: .ci/deps has them.
DEPS = build runtime test
deps:
	@.ci/deps $(DEPS)

deps-build deps-runtime: deps-%:
	@.ci/deps $*

# Files named .in have @BINDIR@ and the like in the place of paths: these stand here alone.
place = sed $(foreach name,PREFIX BINDIR LIBDIR INCLUDEDIR SYSCONFDIR VERSION,-e 's|@$(name)@|$($(name))|g')
# The unit of all hosts is that of an instance without what says its name.
nameless = sed -e '/^\# An instance/d' -e '/^Environment=STINT_/d' -e 's/ (%i)//' -e 's/%i\.conf/stint.conf/' -e 's/-%i//g'

install: all
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCLUDEDIR)' '$(DESTDIR)$(UNITDIR)' \
		'$(DESTDIR)$(SYSUSERSDIR)' '$(DESTDIR)$(TMPFILESDIR)' '$(DESTDIR)$(DATADIR)/stint' '$(DESTDIR)$(SYSCONFDIR)/stint'
	install -m 755 $(BUILD)/stintd $(BUILD)/stint '$(DESTDIR)$(BINDIR)'
	install -m 644 lib/stint.h '$(DESTDIR)$(INCLUDEDIR)'
	install -m 644 $(BUILD)/libstint.a '$(DESTDIR)$(LIBDIR)'
	install -m 644 $(BUILD)/libstint.so '$(DESTDIR)$(LIBDIR)/libstint.so.$(VERSION)'
	ln -sf libstint.so.$(VERSION) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libstint.so'
	$(place) lib/stint.pc.in >'$(DESTDIR)$(LIBDIR)/pkgconfig/stint.pc'
	for file in $(MIGRATIONS); do install -D -m 644 $$file '$(DESTDIR)$(DATADIR)/stint/'$$file || exit; done
	install -m 644 agent/stint.conf.example '$(DESTDIR)$(DATADIR)/stint'
	install -D -m 644 systemd/prometheus/stint.rules.yml '$(DESTDIR)$(DATADIR)/stint/prometheus/stint.rules.yml'
	install -D -m 644 systemd/grafana/stint.json '$(DESTDIR)$(DATADIR)/stint/grafana/stint.json'
	for page in $(MANUALS); do install -D -m 644 $$page '$(DESTDIR)$(MANDIR)'/man$${page##*.}/$${page##*/} || exit; done
	agent/man/links | while read -r link page; do \
		echo ".so man$${page##*.}/$$page" >'$(DESTDIR)$(MANDIR)'/man$${link##*.}/$$link || exit; done
	install -D -m 644 agent/completion/stint.bash '$(DESTDIR)$(COMPLETIONDIR)/stint'
	$(INSTALL_NGINX)
	$(INSTALL_NODE)
	$(INSTALL_PYTHON)
	install -m 644 systemd/stint.sysusers '$(DESTDIR)$(SYSUSERSDIR)/stint.conf'
	$(place) systemd/stint.tmpfiles.in >'$(DESTDIR)$(TMPFILESDIR)/stint.conf'
	$(place) systemd/stintd@.service.in >'$(DESTDIR)$(UNITDIR)/stintd@.service'
	$(nameless) '$(DESTDIR)$(UNITDIR)/stintd@.service' >'$(DESTDIR)$(UNITDIR)/stintd.service'

# Takes away what `make install` with the same places puts there, whether or not it is built here now. A configuration stays.
uninstall:
	rm -f '$(DESTDIR)$(BINDIR)/stintd' '$(DESTDIR)$(BINDIR)/stint' '$(DESTDIR)$(INCLUDEDIR)/stint.h' \
		'$(DESTDIR)$(LIBDIR)/libstint.a' '$(DESTDIR)$(LIBDIR)/libstint.so' '$(DESTDIR)$(LIBDIR)/$(SONAME)' \
		'$(DESTDIR)$(LIBDIR)/$(SONAME)'.* '$(DESTDIR)$(LIBDIR)/libstint.so.$(VERSION)' '$(DESTDIR)$(LIBDIR)/pkgconfig/stint.pc' \
		'$(DESTDIR)$(COMPLETIONDIR)/stint' \
		'$(DESTDIR)$(SYSUSERSDIR)/stint.conf' '$(DESTDIR)$(TMPFILESDIR)/stint.conf' \
		'$(DESTDIR)$(UNITDIR)/stintd.service' '$(DESTDIR)$(UNITDIR)/stintd@.service'
	for page in $(notdir $(MANUALS)) $$(agent/man/links | cut -d' ' -f1); do \
		rm -f '$(DESTDIR)$(MANDIR)'/man$${page##*.}/$$page; done
	rm -rf '$(DESTDIR)$(DATADIR)/stint'
	$(UNINSTALL_NGINX)
	$(UNINSTALL_NODE)
	$(UNINSTALL_PYTHON)
	@if [ -d '$(DESTDIR)$(SYSCONFDIR)/stint' ]; then rmdir '$(DESTDIR)$(SYSCONFDIR)/stint' 2>/dev/null || \
		echo '$(DESTDIR)$(SYSCONFDIR)/stint is not empty: it stays'; fi

# Debian packages, in $(BUILD)/deb: systemd/debian/ is the recipe.
deb: DEPS = build deb
deb: deps
	@systemd/make-deb '$(BUILD)/deb'

# The one place of the version is stint.h; manuals have a date, the changelog a heading.
set-version:
	@[ -n '$(TO)' ] || { echo 'make set-version TO=X.Y.Z' >&2; exit 2; }
	@expr '$(TO)' : '[0-9][0-9]*\.[0-9][0-9]*\.[0-9][0-9]*$$' >/dev/null || { echo 'TO is "$(TO)", must be X.Y.Z' >&2; exit 2; }
	@grep -q '^## Unreleased$$' CHANGELOG.md || { echo 'CHANGELOG.md says nothing under "## Unreleased"' >&2; exit 1; }
	@sed -i 's/^\(#define STINT_VERSION \)".*"/\1"$(TO)"/' lib/stint.h
	@sed -i 's/^\(\t"version": \)".*"/\1"$(TO)"/' lib/node/package.json
	@sed -i "s/^\.Dd .*/.Dd $$(LC_ALL=C date '+%B %-d, %Y')/" agent/man/*.[1-8]
	@sed -i "s/^## Unreleased$$/## $(TO) ($$(date -I))/" CHANGELOG.md
	@echo 'version $(TO): commit, then git tag v$(TO); its release notes are the section at the top of CHANGELOG.md'

clean:
	rm -rf '$(BUILD)'

help:
	@echo 'make [V=1] [WERROR=1]          build/stintd build/stint build/libstint.a build/libstint.so build/stint.node'
	@echo '                               build/python/_stint.abi3.so build/ngx_http_stint_module.so'
	@echo 'make demo                      two hosts, one database, one limit; the database dies and returns'
	@echo 'make demo-web [PORT=] [SECONDS=75] [STEP=1]  the like in a browser: nginx, Node.js and Python; STEP: Enter goes on'
	@echo 'make check                     all tests; one kind: check-lint check-unit check-asan check-tsan'
	@echo '                               check-valgrind check-sql check-cli check-deployed check-misused check-system check-systemd'
	@echo 'make check-unit T=NAME         one test of a kind; so check-sql, check-cli, check-system'
	@echo 'make check-quick               lint, format, unit, SQL and 200 simulated worlds, in a minute or two'
	@echo 'make fleet [F=SCENARIO]        simulates fleets: what they cost the database; F=--help names what there is'
	@echo 'make format                    as .clang-format says'
	@echo 'make check-patroni             a database under Patroni: switchover, failovers, etcd away; three minutes'
	@echo 'make check-postgres PGBIN=...  what depends on the server, on another PostgreSQL: the folder of its initdb and postgres'
	@echo 'make bench                     measures stint and its peers side by side; build/bench.json and plots'
	@echo 'make bench-publish             copies what tests/README.md shows of them to tests/bench/results/'
	@echo 'make soak [STAGES=...]          the long form of the tests: hours; ends with a scoreboard of faults'
	@echo 'make coverage                  what the tests reach of lib/ and agent/, by lines and branches'
	@echo 'make mutants [AREAS=lib] [SEED=1] [MUTANTS=20]  small mistakes put into the code: which do the tests miss?'
	@echo 'make sanitize                  check-asan check-tsan check-valgrind'
	@echo 'make deps                      install the Debian packages that build and tests need'
	@echo 'make deps-build, deps-runtime  only those to build with; only those that what is built needs'
	@echo 'make install DESTDIR= PREFIX=  (also SYSCONFDIR= UNITDIR= LIBDIR= NODE_MODULESDIR= ...)'
	@echo 'make deb                       Debian packages, in build/deb'
	@echo 'make check-packages            makes them twice; installs, upgrades, removes and purges them, and runs their tests'
	@echo 'make uninstall                 takes it away again; the configuration stays'
	@echo 'make set-version TO=X.Y.Z      the version, everywhere'
	@echo 'make clean'

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: FORCE all bench build-asan build-cli build-deployed build-lint build-misused build-system build-systemd build-tsan build-unit build-valgrind check check-asan check-cli check-command check-deployed check-format check-lint check-misused check-quick check-sql check-system check-systemd check-threads check-tsan check-unit \
	check-valgrind clean deb demo deps deps-build deps-runtime format help install run-bench run-demo sanitize set-version uninstall

-include $(patsubst %.c,$(BUILD)/%.d,$(LIB) $(AGENT) $(STINT) $(LIB_TESTS) $(AGENT_TESTS) $(SUPPORT) tests/sql/limits.c tests/sql/twin.c $(PROGRAMS) \
	$(SYSTEM) agent/main.c)
