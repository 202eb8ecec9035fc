-- Shows how much of its limit each client uses now.

create view stint.usage as
select
	p.name as policy,
	c.client_id,
	u.used,
	l.max_requests,
	greatest(l.max_requests - u.used, 0) as remaining,
	round(100.0 * u.used / nullif(l.max_requests, 0), 1) as percent,
	coalesce(o.blocked, false) as blocked,
	timestamptz 'epoch' + (c.current_us + (c.ahead + c.resolution + 2 - u.newest) * c.sub_window_us) * interval '1 microsecond' as resets_at
from stint.counter c
join stint.policy p on p.policy_id = c.policy_id
left join stint.override_in_force o on o.policy_id = c.policy_id and o.client_id = c.client_id
cross join lateral (
	select case when o.blocked then 0 else coalesce(o.max_requests, p.max_requests) end as max_requests
) l
cross join lateral (
	select (extract(epoch from clock_timestamp()) * 1000000)::bigint as now_us
) t
-- As in take(): how many sub-windows after the present one that of the newest count is, and what can't be spent before
-- the next one starts.
cross join lateral (
	select c.ahead - greatest(t.now_us - c.current_us, 0) / c.sub_window_us as newest,
		case when t.now_us - c.current_us between -2000000 and c.sub_window_us - 1 then c.early else 0 end as early
) h
cross join lateral (
	select
		greatest(
			sum(n.count) filter (where h.newest + 1 - n.place >= -c.resolution) - h.early,
			sum(n.count) filter (where h.newest + 1 - n.place >= 1 - c.resolution and c.resolution > 0)) as used,
		min(n.place) filter (where n.count > 0) as newest
	from unnest(c.counts) with ordinality as n (count, place)
) u
where u.used > 0;

comment on view stint.usage is
	'Each client that has used some of its limit in the window that ends now. Credits that are leased to a host count as used, until the '
	'window after the last moment in which they could be spent has passed; what a host gives back does not.';
comment on column stint.usage.policy is 'The policy''s name.';
comment on column stint.usage.client_id is 'The client.';
comment on column stint.usage.used is 'What is charged to it now.';
comment on column stint.usage.max_requests is 'The limit that holds for it now; 0: blocked.';
comment on column stint.usage.remaining is 'What it can still get now.';
comment on column stint.usage.percent is 'Used, as a part of the limit.';
comment on column stint.usage.blocked is 'Whether an operator has blocked it.';
comment on column stint.usage.resets_at is 'When the whole limit is free again, if nothing more is used.';

grant select on stint.usage to stint_operator, stint_auditor;
