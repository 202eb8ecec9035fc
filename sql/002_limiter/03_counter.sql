-- The counters: one row per client and policy holds what has been charged in each sub-window. Columns stand in the order of
-- their sizes, so that no row has gaps.

create table stint.counter (
	current_us     bigint not null,
	sub_window_us  bigint not null,
	turn           bigint not null,
	servers        bigint not null,
	servers_before bigint not null,
	policy_id      int not null,
	max_requests   int not null,
	request        int not null,
	granted        int not null,
	granted_next   int not null,
	charged        int not null,
	early          int not null,
	ahead          smallint not null,
	resolution     smallint not null,
	span           smallint not null,
	client_id      text collate "C" not null,
	counts         int[] not null,
	primary key (policy_id, client_id)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.2);

comment on table stint.counter is
	'What has been charged to each client. No foreign key to the policy: that would lock its row for every new client; '
	'expire_counters() deletes what a dropped policy leaves behind. No index but the primary key, and room on each page: updates stay HOT.';
comment on column stint.counter.current_us is
	'When the sub-window of the last grant started: microseconds since 1970 by this server''s clock.';
comment on column stint.counter.sub_window_us is 'How long a sub-window is.';
comment on column stint.counter.turn is
	'A number of the row''s making, plus 1 for each update: the same turn means that nothing has changed since it was read.';
comment on column stint.counter.servers is
	'The hosts that were granted credits in the stretch of `resolution` sub-windows that current_us is in, a bit each; hosts may share one.';
comment on column stint.counter.servers_before is 'The hosts that were granted credits in the stretch before that.';
comment on column stint.counter.policy_id is 'The policy.';
comment on column stint.counter.max_requests is 'The limit at the last grant.';
comment on column stint.counter.request is 'The last grant: its place in its batch.';
comment on column stint.counter.granted is 'The last grant: credits for now, and for the shortest time.';
comment on column stint.counter.granted_next is
	'The last grant: credits of a lease that lasts longer, or of one that begins with the sub-window after that of the grant.';
comment on column stint.counter.charged is 'The last grant: what had been admitted without asking, and was counted.';
comment on column stint.counter.early is
	'Of what is charged to sub-windows after the one that starts at current_us: what can''t be spent before the next one.';
comment on column stint.counter.ahead is
	'The first of counts is charged to the sub-window that is so many after the one that starts at current_us.';
comment on column stint.counter.resolution is 'Sub-windows of the window at the last grant; 0: fixed_window.';
comment on column stint.counter.span is
	'The last grant: for how many sub-windows after its own its second lease lasts, which is charged to the last of them; negative: it '
	'begins only with the next one.';
comment on column stint.counter.client_id is 'The client; collation "C" compares bytes, which is cheap and the same everywhere.';
comment on column stint.counter.counts is
	'What is charged to each sub-window, the newest first; older ones than the last are 0. A lease is charged to the last sub-window '
	'in which it can be spent.';
