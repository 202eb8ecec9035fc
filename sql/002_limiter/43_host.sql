-- The agents.

create view stint.host as
select
	h.name,
	case when h.state <> 'stopped' and h.seen_at < clock_timestamp() - interval '15 seconds' then 'lost' else h.state end as state,
	h.version,
	h.clients,
	h.seen_at,
	date_trunc('milliseconds', clock_timestamp() - h.seen_at) as seen_ago,
	h.state_since,
	h.started_at,
	h.fallback_since,
	case when clock_timestamp() - h.rival_seen_at between interval '-15 seconds' and interval '15 seconds' then h.rival_instance end as rival,
	h.rival_seen_at
from stint.agent_host h;

comment on view stint.host is 'Each agent that was here in the last 30 days.';
comment on column stint.host.name is 'The host''s name.';
comment on column stint.host.state is
	'in step; fallback: on its own; resync: coming back; stopped; lost: not heard of for 15 s, it runs on its own or not at all.';
comment on column stint.host.version is 'The agent''s version.';
comment on column stint.host.clients is 'Clients in its table.';
comment on column stint.host.seen_at is 'Its last heartbeat.';
comment on column stint.host.seen_ago is 'How long ago that was.';
comment on column stint.host.state_since is 'Since when it has been in the state that it reported last.';
comment on column stint.host.started_at is 'When it started.';
comment on column stint.host.fallback_since is 'Since when it has been on its own; null: it is not, or can''t tell.';
comment on column stint.host.rival is
	'Another live agent that says it has this name, by its instance; null: none. Each host must have a name of its own.';
comment on column stint.host.rival_seen_at is 'When such a one was seen last; null: never, or it has gone.';

grant select on stint.host to stint_operator, stint_auditor;
