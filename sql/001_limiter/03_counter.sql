-- The counters: one row per client and policy holds what has been charged in each sub-window.

create table stint.counter (
	policy_id     int not null,
	client_id     text collate "C" not null,
	head_us       bigint not null,
	sub_window_us bigint not null,
	turn          bigint not null,
	max_requests  int not null,
	request       int not null,
	granted       int not null,
	granted_next  int not null,
	charged       int not null,
	resolution    smallint not null,
	counts        int[] not null,
	primary key (policy_id, client_id)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.2);

comment on table stint.counter is
	'What has been charged to each client. No foreign key to the policy: that would lock its row for every new client; '
	'expire_counters() deletes what a dropped policy leaves behind. No index but the primary key, and room on each page: updates stay HOT.';
comment on column stint.counter.policy_id is 'The policy.';
comment on column stint.counter.client_id is 'The client; collation "C" compares bytes, which is cheap and the same everywhere.';
comment on column stint.counter.head_us is 'When the newest sub-window in counts starts: microseconds since 1970 by this server''s clock.';
comment on column stint.counter.sub_window_us is 'How long a sub-window is.';
comment on column stint.counter.turn is
	'A number of the row''s making, plus 1 for each update: the same turn means that nothing has changed since it was read.';
comment on column stint.counter.max_requests is 'The limit at the last grant.';
comment on column stint.counter.request is 'The last grant: its place in its batch.';
comment on column stint.counter.granted is 'The last grant: credits for the sub-window of that time.';
comment on column stint.counter.granted_next is 'The last grant: credits for the sub-window after it.';
comment on column stint.counter.charged is 'The last grant: what had been admitted without asking, and was counted.';
comment on column stint.counter.resolution is 'Sub-windows of the window at the last grant; 0: fixed_window.';
comment on column stint.counter.counts is 'What is charged to each sub-window, the newest first; older ones than the last are 0.';
