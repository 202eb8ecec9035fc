-- The agents, and the times when they were on their own. The views stint.host and
-- stint.fallback_period show both.

create table stint.agent_host (
	host_id        int generated always as identity primary key,
	name           text not null unique
		constraint agent_host_name_check check (octet_length(name) between 1 and 255),
	instance       text not null,
	version        text not null,
	state          text not null
		constraint agent_host_state_check check (state in ('in step', 'fallback', 'resync', 'stopped')),
	state_since    timestamptz not null,
	started_at     timestamptz not null,
	seen_at        timestamptz not null,
	live           boolean not null default true,
	backend_pid    int,
	clients        bigint not null default 0,
	fallback_since timestamptz,
	rival_instance text,
	rival_seen_at  timestamptz,
	in_force       bigint,
	mark           int
		constraint agent_host_mark_check check (mark between 0 and 62)
) with (fillfactor = 50);

-- The index is on nothing that a heartbeat changes, so that a heartbeat's updates stay HOT.
create index agent_host_live_idx on stint.agent_host (host_id) where live;

comment on table stint.agent_host is 'Every agent that was here in the last 30 days.';
comment on column stint.agent_host.host_id is 'What the agent calls itself towards the database.';
comment on column stint.agent_host.name is 'The host''s name, from the agent''s configuration.';
comment on column stint.agent_host.instance is 'Another one at each start of the agent; whose row this is.';
comment on column stint.agent_host.version is 'The agent''s version.';
comment on column stint.agent_host.state is 'in step, fallback (on its own), resync (coming back), stopped.';
comment on column stint.agent_host.state_since is 'Since when it has been in this state.';
comment on column stint.agent_host.started_at is 'When this instance registered first.';
comment on column stint.agent_host.seen_at is 'Its last heartbeat.';
comment on column stint.agent_host.live is 'Heard of in the last minute or so, and not stopped: such rows are looked at when live hosts are counted.';
comment on column stint.agent_host.backend_pid is 'The server''s process that served it last: when that is gone, so is the agent, or it will be heard of soon. Null: a pooler is in between, and it may be any.';
comment on column stint.agent_host.clients is 'Clients in its table.';
comment on column stint.agent_host.fallback_since is 'Since when it has been on its own; null: it is not.';
comment on column stint.agent_host.rival_instance is 'Another live agent that says it has this name; null: never seen, or gone.';
comment on column stint.agent_host.in_force is 'The newest change that was in force there at the last heartbeat; null: not known.';
comment on column stint.agent_host.mark is 'Its bit in stint.counter''s servers; others may have the same. Null: not known.';
comment on constraint agent_host_mark_check on stint.agent_host is 'As many as a bigint has, but for the sign.';
comment on column stint.agent_host.rival_seen_at is 'The last heartbeat of that one.';
comment on index stint.agent_host_live_idx is 'Counting live hosts doesn''t grow with those that have come and gone.';
comment on constraint agent_host_name_check on stint.agent_host is 'What the agent''s configuration allows.';
comment on constraint agent_host_state_check on stint.agent_host is 'What agents report.';

create table stint.fleet (
	only_row   boolean primary key default true constraint fleet_only_row_check check (only_row),
	live_hosts int not null,
	counted_at timestamptz not null,
	counted_by int
);

insert into stint.fleet (live_hosts, counted_at) values (1, '-infinity');

comment on table stint.fleet is 'How many agents live: counted by one of them, now and then, for all. Who counted last also expires counters.';
comment on column stint.fleet.only_row is 'There is one row.';
comment on column stint.fleet.live_hosts is 'The count; at least 1.';
comment on column stint.fleet.counted_at is 'When it was made; -infinity: a host has stopped since.';
comment on column stint.fleet.counted_by is 'By which host.';
comment on constraint fleet_only_row_check on stint.fleet is 'There is one row.';

-- The identity that a dump keeps; see stint.get_server() for what a dump doesn't keep.
create table stint.schema_identity (
	only_row boolean primary key default true constraint schema_identity_only_row_check check (only_row),
	made_as  uuid not null default gen_random_uuid()
);

insert into stint.schema_identity default values;

comment on table stint.schema_identity is 'Tells schemas apart that were made separately, even where the server doesn''t say which it is.';
comment on column stint.schema_identity.only_row is 'There is one row.';
comment on column stint.schema_identity.made_as is 'A random number of its making.';
comment on constraint schema_identity_only_row_check on stint.schema_identity is 'There is one row.';

create table stint.server_timeline (
	server   text not null,
	timeline text not null,
	seen_at  timestamptz not null,
	primary key (server, timeline)
);

comment on table stint.server_timeline is
	'The servers that agents have found these tables on, and the timelines of their write-ahead logs: another one is a standby that was '
	'promoted, a restored dump, or another cluster. It may lack what was committed last.';
comment on column stint.server_timeline.server is 'Which tables on which server: see stint.get_server().';
comment on column stint.server_timeline.timeline is 'Its number, eight hexadecimal digits; empty: the server doesn''t tell.';
comment on column stint.server_timeline.seen_at is 'When the first agent connected to it.';

create table stint.host_fallback (
	host_id  int not null,
	host     text not null,
	began_at timestamptz not null,
	ended_at timestamptz not null,
	admitted bigint not null,
	clients  bigint not null,
	reason   text not null,
	primary key (host_id, began_at)
);

create index host_fallback_ended_at_idx on stint.host_fallback (ended_at);

comment on table stint.host_fallback is
	'When each host was on its own and what it admitted then; written when it is back. Outlives the host''s row; kept for a year.';
comment on index stint.host_fallback_ended_at_idx is 'What is older than a year is found without reading all.';
comment on column stint.host_fallback.host_id is 'The host.';
comment on column stint.host_fallback.host is 'Its name then.';
comment on column stint.host_fallback.began_at is 'The beginning, counted back from the report by the host''s stopwatch.';
comment on column stint.host_fallback.ended_at is 'The end.';
comment on column stint.host_fallback.admitted is 'Sum of the costs that it admitted then.';
comment on column stint.host_fallback.clients is 'How many clients that were.';
comment on column stint.host_fallback.reason is 'Why, in the agent''s words.';
