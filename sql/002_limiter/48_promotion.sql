-- Shows when another server took the database's place.

create view stint.promotion as
select
	t.seen_at,
	case when t.server = t.server_before then 'standby promoted' else 'another server' end as what,
	t.server,
	t.timeline
from (
	select s.*, lag(s.server) over (order by s.seen_at) as server_before from stint.server_timeline s
) t
where t.server_before is not null;

comment on view stint.promotion is
	'Each time that agents found another server in the database''s place: what the one before had committed last may be lost.';
comment on column stint.promotion.seen_at is 'When the first agent found it.';
comment on column stint.promotion.what is
	'standby promoted: or a backup restored to a point in time. another server: a dump was restored, or the tables were made anew, there or here.';
comment on column stint.promotion.server is 'Which tables on which server: 16 hexadecimal digits.';
comment on column stint.promotion.timeline is 'The timeline of the write-ahead log that began with it.';

grant select on stint.promotion to stint_operator, stint_auditor;
