/*
 * database_stub.h - a database that answers as the test wants: its functions have the schema's names and return
 * what they are told to. And the operations that an agent calls them by.
 */
#ifndef DATABASE_STUB_H
#define DATABASE_STUB_H

#include "database_fixture.h"

/* ---- The stand-in for the schema ---------------------------------------------------- */

static const char stub_schema[] =
	"create schema stint;"
	"create table stint.seen (client_id text, note text);"
	"create function stint.schema_version() returns int language sql as 'select 2';"
	"create function stint.oldest_agent() returns int language sql as 'select 2';"
	"create table stint.run (server_run text); grant select on stint.run to public; insert into stint.run values ('1795.5/1/2');"
	"create function stint.register_host(name text, instance text, version text, pooled boolean)"
	" returns table (host_id int, now_us bigint, live_hosts int, change_id bigint, server text, timeline text,"
	"  server_age_us bigint, wal_end bigint, longest_lease_us bigint, server_run text, server_fault text)"
	" language plpgsql as $$ begin"
	" insert into stint.seen values (name, concat_ws(' ', instance, version, current_setting('statement_timeout'),"
	"   current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'),"
	"   current_setting('idle_session_timeout'), current_setting('transaction_isolation'), current_setting('client_encoding'),"
	"   current_setting('jit'), current_setting('plan_cache_mode'), current_setting('enable_indexscan'),"
	"   current_setting('search_path'), '<' || current_setting('stint.synchronous_commit') || '>'));"
	" return query select 7, 1700000000000000, 3, 12::bigint, 'home',"
	"  coalesce(current_setting('stub.timeline', true), '00000001'), 5000::bigint, 77::bigint, 9000::bigint,"
	"  (select r.server_run from stint.run r), coalesce(current_setting('stub.fault', true), ''); end $$;"
	"create function stint.begin_call(run text, statement_ms int, lock_ms int, commits text) returns void language plpgsql"
	" as $$ begin"
	" if run <> (select server_run from stint.run) then raise exception 'not the one' using errcode = 'ST002'; end if;"
	" perform set_config('statement_timeout', statement_ms::text, true), set_config('lock_timeout', lock_ms::text, true),"
	"  set_config('stint.synchronous_commit', commits, true); end $$;"
	"create function stint.declare_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean, boolean)"
	" returns table (status text, policy_id int) language sql as"
	" $$ insert into stint.seen values ($1, concat_ws(' ', $2, $3, $4, $5, $6, $7, $8, $9, $10)); select 'created', 5 $$;"
	"create function stint.get_policies(names text[]) returns table (place int, policy_id int, name text, max_requests int,"
	"  time_window_ms bigint,"
	"  fallback_max_requests bigint, fallback_time_window_ms bigint, algorithm text, resolution int, mode text, pinned boolean,"
	"  shadow boolean)"
	" language sql as $$ values"
	"  (3, 1, names[3], 100, 1000::bigint, 200::bigint, 2000::bigint, 'sliding_window', 10, 'strict', false, true),"
	"  (1, 2, names[1], 1000000000, 2678400000, 2000000000, 100, 'fixed_window', 1, 'relaxed', true, false) $$;"
	"create function stint.get_changes(since bigint) returns table (change_id bigint, policy_id int, policy_name text, client_id text,"
	"  reset_age_us bigint) language sql as $$ values (since + 1, 1, 'a', null, null), (since + 2, 2, 'b', 'it''s', 250000),"
	"  (since + 3, 3, null, 'c', null) $$;"
	"create function stint.heartbeat(host_id int, instance text, state text, clients bigint, fallback_ms bigint,"
	"  pooled boolean, in_force bigint, mark int)"
	" returns table (now_us bigint, change_id bigint, live_hosts int, rival boolean, expires boolean,"
	"  old_snapshot boolean) language plpgsql as $$ begin"
	" if state = 'gone' then return; end if;"
	" if state like 'error %' then raise exception 'as asked' using errcode = substr(state, 7), hint = 'none'; end if;"
	" if state = 'forget' then execute 'deallocate all'; end if;"
	" if state = 'freeze' then copy (select) to program 'kill -STOP $PPID'; end if;" /* never to go on */
	" if state = 'warn' then raise warning 'not replicated'; end if;"
	" if state = 'note' then insert into stint.seen values (state, concat_ws(' ', pooled,"
	"  current_setting('statement_timeout'), current_setting('lock_timeout'), '<' || current_setting('stint.synchronous_commit')"
	"  || '>', (select count(*) from pg_prepared_statements), (select count(*) from pg_listening_channels()),"
	"  left(current_setting('application_name'), 8))); end if;" /* other versions escape what isn't ASCII otherwise */
	" if state = 'late' then insert into stint.late values (1); end if;"
	" perform pg_sleep(fallback_ms / 1000.0);"
	" return query select 1700000000000000 + clients, 13::bigint, case when state = 'many' then 100 else 2 end,"
	"  state = 'not alone', state = 'not alone',"
	"  state = 'not alone'; end $$;"
	"create function stint.pulse() returns table (now_us bigint, change_id bigint, wal_end bigint) language sql as"
	" $$ select 1700000000000000, 14::bigint, 78::bigint $$;"
	"create function stint.expire_counters(batch int) returns table (examined bigint, deleted bigint) language sql as"
	" $$ select batch::bigint, 3::bigint $$;"
	"create function stint.report_fallback(int, bigint, bigint, bigint, bigint, text) returns void language sql as"
	" $$ insert into stint.seen values ($6, concat_ws(' ', $1, $2, $3, $4, $5)) $$;"
	"create function stint.recall_leases(policy_ids int[], client_ids text[]) returns bigint language sql as"
	" $$ insert into stint.seen select c, 'recall ' || p from unnest(policy_ids, client_ids) as r (p, c) returning 1::bigint $$;"
	"create function stint.get_recalls(host int, since bigint) returns table (recall_id bigint, policy_id int, client_id text) language sql as"
	" $$ values (since + 1, host, 'it''s'), (since + 2, 6, 'b'), (since + 5, null, null) $$;"
	"create function stint.report_decisions(int, int, minutes bigint[], policies text[], sources int[], allowed bigint[], denied bigint[],"
	"  shadow_denied bigint[]) returns void language sql as"
	" $$ insert into stint.seen select r.policy, concat_ws(' ', 'decided', $1, $2, r.minute, r.source, r.a, r.d, r.s)"
	"  from unnest($3, $4, $5, $6, $7, $8) as r (minute, policy, source, a, d, s) $$;"
	"create function stint.report_denials(int, int, hours bigint[], policies text[], clients text[], reasons int[], denied bigint[],"
	"  errors bigint[]) returns void language sql as"
	" $$ insert into stint.seen select r.client, concat_ws(' ', 'denied', $1, $2, r.hour, r.policy, r.reason, r.d, r.e)"
	"  from unnest($3, $4, $5, $6, $7, $8) as r (hour, policy, client, reason, d, e) $$;"
	"create function stint.await_tables() returns void language plpgsql as"
	" $$ begin lock table stint.seen in row exclusive mode; end $$;"
	"create function stint.stop_host(int, text) returns void language sql as $$ select $$;"
	"create function stint.take_first_leases(host int, policy_ids int[], client_ids text[], needs int[], leasts int[], wants int[],"
	"  spans int[], span_leasts int[])"
	" returns table (request int, granted int, sub_window bigint, valid_us bigint, granted_next int, starts_in_us bigint,"
	"  next_sub_window bigint, next_valid_us bigint, remaining int, retry_us bigint, reset_us bigint, max_requests int, charged int,"
	"  next_is_open boolean, recallable int)"
	" language sql as $$ insert into stint.seen select unnest(client_ids), 'first';"
	" select i, wants[i], 1000::bigint + needs[i], 5000::bigint, 0, 5000::bigint, 9000::bigint, 10000::bigint, leasts[i], host::bigint,"
	"  span_leasts[i]::bigint, policy_ids[i], 0, spans[i] % 2 = 1, needs[i] from generate_subscripts(wants, 1) i $$;"
	/* Its commit fails after its rows were sent. */
	"create table stint.late (x int);"
	"create function stint.refuse() returns trigger language plpgsql as $$ begin raise exception 'too late'; end $$;"
	"create constraint trigger late after insert on stint.late deferrable initially deferred"
	" for each row execute function stint.refuse();";

#define GOOD_COLUMNS                                                                                                    \
	"request int, granted int, sub_window bigint, valid_us bigint, granted_next int, starts_in_us bigint,"              \
	" next_sub_window bigint, next_valid_us bigint, remaining int, retry_us bigint, reset_us bigint, max_requests int," \
	" charged int, next_is_open boolean, recallable int, busy boolean"

/* A grant repeats what was asked, so that the test can see that each element arrived in its place. */
#define GOOD_ROWS                                                                                                            \
	"select i, wants[i], 1000::bigint + needs[i], 5000::bigint + span_leasts[i], next_wants[i], 5000::bigint + spents_1[i]," \
	" 9000::bigint + report_subs_2[i], 10000::bigint + unspents_2[i], leasts[i], report_subs_1[i], unspents_1[i]::bigint,"   \
	" spents_2[i], charges[i], spans[i] % 2 = 1, needs[i], client_ids[i] = 'busy'"                                           \
	" from generate_subscripts(wants, 1) i where client_ids[i] is not null and policy_ids[i] > 0 order by i desc"

static inline void make_take(const struct fixture *f, const char *columns, const char *rows) {
	char sql[2048];
	snprintf(
		sql, sizeof(sql),
		"set client_min_messages = error; drop function if exists stint.take_leases;"
		" create function stint.take_leases(host int, policy_ids int[], client_ids text[], needs int[], leasts int[],"
		" wants int[], spans int[], span_leasts int[], next_wants int[], charges int[],"
		" report_subs_1 bigint[], unspents_1 int[], spents_1 int[], report_subs_2 bigint[], unspents_2 int[], spents_2 int[])"
		" returns table (%s) language plpgsql as $$ #variable_conflict use_column\n begin"
		" insert into stint.seen select unnest(client_ids), 'take';"
		" return query %s; end $$; grant execute on function stint.take_leases to public",
		columns, rows);
	admin_do(f, "stub", sql);
	/* The same, by another name. */
	static const char unlocked_sql[] =
		"set client_min_messages = error; drop function if exists stint.take_unlocked_leases;"
		" do $$ begin execute replace(replace(pg_get_functiondef('stint.take_leases'::regproc), 'stint.take_leases',"
		"  'stint.take_unlocked_leases'), '''take''', '''unlocked'''); end $$";
	admin_do(f, "stub", unlocked_sql);
}

static inline int setup(void **state) {
	if (start_cluster(state) != 0)
		return -1;
	struct fixture *f = *state;
	admin_do(f, "postgres", "create database stub");
	admin_do(f, "postgres", "create database bare");
	admin_do(f, "postgres", "create role stranger login");
	admin_do(f, "postgres", "create role reader login; alter role reader set default_transaction_read_only = on;");
	admin_do(f, "stub", stub_schema);
	admin_do(f, "stub", "create role stint_owner; alter schema stint owner to stint_owner");
	admin_do(f, "stub", "grant usage on schema stint to reader; grant insert on stint.seen to reader");
	admin_do(f, "postgres", "create role stint_agent; create role heir login noinherit in role stint_agent");
	admin_do(
		f, "postgres",
		"create role odd superuser login; alter role odd set statement_timeout = '400ms'; alter role odd set lock_timeout = 1;"
		"alter role odd set idle_session_timeout = 300; alter role odd set idle_in_transaction_session_timeout = 1;"
		"alter role odd set default_transaction_isolation = serializable; alter role odd set search_path = nowhere;"
		"alter role odd set jit = on; alter role odd set plan_cache_mode = force_custom_plan;"
		"alter role odd set enable_indexscan = off; alter role odd set client_encoding = latin1;"
		"alter role odd set synchronous_commit = off; alter role odd set stub.timeline = '';"
		"alter role odd set stub.fault = 'permission denied for function x'");
	make_take(f, GOOD_COLUMNS, GOOD_ROWS);
	return 0;
}

/* ---- Operations --------------------------------------------------------------------------- */

static struct lease_grant grants[1024];
static size_t grant_count;

static inline void on_grants(void *context, enum lease_outcome outcome, const struct lease_grant *got,
                             size_t count) {
	grant_count = count;
	assert_int_equal(got != NULL, outcome == LEASE_DONE);
	if (got)
		memcpy(grants, got, count * sizeof(*got));
	tell_outcome(context, outcome);
}

static struct database_pulse last_pulse;

static inline void on_pulsed(void *context, enum lease_outcome outcome, const struct database_pulse *pulse) {
	last_pulse = pulse ? *pulse : (struct database_pulse){.now_us = 0};
	tell_outcome(context, outcome);
}

static inline void take(struct fixture *f, const struct lease_request *requests, size_t count) {
	f->inside = true;
	database_take(f->db, 3, requests, count, on_grants, f);
	f->inside = false;
}

/* `state` and `fallback_ms` tell the stand-in what to do. */
static inline void beat(struct fixture *f, const char *state, int64_t fallback_ms) {
	f->inside = true;
	database_heartbeat(f->db, state, 0, fallback_ms, -1, on_pulsed, f);
	f->inside = false;
}

static inline struct lease_request request_of(const char *client_id, size_t length, int32_t i) {
	return (struct lease_request){.policy_id = 1,
	                              .client_id = client_id,
	                              .client_id_len = (uint8_t)length,
	                              .need = i,
	                              .least = i % 10,
	                              .want = i + 1,
	                              .span = i % 60,
	                              .span_least = i % 50,
	                              .next_want = i + 2,
	                              .charge = i + 3,
	                              .report = {{.sub_window = i + 4, .unspent = i + 5, .spent = i + 6},
	                                         {.sub_window = i + 7, .unspent = i + 8, .spent = i + 9}}};
}

static inline void check_grant(const struct lease_grant *g, int32_t i) {
	assert_true(g->answered);
	assert_int_equal(g->sub_window, 1000 + i);
	assert_int_equal(g->remaining, i % 10);
	assert_int_equal(g->granted, i + 1);
	assert_int_equal(g->next_is_open, i % 60 % 2);
	assert_int_equal(g->valid_us, 5000 + i % 50);
	assert_int_equal(g->granted_next, i + 2);
	assert_int_equal(g->charged, i + 3);
	assert_int_equal(g->retry_us, i + 4);
	assert_int_equal(g->reset_us, i + 5);
	assert_int_equal(g->starts_in_us, 5000 + i + 6);
	assert_int_equal(g->next_sub_window, 9000 + i + 7);
	assert_int_equal(g->next_valid_us, 10000 + i + 8);
	assert_int_equal(g->max_requests, i + 9);
	assert_int_equal(g->recallable, i);
}

#endif
