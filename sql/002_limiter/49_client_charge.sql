-- Shows what is charged to a client, and when: why it is denied, and when it will be admitted again.

create view stint.client_charge as
select p.name as policy, c.client_id, s.starts_at, s.ends_at, n.count as charged, s.counts_until
from stint.counter c
join stint.policy p on p.policy_id = c.policy_id
cross join lateral unnest(c.counts) with ordinality as n (count, place)
cross join lateral (
	select c.current_us + (c.ahead + 1 - n.place) * c.sub_window_us as starts_us
) u
cross join lateral (
	select timestamptz 'epoch' + u.starts_us * interval '1 microsecond' as starts_at,
		timestamptz 'epoch' + (u.starts_us + c.sub_window_us) * interval '1 microsecond' as ends_at,
		timestamptz 'epoch' + (u.starts_us + (c.resolution + 1) * c.sub_window_us) * interval '1 microsecond' as counts_until
) s
where n.count > 0 and s.counts_until > clock_timestamp();

comment on view stint.client_charge is
	'What is charged to each sub-window of each client, as far as it still counts. A lease is charged to the last sub-window in which its host '
	'can spend it, so what hosts may hold unspent is charged to sub-windows that have not ended.';
comment on column stint.client_charge.policy is 'The policy''s name.';
comment on column stint.client_charge.client_id is 'The client.';
comment on column stint.client_charge.starts_at is 'When the sub-window starts.';
comment on column stint.client_charge.ends_at is 'When it ends: after that no host can spend any of this.';
comment on column stint.client_charge.charged is 'What is charged to it.';
comment on column stint.client_charge.counts_until is 'When it has left the window, and is free again.';

grant select on stint.client_charge to stint_operator, stint_auditor;
