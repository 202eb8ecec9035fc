-- Shows what hosts may hold of a client's limit unspent.

create view stint.client_lease as
select p.name as policy, c.client_id, l.leased, bit_count((c.servers | c.servers_before)::bit(64)) as hosts, l.leased_until,
	array(
		select h.name from stint.agent_host h
		where h.state <> 'stopped' and (c.servers | c.servers_before) >> h.mark & 1 = 1
		order by 1
	) as host_names
from stint.counter c
join stint.policy p on p.policy_id = c.policy_id
cross join lateral (
	select sum(n.count) as leased, max(e.ends_at) as leased_until
	from unnest(c.counts) with ordinality as n (count, place)
	cross join lateral (
		select timestamptz 'epoch' + (c.current_us + (c.ahead + 2 - n.place) * c.sub_window_us) * interval '1 microsecond' as ends_at
	) e
	where n.count > 0 and e.ends_at > clock_timestamp()
) l
where l.leased > 0;

comment on view stint.client_lease is 'Clients of which hosts may hold credits unspent.';
comment on column stint.client_lease.policy is 'The policy''s name.';
comment on column stint.client_lease.client_id is 'The client.';
comment on column stint.client_lease.leased is 'The most that is unspent: what is charged to sub-windows that have not ended. Some of it may be spent.';
comment on column stint.client_lease.hosts is 'By how many hosts: those that were granted any lately; of more than 63, some count as one.';
comment on column stint.client_lease.leased_until is 'When the last of these leases ends.';
comment on column stint.client_lease.host_names is 'Which hosts these may be; two of the same mark are both named, and one that was started anew has another mark.';

grant select on stint.client_lease to stint_operator, stint_auditor;
